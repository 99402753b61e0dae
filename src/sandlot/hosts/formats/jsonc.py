"""JSON with comments and trailing commas, edited by spans: what is not ours keeps every byte.

No library on PyPI that is kept, permissive and pure edits JSON with comments in place (see docs/design/0023). The
grammar is that of RFC 8259 and of Microsoft's jsonc-parser: ``//`` and ``/* */`` comments, and a comma behind the last
member.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in effect, missing in typeshed

from sandlot.hosts.formats.base import JsonObject, JsonValue, KeyPath, Unparsable

__all__ = ["JSONC", "Jsonc"]

DEEPEST = 100
_BLANK = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS: dict[str, JsonValue] = {"true": True, "false": False, "null": None}
_MARK = "\ufeff"
"""Windows editors begin files with it."""


@dataclass(slots=True)
class _Member:
    key: str
    start: int
    """Where its key begins."""
    node: _Node
    comma: int | None = None
    """Where the comma behind it is."""


@dataclass(slots=True)
class _Node:
    start: int
    end: int
    value: JsonValue
    members: list[_Member] | None = None
    """Of an object."""
    items: list[_Node] = field(default_factory=list)


class _Reader:
    """A recursive-descent parser that remembers where everything is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 1 if text.startswith(_MARK) else 0

    def whole(self) -> _Node | None:
        """The one value, or None where there is none (an empty file)."""
        self.blank()
        if self.at == len(self.text):
            return None
        node = self.value(0)
        self.blank()
        if self.at != len(self.text):
            raise self.wrong("something behind the end")
        return node

    def wrong(self, message: str, at: int | None = None) -> Unparsable:
        return Unparsable.at(self.text, self.at if at is None else at, message)

    def blank(self) -> None:
        found = _BLANK.match(self.text, self.at)
        assert found is not None  # it matches nothing as well
        self.at = found.end()
        if self.text.startswith("/*", self.at):
            raise self.wrong("a comment without an end")

    def value(self, depth: int) -> _Node:
        if depth > DEEPEST:
            raise self.wrong("nested too deeply")
        start = self.at
        char = self.text[start : start + 1]
        if char == "{":
            return self.object(depth)
        if char == "[":
            return self.array(depth)
        if char == '"':
            return _Node(start, 0, self.string()).ended(self.at) if False else self._string_node()
        for word, value in _WORDS.items():
            if self.text.startswith(word, start):
                self.at += len(word)
                return _Node(start, self.at, value)
        if found := _NUMBER.match(self.text, start):
            self.at = found.end()
            number = float(found[0]) if found[1] or found[2] else int(found[0])
            return _Node(start, self.at, number)
        raise self.wrong("a value is missing" if start == len(self.text) else f"no value begins with {char!r}")
