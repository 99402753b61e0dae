"""``tool-trajectory``: which tools were called, how often, in which order, with which arguments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.subject import Finding, Grader, Subject
from sandlot.evals.graders.text import search
from sandlot.evals.outcomes import ToolCall

__all__ = ["ToolTrajectory"]

MODES = ("any_order", "in_order", "exact", "subset", "superset")
MATCHES = ("exact", "ignore", "subset", "superset")


@dataclass(frozen=True, slots=True)
class _Step:
    tool: str
    args: Any
    args_match: tuple[str, ...]
    max_duration_ms: float | None


@dataclass(frozen=True, slots=True)
class ToolTrajectory(Grader):
    """``any_order``: ``minimums`` of each tool; the others compare with ``expected``, step by step.

    ``in_order``: they occur in that order, others may be between; ``exact``: nothing else was called; ``subset``:
    every call is an expected one; ``superset``: every expected one was called, in whatever order.
    """

    mode: str
    minimums: Mapping[str, int]
    expected: tuple[_Step, ...]

    pass_score = 1.0

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> ToolTrajectory:
        mode = fields.choice("mode", MODES, "any_order")
        usual = _match(fields, "args_match", ("exact",))
        steps = []
        for each in fields.items("expected"):
            steps.append(
                _Step(
                    each.text("tool"), each.any("args"), _match(each, "args_match", usual),
                    each.number("max_duration_ms", least=0),
                )
            )  # fmt: skip
            each.done()
        inner = fields.inner("minimums")
        minimums = {name: inner.count(name, least=0) or 0 for name in fields.mapping("minimums")}
        if not steps and not minimums and mode != "subset":
            raise fields.wrong("nothing is expected", "write 'minimums' (any_order) or 'expected'")
        return cls(mode, minimums, tuple(steps))

    def find(self, subject: Subject) -> Finding:
        calls = subject.answer.tool_calls
        hits: list[str] = []
        misses: list[str] = []
        seen = Counter(call.name for call in calls)
        for tool, least in self.minimums.items():
            (hits if seen[tool] >= least else misses).append(f"{tool}: {seen[tool]} calls, at least {least}")
        if self.expected or self.mode in ("exact", "subset"):
            compare = {"in_order": _in_order, "exact": _exact, "subset": _subset}.get(self.mode, _superset)
            compare(self.expected, calls, hits, misses)
        total = len(hits) + len(misses)
        return Finding(len(hits) / total if total else 1.0, tuple(hits), tuple(misses))


def _match(fields: Fields, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """How arguments are compared: a word, or the names of those that count."""
    found = fields.any(name)
    if isinstance(found, list):
        return ("names", *fields.texts(name))
    return (fields.choice(name, MATCHES, default[0]),) if found is not None else default


def _fits(step: _Step, call: ToolCall) -> bool:
    if step.tool != call.name:
        return False
    if step.max_duration_ms is not None and (call.duration_ms is None or call.duration_ms > step.max_duration_ms):
        return False
    if step.args is None or step.args == "any" or step.args_match[0] == "ignore":
        return True
    if not isinstance(step.args, Mapping):
        return False
    have, how = call.arguments, step.args_match
    if how[0] == "names":
        return all(name in have and _same(step.args.get(name), have[name]) for name in how[1:])
    if how[0] == "exact":
        return set(step.args) == set(have) and all(_same(want, have[name]) for name, want in step.args.items())
    if how[0] == "superset":  # the call has at least what is expected
        return all(name in have and _same(want, have[name]) for name, want in step.args.items())
    return all(name in step.args and _same(step.args[name], value) for name, value in have.items())


def _same(want: Any, have: Any) -> bool:
    """Equal; ``/pattern/`` is a regular expression, searched for in the first 10,000 characters."""
    if isinstance(want, str) and isinstance(have, str) and len(want) > 2 and want[0] == want[-1] == "/":
        try:
            re.compile(want[1:-1])
        except re.error:
            return want == have
        return search(want[1:-1], 0, have[:10_000])
    return bool(want == have)


def _in_order(expected: Sequence[_Step], calls: Sequence[ToolCall], hits: list[str], misses: list[str]) -> None:
    at = 0
    for number, step in enumerate(expected, 1):
        found = next((index for index in range(at, len(calls)) if _fits(step, calls[index])), None)
        if found is None:
            misses.append(f"step {number}: {step.tool}")
        else:
            hits.append(f"step {number}: {step.tool}")
            at = found + 1


def _exact(expected: Sequence[_Step], calls: Sequence[ToolCall], hits: list[str], misses: list[str]) -> None:
    for number in range(max(len(expected), len(calls))):
        step = expected[number] if number < len(expected) else None
        call = calls[number] if number < len(calls) else None
        if step and call and _fits(step, call):
            hits.append(f"step {number + 1}: {step.tool}")
        else:
            misses.append(f"step {number + 1}: {call.name if call else 'nothing'}, not {step.tool if step else 'more'}")


def _superset(expected: Sequence[_Step], calls: Sequence[ToolCall], hits: list[str], misses: list[str]) -> None:
    left = list(calls)
    for step in expected:
        found = next((call for call in left if _fits(step, call)), None)
        if found is None:
            misses.append(step.tool)
        else:
            left.remove(found)
            hits.append(step.tool)


def _subset(expected: Sequence[_Step], calls: Sequence[ToolCall], hits: list[str], misses: list[str]) -> None:
    for call in calls:
        (hits if any(_fits(step, call) for step in expected) else misses).append(call.name)
