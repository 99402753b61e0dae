"""What may be written under ``assert:``: one model for each type of grader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from sandlot.evals.spec_workspace import Argv
from sandlot.evals.strict import MAPPING, TEXT, Strict, kind_of

__all__ = ["COMMON", "GRADERS", "REFUSED_TYPES", "AssertModel", "CompositeModel", "GraderModel", "grader_type"]

Filled = Annotated[str, StringConstraints(min_length=1)]
Number = int | float
Score = Annotated[float, Field(ge=0, le=1)]
Texts = Filled | list[Filled]

COMMON = frozenset({"type", "name", "weight", "required", "negate"})
_RENAMED = {"code-judge": "code-grader", "llm-judge": "llm-grader", "exec": "command"}
_VALUE = {"values": "value", "text": "value"}
_FLAGS = "gimsux"
REFUSED_TYPES = {
    "agent-judge": "an agent as a grader is not run; write a code-grader or an llm-grader",
    "agent-grader": "an agent as a grader is not run; write a code-grader or an llm-grader",
}


def grader_type(written: str) -> str:
    """Our name of a type: ``tool_trajectory`` and ``llm-judge`` are older spellings."""
    name = written.replace("_", "-")
    return _RENAMED.get(name, name)


class GraderModel(Strict):
    """What every grader takes."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        kind = handler.resolve_ref_schema(schema)["properties"].get("type")
        if kind is not None:
            ours = kind.pop("enum", None) or [kind.pop("const")]
            older = [old for old, name in _RENAMED.items() if name in ours]
            names = [*ours, *older]
            kind["enum"] = sorted({*names, *(each.replace("-", "_") for each in names)})
        return schema

    name: Filled | None = None
    weight: Annotated[float, Field(ge=0)] = 1.0
    required: bool | Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="The whole trial fails below this score; true: 0.8."
    )
    negate: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("type"), str):
            return {**data, "type": grader_type(data["type"])}
        return data


class ContainsModel(GraderModel):
    """The answer contains text; ``icontains``: whatever the case."""

    type: Literal["contains", "icontains"]
    value: Texts
    match: Literal["all", "any"] | None = Field(None, description="Of several values. [all]")
    ALIASES: ClassVar[Mapping[str, str]] = _VALUE


class ContainsSomeModel(GraderModel):
    """The answer contains any, or all, of some texts."""

    type: Literal["contains-any", "contains-all", "icontains-any", "icontains-all"]
    value: Texts
    ALIASES: ClassVar[Mapping[str, str]] = _VALUE


class TextModel(GraderModel):
    """The answer, without white space around it, is, starts with or ends with a text, or one of several."""

    type: Literal["equals", "starts-with", "ends-with"]
    value: str | list[str]
    ignore_case: bool = False
    ALIASES: ClassVar[Mapping[str, str]] = _VALUE


class RegexModel(GraderModel):
    """A regular expression finds something in the answer."""

    type: Literal["regex"]
    value: Filled
    flags: str = Field("", description="Of: i (any case), m (lines), s (dot takes line ends), x (verbose).")
    ALIASES: ClassVar[Mapping[str, str]] = {"pattern": "value"}

    @field_validator("flags")
    @classmethod
    def _known_flags(cls, flags: str) -> str:
        if unknown := sorted(set(flags) - set(_FLAGS)):
            raise PydanticCustomError("flags", "unknown flag {flag}", {"flag": unknown[0]})
        return flags

    @model_validator(mode="after")
    def _compiles(self) -> RegexModel:
        try:
            re.compile(self.value)
        except (re.error, RecursionError, OverflowError) as error:
            raise PydanticCustomError("regex", "no regular expression: {why}", {"why": str(error)}) from error
        return self


class IsJsonModel(GraderModel):
    """The answer is JSON."""

    type: Literal["is-json"]
    fenced: bool = Field(False, description="The one fenced block in the answer counts.")


class JsonSchemaModel(GraderModel):
    """The answer is JSON of a schema."""

    type: Literal["json-schema"]
    schema_: dict[str, Any] | Filled = Field(alias="schema", description="The schema, or the name of a file with it.")
    fenced: bool = Field(False, description="The one fenced block in the answer counts.")


