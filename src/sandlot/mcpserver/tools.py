"""Tools: operations as a surface shows them. Name, schema and annotations are derived; nothing is said twice."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sandlot.errors import UsageError
from sandlot.evals.requests import EVALS, EvalOperation, load
from sandlot.modes import FULL, NEVER, UNSEEN, Shown, Surface
from sandlot.operations import catalog
from sandlot.operations.operation import Argument, Operation

__all__ = ["Tool", "exists", "find_tool", "tools_of", "visible_bytes"]

_FIELDS = {
    ("workspace_exec", "command"): "shell",
    ("workspace_run", "command"): "shell",
    ("service_start", "command"): "shell",
    ("workspace_delete", "workspace"): "workspaces",
}
"""Arguments called otherwise than the request's field: a model writes one shell line, and names one workspace."""
_REQUIRED = {("file_write", "content"), ("patch_apply", "patch"), *(key for key in _FIELDS)}
_RUNS = frozenset({"workspace_exec", "workspace_run", "service_start", "shell_open", "shell_write"})
_REACHES_OUT = frozenset({"eval_run"})
"""Whatever the surface lets workspaces have: the suites' targets, models among them, have networks of their own."""
_TEXT = 8 << 20
"""Most characters of one text argument; a larger one is a mistake, and would be copied several times."""
_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Input:
    """One argument of a tool."""

    name: str
    field: str
    """The request's field."""
    kind: Any
    """Its type, without None."""
    about: Argument
    required: bool
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """What a client is told of one operation."""

    name: str
    description: str
    inputs: tuple[Input, ...]
    annotations: dict[str, bool]
    operation: str
    surface: str
    pinned: Mapping[str, Any]

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON Schema 2020-12 of the arguments."""
        schema: dict[str, Any] = {"type": "object", "properties": {each.name: each.schema for each in self.inputs}}
        required = [each.name for each in self.inputs if each.required]
        if required:
            schema["required"] = required
        return {**schema, "additionalProperties": False}

    def fields(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The request's fields that these arguments, and what the surface has pinned, amount to. Raises UsageError."""
        known = {each.name: each for each in self.inputs}
        for name in arguments:
            if name not in known:
                hint = "arguments: " + (", ".join(known) or "none")
                raise UsageError(f"{self.name} of {self.surface} has no argument {name[:80]!r}", hint=hint)
        found: dict[str, Any] = {}
        for each in self.inputs:
            value = arguments.get(each.name)
            if value is not None:  # null is what some clients send for "not given"
                found[each.field] = _value(self, each, value)
            elif each.required:
                raise UsageError(f"{self.name} needs the argument {each.name!r}", hint=_expected(each))
        return {**found, **self.pinned}

    def request(self, arguments: Mapping[str, Any]) -> Any:
        """The request itself. Raises UsageError."""
        return load(self.operation).request(**self.fields(arguments))


def tools_of(surface: Surface) -> tuple[Tool, ...]:
    """The tools of a surface, in its order."""
    shown = surface.tools or tuple(_everything(name) for name, _, _ in catalog.LINES if name not in UNSEEN)
    found = []
    for each in shown:
        operation = load(each.operation)
        if not surface.read_only or operation.effect.read_only:
            found.append(_tool(surface, each, operation))
    return tuple(found)


def find_tool(tools: tuple[Tool, ...], surface: Surface, name: str) -> Tool:
    """The tool of that name. Raises UsageError, which says why an operation that exists is not shown."""
    for each in tools:
        if each.name == name:
            return each
    why = "read-only server" if surface.read_only else "startup mode" if surface.name != FULL else "profile"
    about = f"the {why} {surface.name} does not show {name}" if exists(name) else f"there is no tool {name[:80]!r}"
    raise UsageError(about, hint="tools: " + ", ".join(each.name for each in tools))


def exists(name: str) -> bool:
    """Whether any surface could show a tool of that name."""
    return name in EVALS or any(name == known for known, _, _ in catalog.LINES)


def visible_bytes(tools: tuple[Tool, ...]) -> int:
    """Bytes of what a host shows its model of them: names, descriptions, schemas, as compact JSON."""
    import json

    listed = [{"name": each.name, "description": each.description, "inputSchema": each.input_schema} for each in tools]
    return len(json.dumps(listed, separators=(",", ":"), ensure_ascii=False).encode())


def _everything(name: str) -> Shown:
    operation = catalog.load(name)
    arguments = {
        field.name: about.help
        for field, about in operation.arguments()
        if field.name not in NEVER and about.kind not in ("command", "secret")
    }
    if (name, "command") in _FIELDS:
        arguments["command"] = arguments.pop("shell")
    return Shown(name, operation.summary, arguments)


