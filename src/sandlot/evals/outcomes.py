"""The nouns of a run: what a target did, what graders found, how a trial ended. Plain data, written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Outcome", "Stage", "TargetAnswer", "ToolCall", "Trial", "TrialResult", "Usage", "Verdict"]


class Outcome(StrEnum):
    """How a trial ended. Only ``fail`` says something about the target's work; ``error`` is ours, or the machine's."""

    PASS = "pass"  # noqa: S105  an outcome, no password
    FAIL = "fail"
    ERROR = "error"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"


class Stage(StrEnum):
    """Where something went wrong."""

    SETUP = "setup"
    HOOK = "hook"
    TARGET = "target"
    GRADER = "grader"
    TEARDOWN = "teardown"


@dataclass(frozen=True, slots=True)
class Trial:
    """One execution of a test by a target, before it has run. Its key names its file in the run's folder."""

    suite: str
    test: str
    target: str
    number: int
    """Counted from 1."""

    @property
    def key(self) -> str:
        """Unique in a run."""
        return f"{self.suite}/{self.test}/{self.target}/{self.number}"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a target used; None: it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool by the target."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    output: str = ""
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TargetAnswer:
    """What a target did with a test."""

    text: str
    """Its last answer."""
    duration_ms: int
    messages: tuple[Mapping[str, Any], ...] = ()
    """The transcript: role and content, in order."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    error: str = ""
    """Not empty: the target, or what surrounds it, failed; nothing is graded."""
    timed_out: bool = False
    log: str = ""
    """What it printed, head and tail."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one grader found."""

    name: str
    type: str
    score: float
    """0 to 1, after ``negate``."""
    passed: bool
    weight: float = 1.0
    required: float | None = None
    hits: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()
    reasoning: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    """Not empty: the grader itself could not work; the trial is an error, not a failure."""
    skipped: bool = False
    """There was nothing to judge (a target that reports no cost); it does not count."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How a trial ended, complete."""

    trial: Trial
    outcome: Outcome
    score: float | None
    """Weighted mean of the verdicts; None: nothing was graded."""
    verdicts: tuple[Verdict, ...] = ()
    answer: TargetAnswer | None = None
    stage: Stage | None = None
    """Of an error or a timeout."""
    reason: str = ""
    warnings: tuple[str, ...] = ()
    isolation: str = ""
    files_changed: int = 0
    started_at: str = ""
    duration_ms: int = 0
    hook_output: Mapping[str, str] = field(default_factory=dict)
