"""The table a person reads, the verdict on the goals, and JSON for everything else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.machine import Machine
from benchmarks.memory import LIMIT_BYTES, IdleMemory
from benchmarks.timing import Outcome, Series

__all__ = ["Part", "Report"]

_HEAD = f"{'':<44} {'n':>4} {'median':>9} {'min':>9}  {'':<18}"


@dataclass(frozen=True, slots=True)
class Part:
    """All contests on one tree in one state."""

    files: int
    state: str
    """``cold`` (the base is not cached) or ``warm``."""
    outcomes: tuple[Outcome, ...]

    @property
    def title(self) -> str:
        return f"{self.files:,} files, {self.state}"


def _milliseconds(value: float) -> str:
    if value < 0.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def part_lines(part: Part) -> list[str]:
    """One block of the table."""
    lines = [f"{part.title} (milliseconds)", _HEAD]
    for outcome in part.outcomes:
        lines.append(_line(outcome.contest, outcome.ours, _against_floor(outcome)))
        for each in outcome.series[1:]:
            ratio = _ratio(each.median_ms / outcome.ours.median_ms)
            lines.append(_line(f"    {each.name}", each, f"{ratio} x ours"))
    return [line.rstrip() for line in lines]


def _line(name: str, series: Series, remark: str) -> str:
    count, middle, least = len(series.times_ms), _milliseconds(series.median_ms), _milliseconds(series.least_ms)
    return f"{name:<44} {count:>4} {middle:>9} {least:>9}  {remark:<18}"


def _against_floor(outcome: Outcome) -> str:
    goal = outcome.goal
    if goal is None or goal.floor_ms is None:
        return ""
    return f"{_ratio(outcome.judged_ms / goal.floor_ms)} x the floor of {goal.floor_ms:g}"


@dataclass(frozen=True, slots=True)
class Report:
    """One whole run."""

    date: str
    machine: Machine
    seconds: float
    load_before: tuple[float, ...]
    load_after: tuple[float, ...]
    parts: tuple[Part, ...]
    memory: IdleMemory | None
    skipped: tuple[str, ...] = ()
    """What was left out because the time was up."""

    def closing_lines(self) -> list[str]:
        """Everything below the tables."""
        lines = ["goals (medians)"]
        for part in self.parts:
            lines += [line for outcome in part.outcomes for line in _verdict(part, outcome)]
        lines += _memory_verdict(self.memory)
        lines += [f"left out, the time was up: {name}" for name in self.skipped]
        before, after = (" ".join(f"{one:.2f}" for one in load) for load in (self.load_before, self.load_after))
        lines += [
            "",
            f"load average before {before}, after {after}; {self.seconds:.0f} s; {self.date}",
            str(self.machine),
        ]
        return lines

    def to_json(self) -> str:
        """Every single time, for comparing runs."""
        return json.dumps(
            {
                "date": self.date,
                "machine": asdict(self.machine),
                "seconds": round(self.seconds, 1),
                "load_before": self.load_before,
                "load_after": self.load_after,
                "results": [_as_json(part, outcome) for part in self.parts for outcome in part.outcomes],
                "memory": None if self.memory is None else asdict(self.memory) | {"limit": LIMIT_BYTES},
                "skipped": self.skipped,
            },
            indent=1,
        )


def _verdict(part: Part, outcome: Outcome) -> list[str]:
    goal = outcome.goal
    if goal is None:
        return []
    got = _milliseconds(outcome.judged_ms)
    word = "met   " if outcome.judged_ms <= goal.limit_ms else "MISSED"
    above = f" above {goal.above}" if goal.above else ""
    return [f"  {word} {part.title}: {outcome.contest}: {got} of {goal.limit_ms:g} ms{above}"]


def _memory_verdict(memory: IdleMemory | None) -> list[str]:
    if memory is None or not memory.peak_rss:
        return []
    peak = f"peak resident size {median(memory.peak_rss) / 2**20:.1f} MB, shared pages counted in full"
    if memory.pss is None:
        return [f"  memory of an idle workspace: {peak}; its share alone can only be read as root"]
    largest = max(memory.pss)
    word = "met   " if largest <= LIMIT_BYTES else "MISSED"
    text = f"{median(memory.pss) / 2**20:.1f} MB, at most {largest / 2**20:.1f} of {LIMIT_BYTES // 2**20} MB"
    return [f"  {word} idle workspace, monitor and agent (PSS, {memory.workspaces} of them): {text}; {peak}"]


def _as_json(part: Part, outcome: Outcome) -> dict[str, object]:
    return {
        "files": part.files,
        "state": part.state,
        "operation": outcome.contest,
        "goal": None if outcome.goal is None else asdict(outcome.goal) | {"judged_ms": round(outcome.judged_ms, 3)},
        "contenders": [
            {
                "name": each.name,
                "count": len(each.times_ms),
                "median_ms": round(each.median_ms, 3),
                "min_ms": round(each.least_ms, 3),
                "times_ms": [round(one, 3) for one in each.times_ms],
            }
            for each in outcome.series
        ],
    }