class FieldModel(Strict):
    """One field of an answer."""

    path: Filled
    value: Any = Field(None, description="[that of expected_output]")
    match: Literal["exact", "numeric_tolerance", "date"] = "exact"
    required: bool | None = None
    weight: Annotated[float, Field(ge=0)] | None = None
    tolerance: Annotated[float, Field(ge=0)] | None = None
    relative: bool | None = None
    formats: list[Filled] | None = None


class FieldAccuracyModel(GraderModel):
    """Fields of an answer in JSON are those of the expected output."""

    type: Literal["field-accuracy"]
    fields: list[FieldModel] = Field(min_length=1)
    aggregation: Literal["weighted_average", "all_or_nothing"] = "weighted_average"
    fenced: bool = Field(False, description="The one fenced block in the answer counts.")


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
        from difflib import get_close_matches

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


class ScoreRangeModel(Strict):
    """What a range of scores means."""

    score_range: list[int] = Field(min_length=2, max_length=2)
    outcome: Filled


class RubricModel(Strict):
    """One thing a good answer does."""

    id: Filled | None = None
    outcome: Filled | None = None
    weight: Annotated[float, Field(ge=0)] | None = None
    required: bool | None = None
    required_min_score: int | None = None
    min_score: Score | None = None
    score_ranges: list[ScoreRangeModel] | None = None
    ALIASES: ClassVar[Mapping[str, str]] = {"criteria": "outcome", "description": "outcome"}


Rubrics = list[Filled | RubricModel]


class LlmGraderModel(GraderModel):
    """A model judges the answer."""

    type: Literal["llm-grader"]
    prompt: Filled | None = Field(None, description="Text, or the name of a file with it.")
    criteria: Filled | None = None
    rubrics: Rubrics | None = None
    target: Filled | None = Field(None, description="Name of an llm target.")
    model: Filled | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    REMOVED: ClassVar[Mapping[str, str]] = {"max_steps": "an agent as a grader is not run; leave it out"}


class RubricsModel(GraderModel):
    """A model judges the answer by rubrics."""

    type: Literal["rubrics"]
    criteria: Rubrics = Field(min_length=1)
    target: Filled | None = None
    ALIASES: ClassVar[Mapping[str, str]] = {"rubrics": "criteria"}


ArgsMatch = Literal["exact", "ignore", "subset", "superset"] | list[str]


class ExpectedToolModel(Strict):
    """A call of a tool."""

    tool: Filled
    args: Literal["any"] | dict[str, Any] | None = None
    args_match: ArgsMatch | None = None
    max_duration_ms: Annotated[float, Field(ge=0)] | None = None
    ALIASES: ClassVar[Mapping[str, str]] = {"maxDurationMs": "max_duration_ms", "argsMatch": "args_match"}


class ToolTrajectoryModel(GraderModel):
    """Which tools the target called."""

    type: Literal["tool-trajectory"]
    mode: Literal["any_order", "in_order", "exact", "subset", "superset"]
    minimums: dict[str, Annotated[int, Field(ge=0)]] | None = None
    expected: list[ExpectedToolModel] | None = None
    args_match: ArgsMatch | None = None
    ALIASES: ClassVar[Mapping[str, str]] = {"argsMatch": "args_match"}


class LatencyModel(GraderModel):
    """The target was fast enough."""

    type: Literal["latency"]
    threshold: Annotated[float, Field(ge=0)] = Field(description="Milliseconds.")


class CostModel(GraderModel):
    """The target was cheap enough."""

    type: Literal["cost"]
    budget: Annotated[float, Field(ge=0)] = Field(description="US dollars.")


class TokenUsageModel(GraderModel):
    """The target used few enough tokens."""

    type: Literal["token-usage"]
    max_total: Annotated[float, Field(ge=0)] | None = None
    max_input: Annotated[float, Field(ge=0)] | None = None
    max_output: Annotated[float, Field(ge=0)] | None = None


