"""Collecting what an agent's stream of events says. Everything in a stream is the target's word: hostile, bounded."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from sandlot.evals.outcomes import TargetAnswer, ToolCall, Usage
from sandlot.evals.targets.answers import amount, content_text, count

__all__ = ["Stream", "mapping"]

MAX_EVENTS = 100_000
KEPT_CHARACTERS = 32 << 20
"""Of all lines together. What comes after that, or after so many events, still counts: that the turn is over, that it
failed, what it used. But it is not kept."""
TEXT = 64 << 10
"""Most characters that are kept of a tool's output."""


class Stream(ABC):
    """The events of one run, fed line by line. A subclass knows one agent's events.

    ``complete``: whether the agent said that its turn is over; an agent that exits with 0 before that has failed.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.text = ""
        self.error = ""
        self.complete = False
        self._calls: dict[str, int] = {}
        self._tools: list[ToolCall] = []
        self._input: int | None = None
        self._output: int | None = None
        self._cost: float | None = None
        self._events = 0
        self._seen = 0
        self._more: list[str] = []
        """What goes on the last message; put to it once, or a stream of drops would copy the whole for each of them."""

    def feed(self, line: str) -> None:
        """A line of standard output; what is no event is left out."""
        if not line.startswith("{"):
            return
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(found, dict) and isinstance(found.get("type"), str):
            self._events += 1
            self._seen += len(line)
            with contextlib.suppress(RecursionError):  # a value that can be read, but not be written
                self.event(found["type"], found)

    @abstractmethod
    def event(self, kind: str, event: Mapping[str, Any]) -> None:
        """One event."""

    @property
    def full(self) -> bool:
        """Whether nothing more of its messages is kept."""
        return self._seen > KEPT_CHARACTERS or self._events > MAX_EVENTS

    def say(self, role: str, text: str, *, more: bool = False) -> None:
        """A message; ``more``: the one before goes on."""
        if self.full:
            self._settle()
            self.text = text if role == "assistant" and text and not more else self.text
            return
        if more and self.messages and self.messages[-1]["role"] == role and "tool_calls" not in self.messages[-1]:
            self._more.append(text)
            return
        self._settle()
        if text:
            self.messages.append({"role": role, "content": text})
            if role == "assistant":
                self.text = text

    def _settle(self) -> None:
        """The last message is complete."""
        if self._more:
            last = self.messages[-1]
            last["content"] += "".join(self._more)
            self._more.clear()
            if last["role"] == "assistant":
                self.text = last["content"]

    def call(self, identity: Any, name: Any, arguments: Any) -> None:
        """A tool is called."""
        if self.full:
            return
        self._settle()
        made = ToolCall(str(name or ""), dict(mapping(arguments)))
        self._calls[str(identity)] = len(self._tools)
        self._tools.append(made)
        self.messages.append(
            {"role": "assistant", "content": "", "tool_calls": [{"name": made.name, "input": made.arguments}]}
        )

    def result(self, identity: Any, output: Any, duration_ms: float | None = None) -> None:
        """What a tool answered."""
        at = self._calls.get(str(identity))
        text = content_text(output)[:TEXT]
        if at is None or self.full:
            return
        self._settle()
        took = None if duration_ms is None else round(duration_ms)
        self._tools[at] = ToolCall(self._tools[at].name, self._tools[at].arguments, text, took)
        self.messages.append({"role": "tool", "content": text})

    def used(self, input_tokens: Any, output_tokens: Any, cost_usd: Any = None) -> None:
        """Used in addition to what was said before."""
        self._input = _sum(self._input, count(input_tokens))
        self._output = _sum(self._output, count(output_tokens))
        cost = amount(cost_usd)
        if cost is not None:
            self._cost = cost + (self._cost or 0.0)

    def used_in_all(self, input_tokens: Any, output_tokens: Any, cost_usd: Any = None) -> None:
        """Used from the beginning to the end."""
        self._input, self._output, self._cost = count(input_tokens), count(output_tokens), amount(cost_usd)

    def failed(self, message: Any) -> None:
        """An event of failure: the run is an error, whatever the exit code."""
        self.error = content_text(message).strip()[:2000] or "the agent reported an error"

    def answer(self, duration_ms: int, log: str, failure: str, timed_out: bool) -> TargetAnswer:
        """All of it. ``failure``: why the command itself counts as failed."""
        self._settle()
        error = ""
        if failure:
            error = f"the agent failed: {failure}" + (f": {self.error}" if self.error else _last_line(log))
        elif self.error:
            error = f"the agent reported an error: {self.error}"
        elif not self.complete:
            error = "the agent ended before its turn was over" + _last_line(log)
        usage = Usage(self._input, self._output, self._cost)
        return TargetAnswer(
            self.text, duration_ms, tuple(self.messages), tuple(self._tools), usage, error, timed_out, log
        )


def mapping(found: Any) -> Mapping[str, Any]:
    """A mapping as it is, JSON text of one, or an empty one."""
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return {}
    return found if isinstance(found, Mapping) else {}


def _sum(before: int | None, more: int | None) -> int | None:
    return before if more is None else more + (before or 0)


def _last_line(log: str) -> str:
    last = next((line for line in reversed(log.splitlines()) if line.strip() and not line.startswith("{")), "")
    return f": {last.strip()[:300]}" if last else ""
