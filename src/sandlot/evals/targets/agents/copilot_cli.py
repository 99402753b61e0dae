"""GitHub Copilot CLI: ``copilot --output-format json --prompt=...``, which reads its prompt nowhere else.

Its stream's final ``result`` tells premium requests but neither tokens nor cost (github/copilot-cli, issue 4107);
tokens of answers are taken from its messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandlot.evals.targets.agents.agent import Agent
from sandlot.evals.targets.answers import content_text
from sandlot.evals.targets.transcript import Stream, mapping

__all__ = ["CopilotCli"]


class CopilotCli(Agent):
    """GitHub's agent."""

    name = "copilot-cli"
    program = "copilot"
    key = "COPILOT_GITHUB_TOKEN"
    hosts = ("api.github.com", "api.githubcopilot.com", "api.individual.githubcopilot.com")
    quiet = {"COPILOT_AUTO_UPDATE": "false"}

    def words(self, program: str, model: str | None, args: Sequence[str]) -> list[str]:
        chosen = ["--model", model] if model else []
        return [
            program, "--allow-all-tools", "--allow-all-paths", "--no-ask-user", "--output-format", "json", *chosen,
            *args,
        ]  # fmt: skip

    def prompt_words(self) -> str:
        return '--prompt="$SANDLOT_PROMPT"'

    def stream(self) -> Stream:
        return _Events()


class _Events(Stream):
    def event(self, kind: str, event: Mapping[str, Any]) -> None:
        data = mapping(event.get("data"))
        if kind == "assistant.message":
            self.say("assistant", content_text(data.get("content")))
            self.used(None, data.get("outputTokens"))
        elif kind == "user.message":
            self.say("user", content_text(data.get("content")))
        elif kind == "tool.execution_start":
            self.call(data.get("toolCallId"), data.get("toolName"), data.get("arguments"))
        elif kind == "tool.execution_complete":
            result = mapping(data.get("result"))
            self.result(data.get("toolCallId"), result.get("content") or mapping(data.get("error")).get("message"))
        elif kind == "session.error":
            self.failed(data.get("message"))
        elif kind == "result":
            self.complete = True
            if event.get("exitCode", 0) != 0:
                self.failed(self.error or f"exit code {event.get('exitCode')}")
