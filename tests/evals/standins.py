"""A stand-in for workspaces, targets and graders: for faults and orders of events that real ones seldom show."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sandlot.evals.cases import (
    Execution,
    Message,
    Part,
    Place,
    Suite,
    TargetSpec,
    TestCase,
    WorkspaceMode,
    WorkspacePlan,
)
from sandlot.evals.machinery import Captured, Prepared
from sandlot.evals.options import RunOptions
from sandlot.evals.outcomes import TargetAnswer, Trial, Usage, Verdict
from sandlot.evals.run import Watch
from sandlot.evals.run_folder import RunFolder
from sandlot.evals.scoring import Scored, score_verdicts
from sandlot.evals.session import RunPlan, Session, begin, plan_run
from sandlot.workspaces.cancellation import Cancellation

DEADLINE_S = 20.0
"""Of every wait in these tests."""
TARGET = TargetSpec("mock", "mock", {}, Place("targets.yaml"), "/")

Script = Callable[[TestCase, Trial, Cancellation], TargetAnswer]


def a_case(name: str, mode: WorkspaceMode = WorkspaceMode.POOLED, **fields: Any) -> TestCase:
    """One that the stand-in's target answers."""
    path = "/project" if mode is WorkspaceMode.STATIC else None
    plan = WorkspacePlan(mode, path)
    return TestCase(name, Place("a.yaml", 1, 1), (Message("user", (Part("do it"),)),), workspace=plan, **fields)


def suite(*tests: TestCase, name: str = "suite", **execution: Any) -> Suite:
    """Of these tests."""
    return Suite(name, f"/nowhere/{name}.yaml", tests, execution=Execution(**execution))


def passes(_case: TestCase, _trial: Trial, _cancellation: Cancellation) -> TargetAnswer:
    """A target that is always right."""
    return TargetAnswer("right", 1, usage=Usage(10, 5, 0.5))


def hangs(_case: TestCase, _trial: Trial, cancellation: Cancellation) -> TargetAnswer:
    """A target that never ends by itself."""
    over = threading.Event()
    with cancellation.waking(over.set):
        assert over.wait(DEADLINE_S), "nobody ended it"
    cancellation.check()
    raise AssertionError("woken without being cancelled")


@dataclass
class Changes:
    """Nothing, or one file."""

    patch: bytes = b""
    files: Sequence[object] = ()


@dataclass
class StandIn:
    """As ``Machinery``; ``events`` has what happened, in order."""

    target: Script = passes
    events: list[str] = field(default_factory=list)
    broken: Mapping[str, BaseException] = field(default_factory=dict)
    """By the name of the step that raises it: prepare, before_each, capture, grade, after_each, after_all."""
    verdict: Callable[[TargetAnswer], Verdict] = lambda answer: Verdict(
        "right", "contains", float(answer.text == "right"), answer.text == "right", misses=("right",)
    )
    most_at_once: int = 0
    swept: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self, name: str) -> None:
        """Note it, and raise what was arranged."""
        with self._lock:
            self.events.append(name)
        if name in self.broken:
            raise self.broken[name]

    def surroundings(self, target: TargetSpec) -> str:
        return ""

    @contextmanager
    def prepare(self, plan: WorkspacePlan, target: TargetSpec, cancellation: Cancellation) -> Iterator[Prepared]:
        self.step("prepare")
        yield _Prepared(self)
        self.step("after_all")

    def run_target(
        self, target: TargetSpec, test: TestCase, place: Any, trial: Trial, *, timeout_s: float,
        cancellation: Cancellation,
    ) -> TargetAnswer:  # fmt: skip
        self.step("target")
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return self.target(test, trial, cancellation)
        finally:
            with self._lock:
                self._at_once -= 1

    def grade(
        self, test: TestCase, answer: TargetAnswer, changes: Captured, place: Any, cancellation: Cancellation
    ) -> tuple[Verdict, ...]:
        self.step("grade")
        return (self.verdict(answer),)

    def score(self, verdicts: Sequence[Verdict], threshold: float) -> Scored:
        return score_verdicts(verdicts, threshold)

    def sweep(self) -> int:
        self.step("sweep")
        return self.swept


@dataclass
class _Prepared:
    machinery: StandIn
    facts: Mapping[str, object] = field(default_factory=lambda: {"fingerprint": "f"})
    warnings: Sequence[str] = ()

    @contextmanager
    def trial(self, test: TestCase, trial: Trial) -> Iterator[_Place]:
        self.machinery.step("before_each")
        try:
            yield _Place(self.machinery)
        finally:
            self.machinery.step("after_each")


@dataclass
class _Place:
    machinery: StandIn
    workspace: Any = field(default_factory=lambda: SimpleNamespace(info=SimpleNamespace(isolation=_Level())))
    hook_output: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def capture(self) -> Changes:
        self.machinery.step("capture")
        return Changes(b"diff", ("a",))

    def grading(self) -> Any:
        raise AssertionError("the stand-in grades by itself")


class _Level:
    value = "kernel"


def plan_of(*suites: Suite, **options: Any) -> RunPlan:
    """A plan of these suites, for the one target."""
    return plan_run(RunOptions(**options), lambda _options: suites, lambda _folder: {TARGET.name: TARGET})


def session_of(plan: RunPlan, root: Any, machinery: StandIn, watch: Watch | None = None) -> Session:
    """A session of a new run."""
    folder = RunFolder.open(root) if (root / "run.json").exists() else begin(plan, root, "run-1")
    return Session(folder, plan, machinery, watch or Watch())
