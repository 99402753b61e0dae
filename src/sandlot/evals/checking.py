"""Checking a document against a model: pydantic's findings become sentences with file, line and what to write."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sandlot.evals.cases import Place
from sandlot.evals.problems import Problems, nearest
from sandlot.evals.spec_grader import REFUSED_TYPES
from sandlot.evals.spec_graders import GRADERS
from sandlot.evals.strict import LIST, MAPPING, NAMES, TEXT, Strict
from sandlot.evals.yaml_source import Document, Keys

__all__ = ["check", "words"]

Model = TypeVar("Model", bound=Strict)
ROUNDS = 25
_KINDS = {TEXT: "text", LIST: "a list", MAPPING: "a mapping"}
_OTHER_NAMES = {
    "assert": ("assertions", "evaluators", "graders", "members"),
    "command": ("script",),
    "value": ("values", "text", "pattern"),
    "path": ("paths", "value", "files"),
    "criteria": ("rubrics",),
    "outcome": ("criteria", "description"),
    "budget_usd": ("total_budget_usd",),
    "timeout_seconds": ("timeout_s",),
    "args_match": ("argsMatch",),
    "max_duration_ms": ("maxDurationMs",),
    "dataset": ("suite",),
}
"""Where a field that a model knows by our name may stand under another."""
_INSTEAD = {
    "isolation": "every test has a workspace of its own; a folder with mode: static is what tests can share",
    "cache": "leave it out: an answer of another run is no trial",
    "fail_on_error": "write fail_fast: true",
}
"""What to write in place of a value that other tools take in these fields."""
_EXPECTED = {
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "int_from_float": "a whole number",
    "finite_number": "a finite number",
}


def check(model: type[Model], document: Document, keys: Keys, problems: Problems) -> Model | None:
    """The part of a document at ``keys`` as the model; None, and an entry in ``problems`` for each mistake, if wrong.

    A wrong name hides what else is wrong beside it from pydantic, so names are taken out and the rest is checked again.
    """
    value = copy.deepcopy(_at(document.value, keys))
    adapter = TypeAdapter(model)
    found: Model | None = None
    wrong_names = False
    for _ in range(ROUNDS):
        try:
            found = adapter.validate_python(value)
            break
        except ValidationError as error:
            errors = error.errors(include_url=False)
        named = [each for each in errors if each["type"] == NAMES]
        for each in named:
            _report_names(document, keys, value, each, problems)
        if not named:
            _report(document, keys, value, errors, problems)
            break
        wrong_names = True
    return None if wrong_names else found


def words(names: Iterable[str]) -> str:
    """a, b or c."""
    listed = list(names)
    return " or ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def _at(value: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        value = value[key]
    return value


def _walk(value: Any, location: Sequence[str | int]) -> tuple[Keys, Any]:
    """(the keys of the document that a location of pydantic's stands for, what is there).

    Its locations also name members of unions, and fields that are missing; the document has neither.
    """
    keys: Keys = ()
    for step in location:
        if isinstance(value, dict):
            names = (step, *_OTHER_NAMES.get(str(step), ()))
            name = next((each for each in names if each in value), None)
            if name is None:
                continue
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            name = step
        else:
            continue
        value, keys = value[name], (*keys, name)
    return keys, value


def _path(keys: Sequence[str | int]) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _report_names(document: Document, base: Keys, value: Any, error: ErrorDetails, problems: Problems) -> None:
    keys, mapping = _walk(value, error["loc"])
    context = error["ctx"]
    model: type[Strict] = context["model"]
    for name, kind in context["wrong"]:
        place = document.place(*base, *keys, name)
        shown = _path([*base, *keys, name])
        if kind == "removed":
            problems.add(place, f"{shown} is not a field", model.REMOVED[name])
        elif kind == "twice":
            problems.add(place, f"{shown} is written under two names", f"write {model.ALIASES.get(name, name)} alone")
        else:
            problems.add(place, f"unknown field {shown}", nearest(name, [*model.names(), *model.ALIASES]))
        mapping.pop(name, None)


def _report(document: Document, base: Keys, value: Any, errors: list[ErrorDetails], problems: Problems) -> None:
    expected: dict[Keys, list[str]] = {}
    for error in errors:
        keys, found = _walk(value, error["loc"])
        place, shown = document.place(*base, *keys), _path([*base, *keys])
        kind, context = error["type"], error.get("ctx", {})
        if kind == "missing":
            name = _path([*base, *keys, str(error["loc"][-1])])
            problems.add(place, f"{name} is missing")
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            _report_kind(place, shown, found, context, problems)
        elif kind == "literal_error":
            choices = context["expected"].replace("'", "").replace(" or ", ", ").replace("False", "false").split(", ")
            hint = _INSTEAD.get(str(keys[-1]) if keys else "") or _near(found, choices)
            among = "" if len(choices) == 1 else "one of "
            problems.add(place, f"{shown}: {_shown(found)} is not {among}{words(choices)}", hint)
        elif kind in _EXPECTED:
            expected.setdefault(keys, []).append(_EXPECTED[kind])
        else:
            problems.add(place, f"{shown or 'this'}: {_sentence(error)}" + _not(found))
    for keys, kinds in expected.items():
        found = _at(value, keys)
        place, shown = document.place(*base, *keys), _path([*base, *keys]) or "the file"
        quoted = "text" in kinds and isinstance(found, (bool, int, float))
        hint = _quoted(found) if quoted else ""
        problems.add(place, f"{shown}: {_shown(found)} is not {words(dict.fromkeys(kinds))}", hint)


def _report_kind(place: Place, shown: str, found: Any, context: dict[str, Any], problems: Problems) -> None:
    """A union did not know which of its members was meant."""
    tags = context.get("expected_tags", "")
    kinds = [kind for tag, kind in _KINDS.items() if tag in tags]
    if "GraderModel" in tags and isinstance(context["tag"], str) and not isinstance(found, (str, list)):
        name = context["tag"]
        if name in REFUSED_TYPES:
            problems.add(place, f"{shown}: {name!r} is not run", REFUSED_TYPES[name])
        else:
            problems.add(place, f"{shown}: there is no grader of type {name!r}", nearest(name, GRADERS))
    elif kinds:
        problems.add(place, f"{shown}: {_shown(found)} is not {words(kinds)}")
    elif tags:
        problems.add(
            place, f"{shown}.type: {context['tag']!r} is not one of {words(tags.replace(chr(39), '').split(', '))}"
        )
    elif isinstance(found, dict):
        problems.add(place, f"{shown}.type is missing")
    elif isinstance(found, (bool, int, float)):
        problems.add(place, f"{shown}: {_shown(found)} is not text", _quoted(found))
    else:
        problems.add(place, f"{shown}: {_shown(found)} does not fit here")


def _near(found: Any, choices: list[str]) -> str:
    hint = nearest(found, choices) if isinstance(found, str) else ""
    return hint if hint.startswith("did") else ""


def _sentence(error: ErrorDetails) -> str:
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]


def _quoted(found: Any) -> str:
    """A float is shown otherwise than it is written: ``12e4567``, a commit, is infinite."""
    same = not isinstance(found, float) or (math.isfinite(found) and not found.is_integer())
    return f'write it in quotes: "{_shown(found)}"' if same else "write it in quotes"


def _not(found: Any) -> str:
    return f", not {_shown(found)}" if isinstance(found, (int, float)) and not isinstance(found, bool) else ""


def _shown(found: Any) -> str:
    if isinstance(found, dict):
        return "a mapping"
    if isinstance(found, list):
        return "a list"
    if found is None:
        return "nothing"
    text = json.dumps(found, ensure_ascii=False) if not isinstance(found, str) else repr(found)
    return text if len(text) <= 80 else text[:77] + "..."
