"""What the editors of configuration files have in common."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from sandlot.errors import HostConfigUnreadable

__all__ = [
    "Format",
    "JsonObject",
    "JsonValue",
    "Unparsable",
    "checked",
    "get",
    "with_value",
    "without",
    "without_empty",
]

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = "dict[str, JsonValue]"
KeyPath: TypeAlias = "tuple[str, ...]"


class Unparsable(ValueError):
    """A text is not what its name says; ``line`` and ``column`` are counted from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.line = line
        self.column = column

    @classmethod
    def at(cls, text: str, offset: int, message: str) -> Unparsable:
        """The same, from an offset in the text."""
        start = text.rfind("\n", 0, offset) + 1
        return cls(message, text.count("\n", 0, offset) + 1, offset - start + 1)


class Format(Protocol):
    """One notation. Texts are edited, never written anew."""

    name: str

    def parse(self, text: str) -> JsonObject:
        """What the text says. Raises Unparsable."""

    def put(self, text: str, path: KeyPath, value: JsonValue) -> str:
        """The text with a value at a path; objects on the way are made. Raises Unparsable."""

    def drop(self, text: str, path: KeyPath) -> str:
        """The text without what is at a path (which need not be there). Raises Unparsable."""


def get(value: JsonValue, path: KeyPath) -> JsonValue:
    """What is at a path, or None."""
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def with_value(value: JsonObject, path: KeyPath, new: JsonValue) -> JsonObject:
    """A copy with another value at a path."""
    copy = dict(value)
    if len(path) == 1:
        copy[path[0]] = new
    else:
        below = copy.get(path[0])
        copy[path[0]] = with_value(below if isinstance(below, dict) else {}, path[1:], new)
    return copy


def without(value: JsonObject, path: KeyPath) -> JsonObject:
    """A copy without what is at a path."""
    copy = dict(value)
    if len(path) == 1:
        copy.pop(path[0], None)
    elif isinstance(below := copy.get(path[0]), dict):
        copy[path[0]] = without(below, path[1:])
    return copy


def without_empty(value: JsonObject, path: KeyPath) -> JsonObject:
    """The same, without the objects that are left empty by that: in TOML they are not there without their members."""
    value = without(value, path)
    while (path := path[:-1]) and get(value, path) == {}:
        value = without(value, path)
    return value


def checked(form: Format, text: str, *expected: JsonObject) -> str:
    """An edited text, if it says what it must (one of these): a file of somebody's is never changed in any other way.

    Raises HostConfigUnreadable.
    """
    try:
        right = form.parse(text) in expected
    except Unparsable:
        right = False
    if not right:
        raise HostConfigUnreadable(
            f"this {form.name} is written in a way that sandlot cannot edit without changing more than its own entry",
            hint="add the entry by hand; sandlot host print-config HOST shows it",
        )
    return text
