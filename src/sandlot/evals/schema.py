"""The JSON Schema of our YAML, for editors: made from the models that check it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["SHIPPED", "made", "shipped", "text"]

SHIPPED = "suite.schema.json"
"""Name of the schema that ships with the package; a test says that it is the one the models give."""


def made() -> dict[str, Any]:
    """The schema of a suite, with one test's in place of what ``tests`` holds."""
    from pydantic.json_schema import models_json_schema

    from sandlot.evals.spec import SuiteModel, TestModel

    _, whole = models_json_schema(
        [(SuiteModel, "validation"), (TestModel, "validation")], ref_template="#/$defs/{model}", by_alias=True
    )
    definitions: dict[str, Any] = whole["$defs"]
    suite = definitions.pop("SuiteModel")
    item = {"anyOf": [{"$ref": "#/$defs/TestModel"}, {"type": "string", "pattern": "^file://"}]}
    suite["properties"]["tests"] = {
        "description": suite["properties"]["tests"]["description"],
        "anyOf": [{"type": "array", "items": item}, {"type": "string"}],
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A suite of evals for sandlot"}
    found: dict[str, Any] = _without_titles({**suite, "$defs": definitions})
    return {**head, **found}


def _without_titles(schema: Any) -> Any:
    """pydantic titles every field with its own name, which is half of the file and says nothing."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_titles(each) for name, each in value.items()}
        if key in ("properties", "$defs")
        else _without_titles(value)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }


def shipped() -> str:
    """The text of the schema in the package."""
    return files("sandlot.evals").joinpath(SHIPPED).read_text(encoding="utf-8")


def text() -> str:
    """The schema as it is written to the package, by ``python -m sandlot.evals.schema``."""
    return json.dumps(made(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    with open(str(files("sandlot.evals").joinpath(SHIPPED)), "w", encoding="utf-8") as target:
        target.write(text())