class ExecutionMetricsModel(GraderModel):
    """How much the target did."""

    type: Literal["execution-metrics"]
    max_tool_calls: Annotated[float, Field(ge=0)] | None = None
    max_llm_calls: Annotated[float, Field(ge=0)] | None = None
    max_tokens: Annotated[float, Field(ge=0)] | None = None
    max_cost_usd: Annotated[float, Field(ge=0)] | None = None
    max_duration_ms: Annotated[float, Field(ge=0)] | None = None
    target_exploration_ratio: Score | None = None
    exploration_tolerance: Annotated[float, Field(ge=0)] | None = None


AggregatorName = Literal["weighted_average", "threshold", "all", "any", "min"]


class AggregatorModel(Strict):
    """How a composite makes one score of its members'."""

    type: AggregatorName
    weights: dict[str, Annotated[float, Field(ge=0)]] | None = None
    threshold: Score | None = None
    REMOVED: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("path", "prompt", "model", "cwd", "command"),
        "members are put together by arithmetic; write weights or a threshold",
    )


class CompositeModel(GraderModel):
    """Graders that count as one."""

    type: Literal["composite"]
    assert_: AssertModel = Field(alias="assert", min_length=1)
    aggregator: Annotated[
        Annotated[AggregatorName, Tag(TEXT)] | Annotated[AggregatorModel, Tag(MAPPING)], Discriminator(kind_of)
    ] = "weighted_average"
    threshold: Score | None = None
    ALIASES: ClassVar[Mapping[str, str]] = dict.fromkeys(("assertions", "evaluators", "graders", "members"), "assert")


GRADERS: dict[str, type[GraderModel]] = {
    name: model
    for model in (
        ContainsModel, ContainsSomeModel, TextModel, RegexModel, IsJsonModel, JsonSchemaModel, FieldAccuracyModel,
        CodeGraderModel, CommandModel, TestsModel, FileExistsModel, FileChangesModel, LlmGraderModel, RubricsModel,
        ToolTrajectoryModel, LatencyModel, CostModel, TokenUsageModel, ExecutionMetricsModel, CompositeModel,
    )
    for name in model.model_fields["type"].annotation.__args__  # type: ignore[union-attr]  # they are all Literal
}  # fmt: skip


def _tag(value: Any) -> str | None:
    if isinstance(value, str):
        return TEXT
    written = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(written, str):
        return None
    model = GRADERS.get(grader_type(written))
    return f"#{model.__name__}" if model else written


AnyGrader = Annotated[
    Annotated[Filled, Tag(TEXT)]
    | Annotated[ContainsModel, Tag("#ContainsModel")]
    | Annotated[ContainsSomeModel, Tag("#ContainsSomeModel")]
    | Annotated[TextModel, Tag("#TextModel")]
    | Annotated[RegexModel, Tag("#RegexModel")]
    | Annotated[IsJsonModel, Tag("#IsJsonModel")]
    | Annotated[JsonSchemaModel, Tag("#JsonSchemaModel")]
    | Annotated[FieldAccuracyModel, Tag("#FieldAccuracyModel")]
    | Annotated[CodeGraderModel, Tag("#CodeGraderModel")]
    | Annotated[CommandModel, Tag("#CommandModel")]
    | Annotated[TestsModel, Tag("#TestsModel")]
    | Annotated[FileExistsModel, Tag("#FileExistsModel")]
    | Annotated[FileChangesModel, Tag("#FileChangesModel")]
    | Annotated[LlmGraderModel, Tag("#LlmGraderModel")]
    | Annotated[RubricsModel, Tag("#RubricsModel")]
    | Annotated[ToolTrajectoryModel, Tag("#ToolTrajectoryModel")]
    | Annotated[LatencyModel, Tag("#LatencyModel")]
    | Annotated[CostModel, Tag("#CostModel")]
    | Annotated[TokenUsageModel, Tag("#TokenUsageModel")]
    | Annotated[ExecutionMetricsModel, Tag("#ExecutionMetricsModel")]
    | Annotated[CompositeModel, Tag("#CompositeModel")],
    Discriminator(_tag),
]
AssertModel = list[AnyGrader]
"""Graders; a text alone is a rubric for an LLM."""
CompositeModel.model_rebuild()
