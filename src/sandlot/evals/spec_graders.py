"""What may be written under ``assert:``: one model for each type of grader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from sandlot.evals.spec_grader import Filled, GraderModel, Score, Texts, grader_type
from sandlot.evals.spec_grader_programs import (
    CodeGraderModel,
    CommandModel,
    FileChangesModel,
    FileExistsModel,
    TestsModel,
)
from sandlot.evals.strict import MAPPING, TEXT, Strict, kind_of

__all__ = ["GRADERS", "AssertModel", "CompositeModel", "RubricModel", "Rubrics"]

_VALUE = {"values": "value", "text": "value"}
_FLAGS = "gimsux"


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


_ARITHMETIC = (
    "no program and no model puts members together; write weighted_average, threshold, all, any or min, "
    "or one code-grader or llm-grader in place of the composite"
)
"""What such an aggregator of other tools is given to read is not written down plainly; guessed, its verdicts would be
ours."""


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

    @field_validator("aggregator", mode="before")
    @classmethod
    def _by_arithmetic(cls, written: Any) -> Any:
        name = written.get("type") if isinstance(written, dict) else written
        if isinstance(name, str) and grader_type(name) in ("code-grader", "llm-grader"):
            raise PydanticCustomError("aggregator", _ARITHMETIC)
        return written

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
