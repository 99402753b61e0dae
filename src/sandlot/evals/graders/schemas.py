"""Holding an answer against a JSON Schema, by the library ``jsonschema``, within bounds of time.

Some keywords let an answer make the work as long as it likes: patterns backtrack, unique items are compared each with
each, references recurse. Schemas with one of those are held against it in a process of their own, which can be ended.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["SchemaFailed", "misses_of"]

SHOWN = 10
"""Most violations that are listed."""
SCHEMA_S = 10.0
_LONG = frozenset({"$dynamicRef", "$recursiveRef", "$ref", "pattern", "patternProperties", "uniqueItems"})
_CHILD = """
import json, sys
path, schema, text = json.load(sys.stdin)
sys.path[:] = path
from sandlot.evals.graders.schemas import SchemaFailed, misses_here
try:
    print(json.dumps({"misses": misses_here(schema, json.loads(text))}))
except SchemaFailed as failure:
    print(json.dumps({"failed": str(failure)}))
"""


class SchemaFailed(Exception):
    """Whether the answer fits cannot be said."""


def misses_of(schema: Any, text: str, found: Any) -> list[str]:
    """The first violations, with where they are; ``text`` is ``found`` as JSON. Raises SchemaFailed."""
    if not _LONG.intersection(_keys(schema)):
        return misses_here(schema, found)
    import subprocess

    from sandlot import process

    given = json.dumps([sys.path, schema, text]).encode()
    try:
        done = process.run([sys.executable, "-I", "-S", "-c", _CHILD], stdin=given, env={}, timeout=SCHEMA_S)
    except subprocess.TimeoutExpired:
        raise SchemaFailed(f"the schema took longer than {SCHEMA_S:g} s on this answer") from None
    if done.returncode:
        raise SchemaFailed(f"the schema could not be used: {done.message}")
    said = json.loads(done.stdout)
    if "failed" in said:
        raise SchemaFailed(said["failed"])
    return [str(each) for each in said["misses"]]


def misses_here(schema: Any, found: Any) -> list[str]:
    """The same, in this process."""
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = validator_for(schema)(schema, registry=Registry())  # an empty one fetches nothing
    misses: list[str] = []
    try:
        for each in validator.iter_errors(found):
            misses.append(f"{each.json_path}: {each.message[:200]}")
            if len(misses) == SHOWN:
                break
    except Unresolvable as error:
        raise SchemaFailed(f"the schema refers to something that is not in it: {error}") from None
    except RecursionError:
        misses.append("nested too deeply")
    except (OverflowError, ValueError) as error:  # a number beyond what can be divided, say
        misses.append(f"it cannot be held against the schema: {error}")
    return misses


def _keys(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            yield str(key)
            yield from _keys(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _keys(each)
