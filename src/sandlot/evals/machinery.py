"""What the runner needs of its neighbours, as one seam: where trials take place, who does the work, who grades it.

Tests put stand-ins here to provoke what real ones do only by chance; ``real`` is what everybody else gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from sandlot.evals.cases import TargetSpec, TestCase, WorkspacePlan
from sandlot.evals.outcomes import Outcome, TargetAnswer, Trial, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandlot.sdk import Workspace
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Captured", "Judged", "Machinery", "Prepared", "TrialPlace"]


class Captured(Protocol):
    """What a target changed."""

    @property
    def patch(self) -> bytes: ...

    @property
    def files(self) -> Sequence[object]: ...


class Judged(Protocol):
    """What the verdicts amount to."""

    @property
    def outcome(self) -> Outcome: ...

    @property
    def score(self) -> float | None: ...

    @property
    def reason(self) -> str: ...


class TrialPlace(Protocol):
    """One trial's workspace, at the baseline, before_each behind it."""

    @property
    def workspace(self) -> Workspace: ...

    @property
    def hook_output(self) -> Mapping[str, str]: ...

    @property
    def warnings(self) -> Sequence[str]: ...

    def capture(self) -> Captured:
        """The changes against the baseline; called once the target has ended."""
        ...

    @property
    def grading(self) -> Callable[..., AbstractContextManager[Workspace]]:
        """Makes a second, clean workspace with the captured changes in it."""
        ...


class Prepared(Protocol):
    """Base and baseline of the tests that share a plan; before_all behind it."""

    @property
    def facts(self) -> Mapping[str, object]:
        """Fingerprint, commits, isolation: what the manifest keeps."""
        ...

    @property
    def warnings(self) -> Sequence[str]: ...

    def trial(self, test: TestCase, trial: Trial) -> AbstractContextManager[TrialPlace]:
        """Afterwards after_each has run and the workspace is gone."""
        ...


class Machinery(Protocol):
    """The neighbours."""

    def surroundings(self, target: TargetSpec) -> str:
        """Targets with the same answer can share a preparation."""
        ...

    def prepare(
        self, plan: WorkspacePlan, target: TargetSpec, cancellation: Cancellation
    ) -> AbstractContextManager[Prepared]:
        """Materialise; afterwards after_all has run. Raises SandlotError: its trials are errors then."""
        ...

    def run_target(
        self,
        target: TargetSpec,
        test: TestCase,
        place: TrialPlace,
        trial: Trial,
        *,
        timeout_s: float,
        cancellation: Cancellation,
    ) -> TargetAnswer:
        """Give the test to the target."""
        ...

    def grade(
        self, test: TestCase, answer: TargetAnswer, changes: Captured, place: TrialPlace, cancellation: Cancellation
    ) -> tuple[Verdict, ...]:
        """What each grader finds."""
        ...

    def score(self, verdicts: Sequence[Verdict], threshold: float) -> Judged:
        """All of that as one outcome: pass, fail or error."""
        ...

    def sweep(self) -> int:
        """Delete every workspace that trials of this run have left behind; how many there were."""
        ...
