"""Graders of answers that are JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.schemas import SchemaFailed, misses_of
from sandlot.evals.graders.subject import Finding, Grader, GraderFailed, Subject
from sandlot.evals.graders.text import parsed_answer

__all__ = ["FieldAccuracy", "JsonSchema"]

_MISSING = object()


@dataclass(frozen=True, slots=True)
class JsonSchema(Grader):
    """``json-schema``: ``schema`` is a mapping, or a file. By the library ``jsonschema``, draft 2020-12 unless it says
    otherwise; references to anywhere else are refused."""

    schema: Any
    fenced: bool

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> JsonSchema:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for

        schema = fields.any("schema")
        if isinstance(schema, str):
            path = os.path.join(spec.folder, schema)
            try:
                with open(path, encoding="utf-8") as file:
                    schema = json.load(file)
            except (OSError, ValueError) as error:
                raise fields.wrong(f"the schema {path} cannot be read: {error}") from None
        if not isinstance(schema, Mapping | bool):
            raise fields.wrong("'schema' must be a mapping or a file's name")
        try:
            validator_for(schema).check_schema(schema)
        except SchemaError as error:
            raise fields.wrong(f"the schema is not valid: {error.message}") from None
        return cls(schema, fields.flag("fenced"))

    def find(self, subject: Subject) -> Finding:
        try:
            found = parsed_answer(subject.answer.text, self.fenced)
        except ValueError as error:
            return Finding(0.0, misses=("valid JSON",), reasoning=str(error))
        try:
            misses = misses_of(self.schema, json.dumps(found), found)
        except SchemaFailed as failure:
            raise GraderFailed(str(failure)) from None
        return Finding(float(not misses), () if misses else ("fits the schema",), tuple(misses))


@dataclass(frozen=True, slots=True)
class _Expected:
    path: str
    value: Any
    match: str
    tolerance: float
    relative: bool
    formats: tuple[str, ...]
    required: bool
    weight: float


@dataclass(frozen=True, slots=True)
class FieldAccuracy(Grader):
    """``field-accuracy``: fields of the answer against those of ``expected_output`` (or each one's own ``value``)."""

    fields: tuple[_Expected, ...]
    all_or_nothing: bool
    fenced: bool

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> FieldAccuracy:
        wanted = []
        for each in fields.items("fields"):
            wanted.append(
                _Expected(
                    each.text("path"),
                    each.any("value", _MISSING),
                    each.choice("match", ("exact", "numeric_tolerance", "date"), "exact"),
                    each.number("tolerance", least=0) or 0.0,
                    each.flag("relative"),
                    each.texts("formats"),
                    each.flag("required", True),
                    1.0 if (weight := each.number("weight", least=0)) is None else weight,
                )
            )
            each.done()
        if not wanted:
            raise fields.wrong("'fields' is missing")
        how = fields.choice("aggregation", ("weighted_average", "all_or_nothing"), "weighted_average")
        return cls(tuple(wanted), how == "all_or_nothing", fields.flag("fenced"))

    def find(self, subject: Subject) -> Finding:
        expected = _expected_of(subject.case.expected_output)
        try:
            found = parsed_answer(subject.answer.text, self.fenced)
        except ValueError as error:
            return Finding(0.0, misses=tuple(each.path for each in self.fields), reasoning=f"no JSON: {error}")
        hits, misses, total, got = [], [], 0.0, 0.0
        for each in self.fields:
            want = _at(expected, each.path) if each.value is _MISSING else each.value
            if want is _MISSING:
                raise GraderFailed(f"the test expects nothing at '{each.path}'")
            have = _at(found, each.path)
            if have is _MISSING and not each.required:
                continue
            total += each.weight
            if have is not _MISSING and _same(each, want, have):
                got += each.weight
                hits.append(each.path)
            else:
                shown = "nothing" if have is _MISSING else json.dumps(have, default=str)[:100]
                misses.append(f"{each.path}: {shown}, not {json.dumps(want, default=str)[:100]}")
        if not hits and not misses:  # or an answer of nothing at all would be a right one
            return Finding(
                0.0, misses=tuple(each.path for each in self.fields), reasoning="none of the fields is there"
            )
        score = got / total if total else 1.0
        return Finding(float(not misses) if self.all_or_nothing else score, tuple(hits), tuple(misses))


def _expected_of(expected: Any) -> Any:
    if isinstance(expected, str):
        try:
            return json.loads(expected)
        except ValueError:
            return expected
    if isinstance(expected, list) and expected and isinstance(expected[-1], Mapping) and "content" in expected[-1]:
        return _expected_of(expected[-1]["content"])
    return expected


def _at(value: Any, path: str) -> Any:
    """``a.b[0].c``, as in ``a.b.0.c``."""
    for word in path.replace("[", ".").replace("]", "").split("."):
        if isinstance(value, Mapping) and word in value:
            value = value[word]
        elif isinstance(value, list) and word.isdigit() and int(word) < len(value):
            value = value[int(word)]
        else:
            return _MISSING
    return value


def _same(each: _Expected, want: Any, have: Any) -> bool:
    if each.match == "numeric_tolerance":
        numbers = _number(want), _number(have)
        if numbers[0] is None or numbers[1] is None:
            return False
        room = each.tolerance * abs(numbers[0]) if each.relative else each.tolerance
        return abs(numbers[0] - numbers[1]) <= room
    if each.match == "date":
        dates = _date(want, each.formats), _date(have, each.formats)
        return dates[0] is not None and dates[0] == dates[1]
    # True == 1 in Python, and not in JSON.
    return bool(want == have) and isinstance(want, bool) == isinstance(have, bool)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


_DATES = ("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d")


def _date(value: Any, formats: tuple[str, ...]) -> date | None:
    if isinstance(value, datetime | date):
        return value.date() if isinstance(value, datetime) else value
    text = str(value).strip()
    if not formats:
        try:
            return datetime.fromisoformat(text).date()
        except ValueError:
            pass
    for each in formats or _DATES:
        try:
            return datetime.strptime(text, each).date()
        except ValueError:
            continue
    return None
