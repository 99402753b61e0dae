"""What is written under ``assert`` to grader specs: names given, older shapes brought to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sandlot.evals.cases import GraderSpec
from sandlot.evals.spec_grader import COMMON, GraderModel
from sandlot.evals.spec_graders import CompositeModel, RubricModel
from sandlot.evals.yaml_source import Document, Keys

__all__ = ["DEFAULT_REQUIRED", "graders_of", "implicit_grader", "named", "rubric_grader"]

DEFAULT_REQUIRED = 0.8
"""What ``required: true`` stands for."""
_MEMBERS = ("assert", *CompositeModel.ALIASES)
Written = list[Any]


def graders_of(document: Document, keys: Keys, written: Written | None) -> tuple[GraderSpec, ...]:
    """The graders written at ``keys``; texts among them are one grader with rubrics, in the place of the first."""
    made: list[GraderSpec] = []
    texts = [each for each in written or () if isinstance(each, str)]
    for at, each in enumerate(written or ()):
        if isinstance(each, str):
            if each is texts[0]:
                made.append(rubric_grader(document, (*keys, at), list(texts)))
            continue
        made.append(_one(document, (*keys, at), each))
    return tuple(made)


def rubric_grader(document: Document, keys: Keys, rubrics: Written) -> GraderSpec:
    """A model judges by these rubrics."""
    config = {"rubrics": [_rubric(each) for each in rubrics]}
    return GraderSpec("llm-grader", "", document.place(*keys), config, folder=document.folder)


def implicit_grader(document: Document, keys: Keys, criteria: str | None) -> GraderSpec:
    """Of a test without graders: a model judges by the criteria, or against the expected output."""
    text = criteria or "The answer says the same as the expected output."
    return GraderSpec("llm-grader", "", document.place(*keys), {"criteria": text}, folder=document.folder)


def _one(document: Document, keys: Keys, model: GraderModel) -> GraderSpec:
    kind: str = model.type  # type: ignore[attr-defined]  # every member of the union has it
    config = model.model_dump(by_alias=True, exclude=set(COMMON), exclude_none=True, exclude_unset=True)
    if isinstance(model, CompositeModel):
        del config["assert"]
        config["graders"] = named(graders_of(document, document.spelled(keys, *_MEMBERS), model.assert_))
    elif kind == "rubrics":
        kind, config["rubrics"] = "llm-grader", [_rubric(each) for each in config.pop("criteria")]
    elif config.get("rubrics"):
        config["rubrics"] = [_rubric(each) for each in config["rubrics"]]
    required = DEFAULT_REQUIRED if model.required is True else None if model.required is False else model.required
    return GraderSpec(
        kind, model.name or "", document.place(*keys), config, model.weight, required, model.negate, document.folder
    )


def _rubric(written: Any) -> dict[str, Any]:
    if isinstance(written, str):
        return {"outcome": written}
    if isinstance(written, RubricModel):
        return written.model_dump(exclude_none=True)
    return {key: value for key, value in written.items() if value is not None}


def named(graders: Sequence[GraderSpec]) -> tuple[GraderSpec, ...]:
    """The same graders, each with a name; a second one of the same type gets a number."""
    taken = {each.name for each in graders if each.name}
    made = []
    for each in graders:
        if not each.name:
            names = (each.type, *(f"{each.type}-{number}" for number in range(2, len(graders) + 2)))
            each = replace(each, name=next(name for name in names if name not in taken))
            taken.add(each.name)
        made.append(each)
    return tuple(made)
