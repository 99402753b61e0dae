"""The neighbours as they are: workspaces from the SDK, targets, graders, scoring."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandlot.errors import SandlotError, UsageError
from sandlot.evals.cases import Placement, Suite, TargetSpec, TestCase, WorkspacePlan
from sandlot.evals.manifest import hash_of
from sandlot.evals.trial_records import plain

if TYPE_CHECKING:
    from sandlot.evals.graders import Grader
    from sandlot.evals.machinery import Captured, TrialPlace
    from sandlot.evals.options import RunOptions
    from sandlot.evals.outcomes import TargetAnswer, Trial, Verdict
    from sandlot.evals.prepare import Preparation
    from sandlot.evals.scoring import Scored
    from sandlot.evals.targets.needs import TargetNeeds
    from sandlot.sdk import Sandlot
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["RealMachinery", "check", "grader_target", "load", "targets_near"]

RUN_LABEL = "sandlot.eval.run"
KIND_LABEL = "sandlot.eval.kind"


def load(options: RunOptions) -> Sequence[Suite]:
    """The suites that a run names. Raises UsageError with everything that is wrong in them."""
    from sandlot.evals.load import load_suites
    from sandlot.evals.resolve import WorkspaceOptions

    return load_suites(options.paths, WorkspaceOptions(options.workspace_mode, options.workspace_path))


def targets_near(folder: Path) -> Mapping[str, TargetSpec]:
    """The targets that suites in a folder can name."""
    from sandlot.evals.targets_file import load_targets

    return load_targets(folder)


def grader_target(known: Mapping[str, TargetSpec], name: str | None) -> TargetSpec:
    """The target that grades: the one named; else the one called ``grader``, else the only one of kind ``llm``.

    Never the system under test by default: it would grade itself. Raises UsageError.
    """
    if name is None:
        models = [each for each in known.values() if each.kind == "llm"]
        if "grader" in known:
            return known["grader"]
        if len(models) == 1:
            return models[0]
        raise UsageError("which target grades is not said", hint="name it: target: NAME; or call one of them grader")
    if name not in known:
        raise UsageError(f"there is no target {name!r} to grade with", hint="write it in .sandlot/targets.yaml")
    return known[name]


def check(targets: Sequence[TargetSpec]) -> None:
    """Whether targets can be used at all. Raises UsageError for a wrong field, before anything has been spent."""
    from sandlot.evals.targets import check_target

    for target in targets:
        check_target(target)


class RealMachinery:
    """What ``Machinery`` describes, for one run."""

    def __init__(self, sandlot: Sandlot, run_id: str, tests: Iterable[TestCase] = ()) -> None:
        """``tests``: what is to be graded. Their graders, with the files they are made of and the targets they ask, are
        read now: what a target does in a static folder comes back to it, and may be a change of the suite in there.
        """
        self._sandlot = sandlot
        self._run_id = run_id
        self._needs: dict[str, TargetNeeds] = {}
        self._graders: dict[int, Grader] = {}
        self._models: dict[Path, Mapping[str, TargetSpec]] = {}
        for test in {id(each): each for each in tests}.values():
            self._read(test)

    def surroundings(self, target: TargetSpec) -> str:
        """Targets with the same answer can share a preparation."""
        return hash_of(plain(self._surroundings(target)))

    @contextmanager
    def prepare(self, plan: WorkspacePlan, target: TargetSpec, cancellation: Cancellation) -> Iterator[RealPrepared]:
        """Materialise; afterwards after_all has run."""
        from sandlot.evals.prepare import Preparation

        preparation = Preparation(
            self._sandlot, plan, self._run_id, surroundings=self._surroundings(target), cancellation=cancellation
        )
        prepared = RealPrepared(preparation)
        with preparation:
            yield prepared

    def run_target(
        self, target: TargetSpec, test: TestCase, place: TrialPlace, trial: Trial, *, timeout_s: float,
        cancellation: Cancellation,
    ) -> TargetAnswer:  # fmt: skip
        """Give the test to the target; the keys it needs are bound to their hosts, and never inside."""
        from sandlot.evals.targets import run_target

        for name, secret in self._needs_of(target).secrets.items():
            source = f"env:{secret.env}" if secret.env else f"file:{secret.file}" if secret.file else None
            place.workspace.secrets.set(name, hosts=secret.hosts, value=secret.value, source=source)
        workspace = None if target.placement is Placement.HOST else place.workspace
        return run_target(
            target, test, workspace, timeout_s=timeout_s, cancellation=cancellation, attempt=trial.number
        )  # fmt: skip

    def grade(
        self, test: TestCase, answer: TargetAnswer, changes: Captured, place: TrialPlace, cancellation: Cancellation
    ) -> tuple[Verdict, ...]:
        """What each grader finds, in the order of the suite."""
        from sandlot.evals.graders import Subject, grade_all

        self._read(test)

        def llm(name: str | None) -> TargetSpec:
            return grader_target(self._models[_folder(test)], name)

        subject = Subject(test, answer, changes, place.grading, llm, cancellation)  # type: ignore[arg-type]  # see Captured
        return grade_all(test.graders, subject, lambda spec: self._graders[id(spec)])

    def _read(self, test: TestCase) -> None:
        from sandlot.evals.graders import read_grader

        for spec in test.graders:
            if id(spec) not in self._graders:
                self._graders[id(spec)] = read_grader(spec)
            if self._graders[id(spec)].asks_a_model and _folder(test) not in self._models:
                self._models[_folder(test)] = targets_near(_folder(test))

    def score(self, verdicts: Sequence[Verdict], threshold: float) -> Scored:
        """All of that as one outcome."""
        from sandlot.evals.scoring import score_verdicts

        return score_verdicts(verdicts, threshold)

    def sweep(self) -> int:
        """Delete what trials of this run have left: those of a killed process, or ours after ctrl-C."""
        gone = 0
        for info in self._sandlot.list(labels={RUN_LABEL: self._run_id}):
            if info.labels.get(KIND_LABEL) == "pool":  # complete, and for every later run
                continue
            with contextlib.suppress(SandlotError):  # gone, or busy; it goes with the next sweep or by its retention
                self._sandlot.call("workspace_delete", workspaces=(info.id,))
                gone += 1
        return gone

    def _needs_of(self, target: TargetSpec) -> TargetNeeds:
        from sandlot.evals.targets import check_target

        if target.name not in self._needs:
            self._needs[target.name] = check_target(target)
        return self._needs[target.name]

    def _surroundings(self, target: TargetSpec) -> Any:
        from sandlot.evals.prepare import Surroundings

        needs = self._needs_of(target)
        network = "open" if needs.open_network else None
        return Surroundings(
            toolchains=needs.toolchains, network=network, allow=needs.allow, allow_private=needs.allow_private
        )


def _folder(test: TestCase) -> Path:
    return Path(test.place.file).parent


@dataclasses.dataclass
class RealPrepared:
    """A preparation that has been entered."""

    preparation: Preparation

    @property
    def facts(self) -> Mapping[str, object]:
        """For the run's folder."""
        return self.preparation.facts()

    @property
    def warnings(self) -> Sequence[str]:
        """Of hooks around all trials, and of what could not be deleted."""
        return self.preparation.warnings

    def trial(self, test: TestCase, trial: Trial) -> contextlib.AbstractContextManager[TrialPlace]:
        """A clean place."""
        return self.preparation.trial(test, trial)
