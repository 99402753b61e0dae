"""Graders of what a target used: time, cost, tokens, calls."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.subject import Finding, Grader, NothingToJudge, Subject
from sandlot.evals.outcomes import TargetAnswer

__all__ = ["Measures", "measured"]

_LIMITS = {
    "latency": {"threshold": "duration_ms", "threshold_ms": "duration_ms", "max_ms": "duration_ms"},
    "cost": {"budget": "cost_usd", "max_usd": "cost_usd"},
    "token-usage": {"max_total": "tokens", "max_input": "input_tokens", "max_output": "output_tokens"},
    "execution-metrics": {
        "max_tool_calls": "tool_calls",
        "max_llm_calls": "llm_calls",
        "max_tokens": "tokens",
        "max_cost_usd": "cost_usd",
        "max_duration_ms": "duration_ms",
    },
}
"""Field of a grader -> what it bounds."""


@dataclass(frozen=True, slots=True)
class Measures(Grader):
    """``latency``, ``cost``, ``token-usage``, ``execution-metrics``: the score is the share of limits that are kept."""

    limits: tuple[tuple[str, str, float], ...]
    exploration: tuple[float, float] | None
    """Target share of exploring tool calls, and how far off it may be."""

    pass_score = 1.0

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> Measures:
        limits = []
        for name, measure in _LIMITS[spec.type].items():
            limit = fields.number(name, least=0)
            if limit is not None:
                limits.append((name, measure, limit))
        exploration = None
        if spec.type == "execution-metrics":
            share = fields.number("target_exploration_ratio", least=0, most=1)
            room = fields.number("exploration_tolerance", least=0, most=1)
            if share is not None:
                exploration = (share, 0.2 if room is None else room)
        if not limits and exploration is None:
            raise fields.wrong("there is no limit", f"write one of: {', '.join(_LIMITS[spec.type])}")
        return cls(tuple(limits), exploration)

    def find(self, subject: Subject) -> Finding:
        hits: list[str] = []
        misses: list[str] = []
        unknown: list[str] = []
        for name, measure, limit in self.limits:
            value = measured(subject.answer, measure)
            if value is None:
                unknown.append(measure)
            else:
                (hits if value <= limit else misses).append(f"{measure} {value:g}, {name} {limit:g}")
        if self.exploration is not None:
            _explored(subject.answer, self.exploration, hits, misses, unknown)
        if not hits and not misses:
            raise NothingToJudge(f"the target does not report {', '.join(unknown)}")
        reasoning = f"the target does not report {', '.join(unknown)}" if unknown else ""
        return Finding(len(hits) / (len(hits) + len(misses)), tuple(hits), tuple(misses), reasoning)


def measured(answer: TargetAnswer, measure: str) -> float | None:
    """What was used, or None when the target did not say."""
    usage = answer.usage
    if measure == "tokens":
        if usage.input_tokens is None or usage.output_tokens is None:
            return None  # a part of them would keep any limit
        return float(usage.input_tokens + usage.output_tokens)
    if measure == "tool_calls":
        return float(len(answer.tool_calls)) if answer.messages or answer.tool_calls else None
    if measure == "llm_calls":
        calls = sum(each.get("role") == "assistant" for each in answer.messages)
        return float(calls) if answer.messages else None
    found = {
        "duration_ms": answer.duration_ms,
        "cost_usd": usage.cost_usd,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }[measure]
    return None if found is None else float(found)


_EXPLORING = ("read", "grep", "glob", "search", "list", "ls", "find", "cat", "fetch", "view")


def _explored(
    answer: TargetAnswer, wanted: tuple[float, float], hits: list[str], misses: list[str], unknown: list[str]
) -> None:
    if not answer.tool_calls:
        unknown.append("tool calls")
        return
    exploring = sum(any(word in call.name.lower() for word in _EXPLORING) for call in answer.tool_calls)
    share = exploring / len(answer.tool_calls)
    fits = abs(share - wanted[0]) <= wanted[1] + 1e-9
    (hits if fits else misses).append(f"share of exploring calls {share:.2f}, wanted {wanted[0]:g} ± {wanted[1]:g}")
