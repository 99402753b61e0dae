"""A client that writes and reads lines itself: what the SDK's client never sends can be sent, and nothing is hidden."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.conftest import clean_environment

MODERN = "2026-07-28"
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
DEADLINE_S = 60.0

Message = dict[str, Any]


class RawClient:
    """A server process and its pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self.others: list[Message] = []
        """What came while something else was waited for."""
        self.errors: list[bytes] = []
        self._number = 0
        self._threads = [threading.Thread(target=each) for each in (self._read, self._read_errors)]
        for each in self._threads:
            each.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    def close(self) -> None:
        """Hang up, and wait for the end of the process."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            if pipe is self.process.stdin:
                with suppress(BrokenPipeError):
                    pipe.close()
                try:
                    self.process.wait(10)
                except subprocess.TimeoutExpired:
                    os.kill(self.process.pid, signal.SIGKILL)
                    self.process.wait(10)
                    raise
                for each in self._threads:
                    each.join(10)
            pipe.close()

    def write(self, data: bytes) -> None:
        """Raw bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message: object) -> None:
        """One message."""
        self.write(json.dumps(message).encode() + b"\n")

    def next(self, deadline_s: float = DEADLINE_S) -> Message:
        """The next line, which must be JSON whatever it is."""
        line = self.lines.get(timeout=deadline_s)
        assert line is not None, f"the server has ended: {b''.join(self.errors).decode()[-2000:]}"
        found: Message = json.loads(line)
        return found

    def answer(self, identity: object, deadline_s: float = DEADLINE_S) -> Message:
        """The answer to the request of that id; what comes before it is put aside."""
        for each in self.others:
            if each.get("id") == identity and "method" not in each:
                self.others.remove(each)
                return each
        end = time.monotonic() + deadline_s
        while True:
            message = self.next(max(0.1, end - time.monotonic()))
            if message.get("id") == identity and "method" not in message:
                return message
            self.others.append(message)

    def start(self, method: str, params: Message | None = None) -> int:
        """Send a request of the handshake's era and do not wait; its id."""
        self._number += 1
        message: Message = {"jsonrpc": "2.0", "id": self._number, "method": method}
        self.send(message if params is None else {**message, "params": params})
        return self._number

    def ask(self, method: str, params: Message | None = None) -> Message:
        """Send it and wait for the answer."""
        return self.answer(self.start(method, params))

    def ask_modern(self, method: str, params: Message | None = None) -> Message:
        """The same as a request that stands for itself."""
        return self.ask(method, {**(params or {}), "_meta": envelope()})

    def handshake(self, version: str = LEGACY[-1], **capabilities: Any) -> Message:
        """initialize and initialized."""
        client = {"name": "raw", "version": "1"}
        found = self.ask("initialize", {"protocolVersion": version, "capabilities": capabilities, "clientInfo": client})
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return found

    def call(self, tool: str, **arguments: Any) -> Message:
        """The result of a tool."""
        found = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert "result" in found, found
        result: Message = found["result"]
        return result

    def text(self, tool: str, **arguments: Any) -> str:
        """The text of a call that must succeed."""
        result = self.call(tool, **arguments)
        assert not result.get("isError"), result
        return text_of(result)

    def refusal(self, tool: str, **arguments: Any) -> str:
        """The text of a call that must fail."""
        result = self.call(tool, **arguments)
        assert result.get("isError"), result
        return text_of(result)

    def alive(self) -> None:
        """The server still answers."""
        assert self.ask("ping")["result"] == {}

    def modules(self) -> set[str]:
        """What the server has loaded from files, as the kernel knows of shared objects, and its size in KiB."""
        return {line.split()[-1] for line in Path(f"/proc/{self.process.pid}/maps").read_text().splitlines()}


def text_of(result: Message) -> str:
    """The text of a result; there is one block."""
    (block,) = result["content"]
    assert block["type"] == "text"
    text: str = block["text"]
    return text


def envelope() -> Message:
    """What a modern request carries."""
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    }


@contextmanager
def raw_client(
    state_dir: Path, *options: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> Iterator[RawClient]:
    """A server with these options, ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sandlot", "mcp", "serve", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**clean_environment(state_dir), **(environment or {})},
        cwd=cwd or state_dir,
        start_new_session=True,
    )
    client = RawClient(process)
    try:
        yield client
    finally:
        client.close()
