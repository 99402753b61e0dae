"""A scripted model on the loopback: it speaks the wire formats of four vendors and calls the tools it was told to.

It keeps nothing between requests: the number of tool results in a conversation says which call is next. Everything
that clients send is kept, so that a test can show what the model saw.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
NAME = "fake-model"
DONE = "all calls are done"


@dataclass
class FakeModel:
    """What it is to call, one after the other: (part of a tool's name, arguments)."""

    calls: list[tuple[str, Json]]
    requests: list[tuple[str, Json]] = field(default_factory=list)
    url: str = ""

    def tool_results(self) -> list[str]:
        """What the model saw of the answers, in the longest conversation."""
        found: list[list[str]] = [results(path, body) for path, body in self.requests]
        return max(found, key=len, default=[])

    def tools_offered(self) -> list[str]:
        """The names of the tools in the request that offered most."""
        return max(([name for name, _ in offered(body)] for _, body in self.requests), key=len, default=[])

    @contextlib.contextmanager
    def serve(self) -> Iterator[FakeModel]:
        """Answer on a port of its own until the end of the block."""
        model = self

        class Handler(_Handler):
            fake = model

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def next_call(self, path: str, body: Json) -> tuple[Json, Json] | None:
        """The tool to call now, as it was offered, and the arguments."""
        at = len(results(path, body))
        if at >= len(self.calls):
            return None
        part, arguments = self.calls[at]
        for name, where in offered(body):
            if name.endswith(part):
                return {"name": name, **where}, arguments
        return None


def offered(body: Json) -> list[tuple[str, Json]]:
    """Names of the tools in a request, and the namespace that they are in (Codex)."""
    found: list[tuple[str, Json]] = []
    for tool in body.get("tools") or []:
        if "functionDeclarations" in tool:
            found += [(each["name"], {}) for each in tool["functionDeclarations"]]
        elif tool.get("type") == "namespace":
            found += [(each["name"], {"namespace": tool["name"]}) for each in tool.get("tools", [])]
        elif "function" in tool:
            found.append((tool["function"]["name"], {}))
        elif "name" in tool:
            found.append((tool["name"], {}))
    return found


def results(path: str, body: Json) -> list[str]:
    """The answers of tools in a conversation, as the client shows them to its model."""
    found = []
    for message in body.get("messages") or []:
        if message.get("role") == "tool":
            found.append(json.dumps(message.get("content"), ensure_ascii=False))
        elif isinstance(message.get("content"), list):
            found += [
                json.dumps(each, ensure_ascii=False) for each in message["content"] if each.get("type") == "tool_result"
            ]
    items = body.get("input")
    for item in items if isinstance(items, list) else []:
        if item.get("type") == "function_call_output":
            found.append(json.dumps(item.get("output"), ensure_ascii=False))
    for content in body.get("contents") or []:
        found += [
            json.dumps(part, ensure_ascii=False) for part in content.get("parts", []) if "functionResponse" in part
        ]
    return found


class _Handler(BaseHTTPRequestHandler):
    fake: FakeModel

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._json({"data": [{"id": NAME, "object": "model"}], "models": [{"name": f"models/{NAME}"}]})

    def do_HEAD(self) -> None:
        self._json({})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else {}
        path = self.path.partition("?")[0]
        self.fake.requests.append((path, body))
        call = self.fake.next_call(path, body)
        number = len(results(path, body)) + 1
        if path.endswith("/count_tokens"):
            self._json({"input_tokens": 10})
        elif path.endswith("/messages"):
            self._anthropic(body, call, number)
        elif path.endswith("/responses"):
            self._responses(call, number)
        elif path.endswith("/chat/completions"):
            self._chat(body, call, number)
        elif "enerateContent" in path:
            self._gemini(path, call)
        else:
            self._json({})

    def _json(self, value: Json) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _events(self, events: list[tuple[str | None, Json | str]]) -> None:
        text = ""
        for name, value in events:
            data = value if isinstance(value, str) else json.dumps(value)
            text += (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
        self._send(text.encode(), "text/event-stream")

    def _send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(data)

    def _anthropic(self, body: Json, call: tuple[Json, Json] | None, number: int) -> None:
        block: Json = {"type": "text", "text": DONE}
        stop = "end_turn"
        if call:
            block = {"type": "tool_use", "id": f"toolu_{number}", "name": call[0]["name"], "input": call[1]}
            stop = "tool_use"
        usage = {"input_tokens": 10, "output_tokens": 5}
        message: Json = {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", NAME),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        if not body.get("stream"):
            self._json({**message, "content": [block], "stop_reason": stop})
            return
        if call:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
        else:
            start, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": DONE}
        events: list[Json] = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": start},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ]
        self._events([(event["type"], event) for event in events])

    def _responses(self, call: tuple[Json, Json] | None, number: int) -> None:
        item: Json = {"type": "message", "role": "assistant", "id": f"m{number}", "status": "completed",
                      "content": [{"type": "output_text", "text": DONE, "annotations": []}]}  # fmt: skip
        if call:
            item = {"type": "function_call", "id": f"f{number}", "call_id": f"call_{number}", "status": "completed",
                    "arguments": json.dumps(call[1]), **call[0]}  # fmt: skip
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        response = {
            "id": f"resp_{number}",
            "object": "response",
            "status": "completed",
            "output": [item],
            "usage": usage,
        }
        self._events([
            ("response.created", {"type": "response.created", "response": {**response, "status": "in_progress"}}),
            ("response.output_item.done", {"type": "response.output_item.done", "output_index": 0, "item": item}),
            ("response.completed", {"type": "response.completed", "response": response}),
        ])  # fmt: skip

    def _chat(self, body: Json, call: tuple[Json, Json] | None, number: int) -> None:
        message: Json = {"role": "assistant", "content": DONE}
        finish = "stop"
        if call:
            function = {"name": call[0]["name"], "arguments": json.dumps(call[1])}
            tool = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
            message, finish = {"role": "assistant", "content": None, "tool_calls": [tool]}, "tool_calls"
        base: Json = {"id": f"c{number}", "created": 1, "model": NAME}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            self._json({**base, "object": "chat.completion", "choices": [choice], "usage": usage})
            return
        chunk = {**base, "object": "chat.completion.chunk"}
        self._events([
            (None, {**chunk, "choices": [{"index": 0, "delta": message, "finish_reason": None}]}),
            (None, {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage}),
            (None, "[DONE]"),
        ])  # fmt: skip

    def _gemini(self, path: str, call: tuple[Json, Json] | None) -> None:
        part: Json = {"functionCall": {"name": call[0]["name"], "args": call[1]}} if call else {"text": DONE}
        answer = {
            "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
            "modelVersion": NAME,
        }
        if "stream" in path:
            self._events([(None, answer)])
        else:
            self._json(answer)
