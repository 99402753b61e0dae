"""OpenCode: ``opencode run --format=json``, the prompt on standard input (read with 1.18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandlot.evals.targets.agents.agent import Agent
from sandlot.evals.targets.answers import amount, content_text
from sandlot.evals.targets.transcript import Stream, mapping

__all__ = ["OpenCode"]


class OpenCode(Agent):
    """OpenCode, for whatever provider ``model: provider/name`` says; it has no key of its own."""

    name = "opencode"
    program = "opencode"
    quiet = {
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_FAKE_VCS": "git",
    }

    def words(self, program: str, model: str | None, args: Sequence[str]) -> list[str]:
        chosen = [f"--model={model}"] if model else []
        return [program, *chosen, "run", "--format=json", "--dangerously-skip-permissions", *args]

    def stream(self) -> Stream:
        return _Events()


class _Events(Stream):
    def event(self, kind: str, event: Mapping[str, Any]) -> None:
        part = mapping(event.get("part"))
        if kind == "text":
            self.say("assistant", content_text(part.get("text")))
        elif kind == "tool_use":
            state = mapping(part.get("state"))
            time = mapping(state.get("time"))
            began, ended = amount(time.get("start")), amount(time.get("end"))
            self.call(part.get("callID"), part.get("tool"), state.get("input"))
            took = max(0.0, ended - began) if began is not None and ended is not None else None
            self.result(part.get("callID"), state.get("output", state.get("error")), took)
        elif kind == "step_finish":
            self.complete = part.get("reason") != "tool-calls"
            # A model that it has no price of costs 0 there.
            self.used(*_tokens(mapping(part.get("tokens"))), amount(part.get("cost")) or None)
        elif kind == "error":  # it exits with 0 all the same
            error = mapping(event.get("error"))
            self.failed(mapping(error.get("data")).get("message") or error.get("message") or error.get("name"))


def _tokens(tokens: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """In, with what came from a cache; out, with what was thought, which is in the total and counted by itself."""
    cache = mapping(tokens.get("cache"))
    given = [amount(each) for each in (tokens.get("input"), cache.get("read"), cache.get("write"))]
    if given[0] is None:
        return None, amount(tokens.get("output"))
    read = sum(each or 0.0 for each in given)
    got, total = amount(tokens.get("output")), amount(tokens.get("total"))
    return read, max(got or 0.0, total - read) if total is not None else got
