"""Rubrics: what a good answer does, one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandlot.evals.fields import Fields
from sandlot.evals.graders.subject import Finding

__all__ = ["Rubric", "read_rubrics", "scored"]

SCALE = 10.0
"""Rubrics with ``score_ranges`` are scored from 0 to 10."""


@dataclass(frozen=True, slots=True)
class Rubric:
    """One thing to judge: satisfied or not, or on a scale from 0 to 10."""

    id: str
    outcome: str
    weight: float
    least: float | None
    """Below this (0 to 1) the whole grader scores 0; None: it only counts by weight."""
    ranges: tuple[tuple[float, float, str], ...]

    def line(self) -> str:
        """As the model reads it."""
        text = f"- id {self.id}: {self.outcome}"
        return text + "".join(f"\n    {low:g} to {high:g}: {meaning}" for low, high, meaning in self.ranges)


def read_rubrics(fields: Fields, name: str) -> tuple[Rubric, ...]:
    """A list of texts, or of mappings with ``outcome``. Raises UsageError."""
    found = fields.any(name, ())
    if isinstance(found, str) or not isinstance(found, list | tuple):
        raise fields.wrong(f"'{name}' must be a list")
    written = [{"outcome": each} if isinstance(each, str) else each for each in found]
    rubrics = []
    for at, each in enumerate(Fields({name: written}, fields.what, fields.place).items(name)):
        rubrics.append(_rubric(each, at))
        each.done()
    if len({each.id for each in rubrics}) != len(rubrics):
        raise fields.wrong(f"two of '{name}' have the same id")
    return tuple(rubrics)


def _rubric(fields: Fields, at: int) -> Rubric:
    ranges = []
    for each in fields.items("score_ranges"):
        bounds = each.any("score_range")
        if not isinstance(bounds, list | tuple) or len(bounds) != 2:
            raise each.wrong("'score_range' must be two numbers")
        ranges.append((float(bounds[0]), float(bounds[1]), each.text("outcome")))
        each.done()
    weight = fields.number("weight", least=0)
    low, low_of_ten = fields.number("min_score", least=0, most=1), fields.number("required_min_score", least=0, most=10)
    required = fields.flag("required", not ranges and low is None and low_of_ten is None)
    least = low if low is not None else low_of_ten / SCALE if low_of_ten is not None else 1.0 if required else None
    outcome = fields.text("outcome", "" if ranges else None)
    return Rubric(
        fields.text("id", f"rubric-{at + 1}"), outcome, 1.0 if weight is None else weight, least, tuple(ranges)
    )


def scored(rubrics: tuple[Rubric, ...], found: Mapping[str, Any]) -> Finding:
    """The weighted share. Raises ValueError unless each rubric was judged, exactly once."""
    checks = found.get("checks")
    if not isinstance(checks, list) or not all(isinstance(each, Mapping) for each in checks):
        raise ValueError("no list of checks")
    by_id = {str(each.get("id")): each for each in checks}
    if len(by_id) != len(checks) or set(by_id) != {each.id for each in rubrics}:
        raise ValueError("it did not judge each rubric once")
    hits: list[str] = []
    misses: list[str] = []
    low: list[str] = []
    got = 0.0
    for rubric in rubrics:
        check = by_id[rubric.id]
        score = _score(rubric, check)
        got += score * rubric.weight
        reason = str(check.get("reasoning") or "")[:300]
        enough = score >= (0.8 if rubric.least is None else rubric.least) - 1e-9
        (hits if enough else misses).append(f"{rubric.outcome or rubric.id}" + (f" ({reason})" if reason else ""))
        if rubric.least is not None and not enough:
            low.append(rubric.id)
    total = math.fsum(each.weight for each in rubrics)
    reasoning = f"required: {', '.join(low)}" if low else ""
    return Finding(0.0 if low else got / total if total else 1.0, tuple(hits), tuple(misses), reasoning)


def _score(rubric: Rubric, check: Mapping[str, Any]) -> float:
    if not rubric.ranges:
        satisfied = check.get("satisfied")
        if not isinstance(satisfied, bool):
            raise ValueError(f"'{rubric.id}' is neither satisfied nor not")
        return float(satisfied)
    score = check.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= SCALE:
        raise ValueError(f"the score of '{rubric.id}' is no number from 0 to 10")
    return float(score) / SCALE