def _tool(surface: Surface, shown: Shown, operation: Operation[Any, Any] | EvalOperation) -> Tool:
    abouts = {field.name: (field, about) for field, about in operation.arguments()}
    hints = typing.get_type_hints(operation.request)
    inputs = []
    for name, words in shown.arguments.items():
        field_name = _FIELDS.get((shown.operation, name), name) if name not in abouts or name == "command" else name
        field, about = abouts[field_name]
        kind = _plain(hints[field_name])
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        required = needed or (shown.operation, name) in _REQUIRED
        schema = _schema(kind, about, one=field_name != name and typing.get_origin(kind) is tuple)
        if words:
            schema["description"] = words
        inputs.append(Input(name, field_name, kind, about, required, schema))
    return Tool(
        name=shown.operation,
        description=shown.description,
        inputs=tuple(inputs),
        annotations=_annotations(surface, shown, operation),
        operation=shown.operation,
        surface=surface.name,
        pinned={name: _pinned(hints[name], value) for name, value in shown.pinned.items()},
    )


def _annotations(surface: Surface, shown: Shown, operation: Operation[Any, Any] | EvalOperation) -> dict[str, bool]:
    """All four; a command reaches the world only where the surface lets a workspace have a network."""
    open_world = shown.operation in _REACHES_OUT or (
        _has_network(surface) and (shown.operation in _RUNS or "allow_preset" in shown.arguments)
    )
    return {
        "readOnlyHint": operation.effect.read_only,
        "destructiveHint": operation.effect.destructive,
        "idempotentHint": operation.effect.idempotent,
        "openWorldHint": open_world,
    }


def _has_network(surface: Surface) -> bool:
    return not surface.tools or any("allow_preset" in each.arguments for each in surface.tools)


def _pinned(hint: Any, value: Any) -> Any:
    kind = _plain(hint)
    return kind(value) if isinstance(kind, type) and issubclass(kind, StrEnum) else value


def _plain(hint: Any) -> Any:
    """The type itself, of a type that may also be None."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(each for each in typing.get_args(hint) if each is not type(None))
    return hint


def _schema(kind: Any, about: Argument, *, one: bool) -> dict[str, Any]:
    if about.kind == "pairs":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if typing.get_origin(kind) is tuple:
        return {"type": "string"} if one else {"type": "array", "items": {"type": "string"}}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [each.value for each in kind]}
    return {"type": {bool: "boolean", int: "integer"}.get(kind, "string")}


def _expected(each: Input) -> str:
    what = each.schema["type"]
    words = each.schema.get("description", "")
    return f"{each.name}: {what}" + (f", {words}" if words else "")


def _value(tool: Tool, each: Input, value: Any) -> Any:
    """The value for the request's field. Raises UsageError."""
    wrong = UsageError(f"{tool.name}: {each.name} is not of type {each.schema['type']}", hint=_expected(each))
    kind = each.schema["type"]
    if kind == "boolean":
        if not isinstance(value, bool):
            raise wrong
        return value
    if kind == "integer":
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or abs(value) > 1 << 53:
            raise wrong
        return int(value)
    if kind == "string":
        if each.about.kind == "duration" and isinstance(value, int) and not isinstance(value, bool):
            value = f"{value}s"  # a number of seconds is what many models write
        text = _text(each, value, wrong)
        if "enum" in each.schema:
            if text not in each.schema["enum"]:
                hint = "choose " + ", ".join(each.schema["enum"])
                raise UsageError(f"{tool.name}: {each.name} cannot be {text[:80]!r}", hint=hint)
            return each.kind(text)
        return (text,) if typing.get_origin(each.kind) is tuple else text
    items = value.items() if kind == "object" and isinstance(value, dict) else value
    if isinstance(items, str) or (kind == "object") != isinstance(value, dict) or len(value) > _ITEMS:
        raise wrong
    if kind == "object":
        return {_text(each, key, wrong): _text(each, word, wrong) for key, word in items}
    if not isinstance(value, list):
        raise wrong
    return tuple(_text(each, word, wrong) for word in value)


def _text(each: Input, value: Any, wrong: UsageError) -> str:
    if not isinstance(value, str):
        raise wrong
    if len(value) > _TEXT:
        raise UsageError(f"{each.name} has {len(value)} characters; at most {_TEXT} are taken")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # half a surrogate pair; those that stand for bytes which are not UTF-8 are fine
        raise UsageError(f"{each.name} is not text", hint=_expected(each)) from None
    if "\0" in value and each.about.kind != "content":
        raise UsageError(f"{each.name} holds a NUL character", hint=_expected(each))
    return value
