"""The base of all models of what people write: no field is unknown, and nothing is converted behind their back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

__all__ = ["LIST", "MAPPING", "NAMES", "TEXT", "Strict", "kind_of"]

NAMES = "names"
"""Type of our own validation error; its ``ctx`` lists (key, kind) with kind one of unknown, removed, twice."""
TEXT, LIST, MAPPING = "#text", "#list", "#mapping"
"""Tags of unions that are told apart by the kind of value; no field is named like that."""


def kind_of(value: Any) -> str | None:
    """Which member of such a union a value belongs to."""
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list):
        return LIST
    return MAPPING if isinstance(value, (dict, BaseModel)) else None


class Strict(BaseModel):
    """A mapping of YAML."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=False)

    ALIASES: ClassVar[Mapping[str, str]] = {}
    """Other names that existing suites use, to ours."""
    REMOVED: ClassVar[Mapping[str, str]] = {}
    """Names that are refused, to what to write instead."""

    @classmethod
    def names(cls) -> list[str]:
        """All fields as they are written."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def is_known(cls, key: str) -> bool:
        """Whether a key may be written here."""
        return key in cls.names()

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        wrong: list[tuple[str, str]] = []
        made: dict[str, Any] = {}
        for key, value in data.items():
            name = cls.ALIASES.get(key, key)
            if key in cls.REMOVED:
                wrong.append((key, "removed"))
            elif not cls.is_known(name):
                wrong.append((key, "unknown"))
            elif name in made:
                wrong.append((key, "twice"))
            made[name] = value
        if wrong:
            raise PydanticCustomError(NAMES, "wrong names", {"wrong": wrong, "model": cls})
        return made

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        target = handler.resolve_ref_schema(schema)
        properties = target.get("properties", {})
        for other, name in cls.ALIASES.items():
            if name in properties:
                properties[other] = {**properties[name], "deprecated": True, "description": f"Same as {name}."}
                if name in target.get("required", []):
                    target["required"].remove(name)
        return schema
