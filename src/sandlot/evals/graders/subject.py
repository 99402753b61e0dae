"""What graders look at, and what they answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sandlot.evals.cases import GraderSpec, TargetSpec, TestCase
from sandlot.evals.fields import Fields
from sandlot.evals.outcomes import TargetAnswer

if TYPE_CHECKING:
    from sandlot.model.changes import FileChange
    from sandlot.sdk import Workspace
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Changed", "Finding", "Grader", "GraderFailed", "Grading", "NothingToJudge", "Subject"]


class GraderFailed(Exception):
    """The grader itself could not work: an error of the trial, never a fail of the target."""


class NothingToJudge(Exception):
    """The grader has nothing to look at, such as the cost of a target that reports none."""


class Changed(Protocol):
    """What the target did to the files."""

    @property
    def patch(self) -> bytes:
        """For ``git apply``."""

    @property
    def files(self) -> Sequence[FileChange]:
        """Each changed path."""


class Grading(Protocol):
    """Makes a fresh, second workspace of the base and the target's changes; gone at the end of the block."""

    def __call__(self, leave_out: Callable[[str], bool] | None = None) -> AbstractContextManager[Workspace]:
        """``leave_out``: paths whose changes are not brought along."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A test and what a target made of it. Everything in it but the test is hostile."""

    case: TestCase
    answer: TargetAnswer
    changes: Changed
    grading: Grading
    llm: Callable[[str | None], TargetSpec] | None = None
    """The target of that name to ask (None: the usual one). Raises UsageError. Called by graders that need it only."""
    cancellation: Cancellation | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a grader found, before weight, negation and thresholds."""

    score: float
    """0 to 1."""
    hits: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()
    reasoning: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, passed: bool, text: str, **details: Any) -> Finding:
        """All or nothing; ``text`` says what was looked for."""
        hits, misses = ((text,), ()) if passed else ((), (text,))
        return cls(float(passed), hits, misses, details=details)


class Grader(ABC):
    """One type of grader; made from its fields, which raises UsageError for what is wrong with them."""

    pass_score = 0.8
    """Least score that counts as passed, unless its ``required`` says otherwise."""

    @property
    def asks_a_model(self) -> bool:
        """Whether it costs money and needs a key: it comes last, and not at all where the outcome is known by then."""
        return False

    def hidden_from_targets(self, *, static: bool) -> tuple[str, ...]:  # noqa: ARG002  of code-graders
        """Host paths that targets must not see; ``static``: nor change, in a folder that their changes come back to."""
        return ()

    @classmethod
    @abstractmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> Grader:
        """From its fields. Reads no file that may be missing for good reason, no key, and runs nothing."""

    @abstractmethod
    def find(self, subject: Subject) -> Finding:
        """Look. Raises GraderFailed, NothingToJudge, and sandlot's errors."""
