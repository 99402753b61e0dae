"""Claude Code: ``claude --print --output-format stream-json``, the prompt on standard input (read with 2.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandlot.evals.targets.agents.agent import Agent
from sandlot.evals.targets.answers import content_text, count
from sandlot.evals.targets.transcript import Stream, mapping

__all__ = ["ClaudeCode"]


class ClaudeCode(Agent):
    """Anthropic's agent. Its permissions are the workspace's: it may do everything in there."""

    name = "claude-code"
    program = "claude"
    key = "ANTHROPIC_API_KEY"
    hosts = ("api.anthropic.com",)
    quiet = {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",
    }

    def words(self, program: str, model: str | None, args: Sequence[str]) -> list[str]:
        chosen = ["--model", model] if model else []
        return [
            program, "--print", "--verbose", "--output-format", "stream-json", "--dangerously-skip-permissions",
            *chosen, *args,
        ]  # fmt: skip

    def stream(self) -> Stream:
        return _Events()


class _Events(Stream):
    def event(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind in ("assistant", "user"):
            content = mapping(event.get("message")).get("content")
            if isinstance(content, str):
                self.say(kind, content)
            for part in content if isinstance(content, list) else []:
                self._part(kind, mapping(part))
        elif kind == "result":
            self._result(event)

    def _part(self, role: str, part: Mapping[str, Any]) -> None:
        if part.get("type") == "text":
            self.say(role, content_text(part.get("text")))
        elif part.get("type") == "tool_use":
            self.call(part.get("id"), part.get("name"), part.get("input"))
        elif part.get("type") == "tool_result":
            self.result(part.get("tool_use_id"), part.get("content"))

    def _result(self, event: Mapping[str, Any]) -> None:
        self.complete = True
        usage = mapping(event.get("usage"))
        read = [
            count(usage.get(name))
            for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        ]
        known = [each for each in read if each is not None]
        self.used_in_all(sum(known) if known else None, usage.get("output_tokens"), event.get("total_cost_usd"))
        said = event.get("result")
        if event.get("is_error") or event.get("subtype", "success") != "success":
            self.failed(said or event.get("errors") or event.get("subtype"))
        elif isinstance(said, str) and said:
            self.text = said
