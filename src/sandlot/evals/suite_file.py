"""One suite of our own YAML (or JSON, or JSON lines) to a ``Suite``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Execution, GraderSpec, Message, Place, Suite, TestCase, WorkspacePlan
from sandlot.evals.checking import check
from sandlot.evals.grader_checks import check_graders
from sandlot.evals.grader_specs import graders_of, implicit_grader, named, rubric_grader
from sandlot.evals.messages import input_of, joined
from sandlot.evals.problems import Problems
from sandlot.evals.resolve import Layer, WorkspaceOptions, resolve
from sandlot.evals.spec import ExecutionModel, SuiteModel, TestExecutionModel, TestModel
from sandlot.evals.spec_workspace import WorkspaceModel
from sandlot.evals.test_entries import Entry, entries_of
from sandlot.evals.yaml_source import Document, Keys, read_json, read_yaml, shown_path

__all__ = ["Build", "load_suite"]

_ASSERT = ("assert", "assertions", "evaluators")
NO_GRADER = "nothing says what a good answer is"


def load_suite(path: Path, options: WorkspaceOptions, environ: Mapping[str, str], problems: Problems) -> Suite | None:
    """The suite of a file. Mistakes go to ``problems``; raises SuiteInvalid when the file cannot be parsed."""
    document = _read(path, environ)
    if not isinstance(document.value, dict):
        problems.add(
            document.place(), "a suite is a mapping with tests", "a file of tests alone is named by tests: FILE"
        )
        return None
    before = len(problems.found)
    model = check(SuiteModel, document, (), problems)
    entries = entries_of(document, path, environ, problems)
    tests = [(entry, check(TestModel, entry.document, entry.keys, problems)) for entry in entries]
    if model is None or len(problems.found) > before:
        return None
    build = Build(document, model, options, environ, problems)
    cases = [build.case(entry, test) for entry, test in tests if test is not None]
    _check_ids(cases, problems)
    if not cases:
        problems.add(document.place("tests"), "the suite has no tests", "write tests:")
    return Suite(
        model.name or model.dataset or _stem(path),
        str(path),
        tuple(cases),
        model.description,
        _tags(model.tags),
        build.execution(),
        tuple(sorted({*document.unset, *(name for entry in entries for name in entry.document.unset)})),
    )


def _read(path: Path, environ: Mapping[str, str]) -> Document:
    if path.suffix == ".jsonl":  # tests alone: the smallest suite around them
        absolute = path.absolute()
        return Document(shown_path(path), str(absolute.parent), {"tests": path.name})
    return read_json(path, environ) if path.suffix == ".json" else read_yaml(path, environ)


@dataclass(slots=True)
class Build:
    """What all tests of a suite share while they are made."""

    document: Document
    model: SuiteModel
    options: WorkspaceOptions
    environ: Mapping[str, str]
    problems: Problems
    _shared: WorkspacePlan | None = None
    _layer: Layer | None = None
    _files: dict[str, Layer | None] = field(default_factory=dict)

    def case(self, entry: Entry, model: TestModel) -> TestCase:
        """One test."""
        execution = model.execution or TestExecutionModel.model_validate({})
        place = entry.document.place(*entry.keys, "id") if entry.keys else entry.document.place()
        metadata = dict(model.metadata)
        if model.conversation_id is not None:
            metadata.setdefault("conversation_id", model.conversation_id)
        return TestCase(
            model.id,
            place,
            self._input(entry, model, execution),
            model.criteria or None,
            self._expected(entry, model),
            self._graders(entry, model, execution, place),
            metadata,
            tuple(dict.fromkeys((*_tags(self.model.tags), *_tags(model.tags)))),
            self._targets(execution, entry.document, (*entry.keys, "execution")),
            execution.timeout_seconds,
            self._workspace(entry, model, place),
        )

    def execution(self) -> Execution:
        """How the suite wants to be run."""
        said = self.model.execution or ExecutionModel.model_validate({})
        targets = self._targets(said, self.document, ("execution",))
        if self.model.target is not None:
            if targets:
                self.problems.add(
                    self.document.place("target"), "the target is written twice", "write execution.target alone"
                )
            targets = (self.model.target,)
        trials = 1 if said.trials is None else said.trials if isinstance(said.trials, int) else said.trials.count
        if trials < 1:
            self.problems.add(
                self.document.place("execution", "trials"), f"execution.trials: {trials} is not 1 or more"
            )
        return Execution(
            targets,
            said.workers,
            trials,
            said.budget_usd,
            said.budget_tokens,
            said.budget_minutes,
            said.timeout_seconds,
            said.fail_fast,
            said.threshold,
        )

    def _targets(self, said: ExecutionModel | TestExecutionModel, document: Document, keys: Keys) -> tuple[str, ...]:
        if said.target is not None and said.targets is not None:
            self.problems.add(
                document.place(*keys, "target"), "target and targets are both written", "write one of them"
            )
        return tuple(dict.fromkeys(said.targets or ([said.target] if said.target else [])))

    def _input(self, entry: Entry, model: TestModel, execution: TestExecutionModel) -> tuple[Message, ...]:
        before = len(self.problems.found)
        own = input_of(entry.document, (*entry.keys, "input"), model.input_files, model.input, self.problems)
        shared: tuple[Message, ...] = ()
        if not execution.skip_defaults:
            shared = input_of(self.document, ("input",), [], self.model.input, self.problems)
        unread = len(self.problems.found) > before
        if not unread and not any(message.text.strip() for message in (*shared, *own)):
            self.problems.add(entry.document.place(*entry.keys), f"the test {model.id!r} has no input", "write input")
        if (*shared, *own) and (*shared, *own)[-1].role == "assistant":
            place = entry.document.place(*entry.keys, "input")
            what = f"the input of the test {model.id!r} ends with an answer"
            self.problems.add(place, what, "end it with a message of the user; an answer to expect is expected_output")
        return (*shared, *own)

    def _expected(self, entry: Entry, model: TestModel) -> Any:
        """As it is written; where it is messages, pieces of content are one text, with files read."""
        written = model.expected_output
        if not isinstance(written, list):
            return written
        keys = (*entry.keys, "expected_output")
        return [
            joined(entry.document, (*keys, at), each, self.problems) if isinstance(each, dict) else each
            for at, each in enumerate(written)
        ]

    def _graders(
        self, entry: Entry, model: TestModel, execution: TestExecutionModel, place: Place
    ) -> tuple[GraderSpec, ...]:
        document, keys = entry.document, entry.keys
        graders = [*graders_of(document, document.spelled(keys, *_ASSERT), model.assert_)]
        if execution.assert_:
            graders += graders_of(document, document.spelled((*keys, "execution"), *_ASSERT), execution.assert_)
        if model.rubrics:
            graders.append(rubric_grader(document, (*keys, "rubrics"), model.rubrics))
        if not execution.skip_defaults:
            graders += graders_of(self.document, self.document.spelled((), *_ASSERT), self.model.assert_)
            if self.model.execution is not None and self.model.execution.assert_:
                where = self.document.spelled(("execution",), *_ASSERT)
                graders += graders_of(self.document, where, self.model.execution.assert_)
        if not graders:
            if not model.criteria and model.expected_output is None:
                hint = "write criteria, expected_output or assert; a test is never left out"
                self.problems.add(place, f"the test {model.id!r}: {NO_GRADER}", hint)
                return ()
            graders = [implicit_grader(document, (*keys, "criteria"), model.criteria)]
        made = named(graders)
        check_graders(made, self.problems)
        return made

    def _workspace(self, entry: Entry, model: TestModel, place: Place) -> WorkspacePlan:
        if self._shared is None:
            self._layer = self._layer_of(self.model.workspace, self.document, ("workspace",))
            layers = [self._layer] if self._layer else []
            where = self.document.place("workspace") if self._layer else Place(self.document.file)
            self._shared = resolve(layers, self.options, where, self.problems)
        own = self._layer_of(model.workspace, entry.document, (*entry.keys, "workspace"))
        if own is None:
            return self._shared
        layers = [each for each in (self._layer, own) if each is not None]
        return resolve(layers, self.options, place, self.problems)

    def _layer_of(self, written: str | WorkspaceModel | None, document: Document, keys: Keys) -> Layer | None:
        if written is None:
            return None
        if isinstance(written, WorkspaceModel):
            return Layer(written, document, keys)
        path = os.path.normpath(os.path.join(document.folder, written))
        if path not in self._files:
            self._files[path] = self._workspace_file(written, path, document.place(*keys))
        return self._files[path]

    def _workspace_file(self, written: str, path: str, place: Place) -> Layer | None:
        if not os.path.isfile(path):
            self.problems.add(place, f"the workspace file {written!r} does not exist", f"looked at {path}")
            return None
        try:
            document = read_yaml(Path(path), self.environ)
        except SuiteInvalid as error:
            self.problems.add_error(error)
            return None
        if isinstance(document.value, dict) and set(document.value) == {"workspace"}:
            hint = "write mode, path, template, repos and hooks at its top"
            self.problems.add(document.place("workspace"), "a workspace file holds the workspace itself", hint)
            return None
        model = check(WorkspaceModel, document, (), self.problems)
        return Layer(model, document) if model is not None else None


def _check_ids(cases: list[TestCase], problems: Problems) -> None:
    seen: dict[str, Place] = {}
    for case in cases:
        if case.id in seen:
            problems.add(case.place, f"the id {case.id!r} is used twice", f"first in {seen[case.id]}")
        seen.setdefault(case.id, case.place)


def _tags(written: str | list[Any]) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else tuple(written)


def _stem(path: Path) -> str:
    return re.sub(r"(?i)\.eval$", "", path.stem) or path.name
