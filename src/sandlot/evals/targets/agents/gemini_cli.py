"""Gemini CLI: ``gemini --yolo --output-format stream-json``, the prompt on standard input (read with 0.61)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sandlot.evals.targets.agents.agent import Agent
from sandlot.evals.targets.answers import amount, content_text
from sandlot.evals.targets.transcript import Stream, mapping

__all__ = ["GeminiCli"]


class GeminiCli(Agent):
    """Google's agent."""

    name = "gemini-cli"
    program = "gemini"
    key = "GEMINI_API_KEY"
    hosts = ("generativelanguage.googleapis.com",)
    quiet = {"GEMINI_CLI_TRUST_WORKSPACE": "true", "GEMINI_TELEMETRY_ENABLED": "false"}
    files = {
        ".gemini/settings.json": json.dumps(
            {
                "general": {"disableAutoUpdate": True},
                "privacy": {"usageStatisticsEnabled": False},
                "security": {"auth": {"selectedType": "gemini-api-key"}},
            }
        )
    }

    def words(self, program: str, model: str | None, args: Sequence[str]) -> list[str]:
        chosen = ["--model", model] if model else []
        return [program, "--yolo", "--output-format", "stream-json", *chosen, *args]

    def stream(self) -> Stream:
        return _Events()


class _Events(Stream):
    def event(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "message":
            self.say(str(event.get("role")), content_text(event.get("content")), more=event.get("delta") is True)
        elif kind == "tool_use":
            self.call(event.get("tool_id"), event.get("tool_name"), event.get("parameters"))
        elif kind == "tool_result":
            self.result(event.get("tool_id"), event.get("output") or mapping(event.get("error")).get("message"))
        elif kind == "error" and event.get("severity") != "warning":
            self.failed(event.get("message"))
        elif kind == "result":
            self.complete = True
            stats = mapping(event.get("stats"))
            read, got, total = (amount(stats.get(f"{name}_tokens")) for name in ("input", "output", "total"))
            if read is not None and got is not None and total is not None:
                got = max(got, total - read)  # what it thought is paid for as output, and in the total alone
            self.used_in_all(read, got)
            if event.get("status") != "success":
                self.failed(mapping(event.get("error")).get("message") or self.error)
