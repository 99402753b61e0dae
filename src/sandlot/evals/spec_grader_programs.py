"""Graders that run programs, and those that look at files."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from sandlot.evals.spec_grader import Filled, GraderModel, Texts
from sandlot.evals.spec_workspace import Argv

__all__ = ["CodeGraderModel", "CommandModel", "FileChangesModel", "FileExistsModel", "TestsModel"]


class Runs(GraderModel):
    """What graders that run a program take."""

    command: Argv
    cwd: Filled | None = Field(None, description="Where it runs.")
    files: dict[str, Filled] | Texts | None = Field(
        None, description="Hidden until it is graded: paths beside this file, or path: path inside."
    )
    protect: Texts | None = Field(None, description="Patterns; what the target did to such files is not brought along.")
    timeout_ms: Annotated[float, Field(gt=0)] | None = None
    timeout_seconds: Annotated[float, Field(gt=0)] | None = None
    ALIASES: ClassVar[Mapping[str, str]] = {"script": "command", "timeout_s": "timeout_seconds"}


class CodeGraderModel(Runs):
    """A program that reads JSON on stdin and prints a verdict as JSON. Unknown fields are passed on to it."""

    type: Literal["code-grader"]
    placement: Literal["workspace", "host"] | None = Field(None, description="host: not isolated, as the operator.")
    config: dict[str, Any] | None = None
    REMOVED: ClassVar[Mapping[str, str]] = {"target": "write an llm-grader: programs get no model"}

    @model_validator(mode="before")
    @classmethod
    def _passed_on(cls, data: Any) -> Any:
        # The field's own habit: what a code-grader does not know is its program's. A misspelt field is not passed on.
        if not isinstance(data, dict) or not isinstance(data.get("config", {}), dict):
            return data
        known = [*cls.names(), *cls.ALIASES, *cls.REMOVED]
        foreign = [key for key in data if key not in known and not get_close_matches(key, known, 1, 0.75)]
        kept = {key: value for key, value in data.items() if key not in foreign}
        return (
            {**kept, "config": {**data.get("config", {}), **{key: data[key] for key in foreign}}} if foreign else data
        )


class CommandModel(Runs):
    """A command ends with exit code 0, or another one."""

    type: Literal["command"]
    env: dict[str, str] | None = None
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None


class TestsModel(Runs):
    """A test command that the target never saw, and its JUnit report."""

    __test__ = False

    type: Literal["tests"]
    env: dict[str, str] | None = None
    junit: Filled | None = Field(None, description="The report inside; {REPORT} in the command is one of ours.")
    reward: Filled | None = Field(None, description="Instead of a report: a file inside with one number from 0 to 1.")
    fail_to_pass: Texts | None = Field(None, description="Tests by name; each must be reported, as passed.")
    pass_to_pass: Texts | None = None
    min_tests: Annotated[int, Field(ge=0)] | None = None
    partial: bool | None = Field(None, description="The share of tests that pass is the score.")


class FileExistsModel(GraderModel):
    """Files are there; ``negate``: they are not."""

    type: Literal["file-exists"]
    path: Texts
    contains: Texts | None = None
    ALIASES: ClassVar[Mapping[str, str]] = {"paths": "path", "value": "path", "files": "path"}


class FileChangesModel(GraderModel):
    """What the target changed."""

    type: Literal["file-changes"]
    includes: Texts | None = Field(None, description="Patterns; each must fit a changed file.")
    excludes: Texts | None = Field(None, description="Patterns; none may fit a changed file.")
    only: Texts | None = Field(None, description="Patterns; every changed file must fit one.")
    max_files: Annotated[int, Field(ge=0)] | None = None
    max_lines: Annotated[int, Field(ge=0)] | None = None
    patch_contains: Texts | None = Field(None, description="Texts among the added lines.")
