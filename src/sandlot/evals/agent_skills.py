"""Agent Skills' ``evals/evals.json``: each eval is a test, each expectation a rubric.

The files of an eval are given as parts of the input, by content. The skill's folder is not the workspace's template:
``evals.json`` lies in it, with the expectations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from sandlot.evals.cases import GraderSpec, Message, Part, Suite, TestCase
from sandlot.evals.checking import check
from sandlot.evals.grader_specs import implicit_grader, named, rubric_grader
from sandlot.evals.messages import input_of
from sandlot.evals.problems import Problems
from sandlot.evals.resolve import WorkspaceOptions, resolve
from sandlot.evals.strict import Strict
from sandlot.evals.yaml_source import Document, Keys, read_json

__all__ = ["load_skill"]

Filled = Annotated[str, StringConstraints(min_length=1)]


class SkillEvalModel(Strict):
    """One eval."""

    id: int | Filled
    prompt: Filled
    name: Filled | None = None
    expected_output: str | None = None
    files: list[Filled] = []
    expectations: list[Filled] = []
    ALIASES: ClassVar[Mapping[str, str]] = {"assertions": "expectations", "eval_name": "name"}


class SkillModel(Strict):
    """The file."""

    skill_name: Filled
    evals: list[SkillEvalModel] = Field(min_length=1)


def load_skill(path: Path, options: WorkspaceOptions, environ: Mapping[str, str], problems: Problems) -> Suite | None:
    """The suite of an evals.json. Mistakes go to ``problems``; raises SuiteInvalid when it is no JSON."""
    document = read_json(path, environ)
    model = check(SkillModel, document, (), problems)
    if model is None:
        return None
    # Names of files are relative to the skill, which is the folder around evals/.
    root = path.parent.parent if path.parent.name == "evals" else path.parent
    rooted = Document(document.file, str(root), document.value)
    plan = resolve([], options, document.place(), problems)
    cases: list[TestCase] = []
    for at, each in enumerate(model.evals):
        identity = str(each.id)
        if any(case.id == identity for case in cases):
            problems.add(document.place(), f"evals[{at}]: the id {identity!r} is used twice")
        graders = named([_grader(document, ("evals", at), each, problems)])
        parts = _files(rooted, ("evals", at), each.files, problems)
        message = Message("user", (*parts, Part(each.prompt)))
        metadata: dict[str, Any] = {"skill": model.skill_name} | ({"name": each.name} if each.name else {})
        cases.append(
            TestCase(
                identity, document.place(), (message,), None, each.expected_output, graders, metadata, workspace=plan
            )
        )
    return Suite(model.skill_name, str(path), tuple(cases), unset=document.unset)


def _files(document: Document, keys: Keys, names: list[str], problems: Problems) -> tuple[Part, ...]:
    messages = input_of(document, (*keys, "input"), names, None, problems)
    return messages[0].parts if messages else ()


def _grader(document: Document, keys: Keys, model: SkillEvalModel, problems: Problems) -> GraderSpec:
    if model.expectations:
        return rubric_grader(document, keys, list(model.expectations))
    if model.expected_output is None:
        hint = "write expectations or expected_output; an eval is never left out"
        problems.add(document.place(), f"evals[{keys[-1]}]: nothing says what a good answer is", hint)
    return implicit_grader(document, keys, None)
