"""Codex: ``codex exec --json -``, the prompt on standard input (read with 0.169)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandlot.evals.targets.agents.agent import Agent
from sandlot.evals.targets.answers import content_text
from sandlot.evals.targets.transcript import Stream, mapping

__all__ = ["Codex"]


class Codex(Agent):
    """OpenAI's agent; its own sandbox is off, as the workspace is one."""

    name = "codex"
    program = "codex"
    key = "CODEX_API_KEY"
    hosts = ("api.openai.com",)

    def words(self, program: str, model: str | None, args: Sequence[str]) -> list[str]:
        chosen = ["--model", model] if model else []
        return [
            program, "exec", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check", "--json",
            *chosen, *args, "-",
        ]  # fmt: skip

    def stream(self) -> Stream:
        return _Events()


_TOOLS = {"command_execution": "shell", "file_change": "apply_patch", "web_search": "web_search"}


class _Events(Stream):
    def event(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind in ("item.started", "item.completed"):
            self._item(kind == "item.completed", mapping(event.get("item")))
        elif kind == "turn.completed":
            self.complete = True
            usage = mapping(event.get("usage"))  # of the whole thread so far; what was cached and thought is in there
            self.used_in_all(usage.get("input_tokens"), usage.get("output_tokens"))
        elif kind in ("turn.failed", "error"):
            # An item of type "error" is a warning; these two are the end. A stream that is tried again says so first.
            message = event.get("message") or mapping(event.get("error")).get("message") or event.get("error")
            if not (kind == "error" and content_text(message).startswith("Reconnecting")):
                self.failed(message)

    def _item(self, done: bool, item: Mapping[str, Any]) -> None:
        kind, identity = item.get("type"), item.get("id")
        if kind == "agent_message" and done:
            self.say("assistant", content_text(item.get("text")))
        elif kind == "mcp_tool_call" or kind in _TOOLS:
            if str(identity) not in self._calls:
                self.call(identity, *_called(str(kind), item))
            if done:
                self.result(identity, item.get("aggregated_output", item.get("result", item.get("status"))))


def _called(kind: str, item: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if kind == "mcp_tool_call":
        return f"{item.get('server', '')}.{item.get('tool', '')}", mapping(item.get("arguments"))
    if kind == "command_execution":
        return _TOOLS[kind], {"command": item.get("command", "")}
    if kind == "file_change":
        return _TOOLS[kind], {"changes": item.get("changes", [])}
    return _TOOLS[kind], {"query": item.get("query", "")}
