"""Tests, targets and graders made on the spot, and a trial's places without a whole run around them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandlot.evals.cases import GraderSpec, Message, Part, Place, Placement, TargetSpec, TestCase
from sandlot.evals.graders import Subject, grade
from sandlot.evals.graders.patches import without
from sandlot.evals.outcomes import TargetAnswer, Verdict
from sandlot.evals.place import Changes
from sandlot.sdk import Sandlot, Workspace

AT = Place("evals/a.yaml", 3, 5)


def case(prompt: str = "do it", **more: Any) -> TestCase:
    return TestCase(**{"id": "t1", "place": AT, "input": (Message("user", (Part(prompt),)),), **more})


def target(
    kind: str, folder: Path | str = "/", placement: Placement = Placement.WORKSPACE, **config: Any
) -> TargetSpec:
    return TargetSpec("mine", kind, config, AT, str(folder), placement)


def grader(kind: str, folder: Path | str = "/", /, **config: Any) -> GraderSpec:
    own = {name: config.pop(name) for name in ("weight", "required", "negate") if name in config}
    return GraderSpec(kind, kind, AT, config, folder=str(folder), **own)


def answer(text: str = "", **more: Any) -> TargetAnswer:
    return TargetAnswer(text, **{"duration_ms": 5, **more})


def no_grading(leave_out: Callable[[str], bool] | None = None) -> contextlib.AbstractContextManager[Workspace]:
    raise AssertionError("this grader needs no workspace")


def judge(
    kind: str, text: str = "", *, of: TestCase | None = None, by: TargetAnswer | None = None, **config: Any
) -> Verdict:
    """What a grader that needs no workspace says about an answer."""
    subject = Subject(of or case(), by or answer(text), Changes(b"", ()), no_grading)
    return grade(grader(kind, **config), subject)


@dataclass(frozen=True)
class Stage:
    """A project, a target's work on it, and the place where that is graded."""

    sandlot: Sandlot
    project: Path
    suite: Path
    toolchains: tuple[str, ...] = ()

    def write(self, files: Mapping[str, str], below: Path | None = None) -> None:
        for name, text in files.items():
            path = (below or self.project) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def subject(self, work: Callable[[Workspace], object] = lambda _: None, **more: Any) -> Subject:
        """After that work in a workspace of the project."""
        with self.sandlot.create(self.project, toolchains=self.toolchains) as workspace:
            work(workspace)
            workspace.stop()
            found = workspace.diff(max_bytes=1 << 30)
        changes = Changes(os.fsencode(found.patch), found.files)

        @contextlib.contextmanager
        def grading(leave_out: Callable[[str], bool] | None = None) -> Iterator[Workspace]:
            with self.sandlot.create(self.project, toolchains=self.toolchains) as clean:
                patch = changes.patch if leave_out is None else without(changes.patch, leave_out)
                if patch:
                    clean.patch(patch)
                yield clean

        return Subject(**{"case": case(), "answer": answer("done"), "changes": changes, "grading": grading, **more})

    def grade(self, kind: str, subject: Subject, /, **config: Any) -> Verdict:
        return grade(grader(kind, self.suite, **config), subject)
