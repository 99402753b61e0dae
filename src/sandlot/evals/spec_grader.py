"""What every grader takes, and how its type may be spelt."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, StringConstraints, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sandlot.evals.strict import Strict

__all__ = ["COMMON", "REFUSED_TYPES", "Filled", "GraderModel", "Score", "Texts", "grader_type"]

Filled = Annotated[str, StringConstraints(min_length=1)]
Number = int | float
Score = Annotated[float, Field(ge=0, le=1)]
Texts = Filled | list[Filled]

COMMON = frozenset({"type", "name", "weight", "required", "negate"})
_RENAMED = {"code-judge": "code-grader", "llm-judge": "llm-grader", "exec": "command"}
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
