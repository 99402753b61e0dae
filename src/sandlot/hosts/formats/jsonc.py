"""JSON with comments and trailing commas, edited by spans: what is not ours keeps every byte.

No library on PyPI that is kept, permissive and pure edits JSON with comments in place (docs/design/0023). The grammar
is RFC 8259 and what Microsoft's jsonc-parser adds: ``//`` and ``/* */`` comments, a comma behind the last member.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from sandlot.hosts.formats.base import JsonObject, JsonValue, KeyPath, Unparsable

__all__ = ["Jsonc", "comments"]

DEEPEST = 100
MARK = "\ufeff"
"""Windows editors begin files with it."""
_BLANK = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_COMMENT_ON_LINE = re.compile(r"[ \t]*(?:/\*[^\r\n]*?\*/[ \t]*)*(?://[^\r\n]*)?(?=[\r\n]|\Z)")
_WORDS: dict[str, JsonValue] = {"true": True, "false": False, "null": None}
_decode_string = json.JSONDecoder().raw_decode


@dataclass(slots=True)
class _Member:
    """One member of an object: where its key begins, and where the comma behind it is."""

    key: str
    start: int
    node: _Node
    comma: int | None = None


@dataclass(slots=True)
class _Node:
    """One value and its span; ``members`` of an object."""

    start: int
    end: int
    value: JsonValue
    members: list[_Member] | None = None

    def member(self, key: str) -> _Member | None:
        """The last of that name: the one that counts."""
        return next((each for each in reversed(self.members or ()) if each.key == key), None)


class _Reader:
    """A recursive-descent parser that remembers where everything is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = len(MARK) if text.startswith(MARK) else 0

    def whole(self) -> _Node | None:
        """The one value, or None where there is none (an empty file)."""
        self.blank()
        if self.at == len(self.text):
            return None
        node = self.value(0)
        self.blank()
        if self.at != len(self.text):
            raise self.wrong("there is something behind the end")
        return node

    def wrong(self, message: str, at: int | None = None) -> Unparsable:
        return Unparsable.at(self.text, self.at if at is None else at, message)

    def blank(self) -> None:
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at
        if self.text.startswith("/*", self.at):
            raise self.wrong("a comment without an end")

    def value(self, depth: int) -> _Node:
        start = self.at
        char = self.text[start : start + 1]
        if depth > DEEPEST:
            raise self.wrong("nested too deeply")
        if char == "{":
            return self.object(depth)
        if char == "[":
            return self.array(depth)
        if char == '"':
            value: JsonValue = self.string()
            return _Node(start, self.at, value)
        for word, value in _WORDS.items():
            if self.text.startswith(word, start):
                self.at += len(word)
                return _Node(start, self.at, value)
        found = _NUMBER.match(self.text, start)
        if found is None:
            raise self.wrong(f"no value begins with {char!r}" if char else "a value is missing")
        self.at = found.end()
        return _Node(start, self.at, float(found[0]) if found[1] or found[2] else _whole_number(self, found[0]))

    def string(self) -> str:
        if not self.text.startswith('"', self.at):
            raise self.wrong("a name in double quotes is missing")
        try:
            value, self.at = _decode_string(self.text, self.at)
        except json.JSONDecodeError as error:
            raise self.wrong(error.msg.lower(), error.pos) from None
        return str(value)

    def object(self, depth: int) -> _Node:
        start = self.at
        members: list[_Member] = []
        self.at += 1
        while not self.closes("}", bool(members) and members[-1].comma is None):
            at = self.at
            key = self.string()
            self.blank()
            if not self.text.startswith(":", self.at):
                raise self.wrong("a colon is missing")
            self.at += 1
            self.blank()
            members.append(_Member(key, at, self.value(depth + 1)))
            members[-1].comma = self.comma()
        return _Node(start, self.at, {each.key: each.node.value for each in members}, members)

    def array(self, depth: int) -> _Node:
        start = self.at
        values: list[JsonValue] = []
        separated = True
        self.at += 1
        while not self.closes("]", not separated):
            values.append(self.value(depth + 1).value)
            separated = self.comma() is not None
        return _Node(start, self.at, values)

    def comma(self) -> int | None:
        self.blank()
        if self.text.startswith(",", self.at):
            self.at += 1
            return self.at - 1
        return None

    def closes(self, bracket: str, must: bool) -> bool:
        self.blank()
        if self.text.startswith(bracket, self.at):
            self.at += 1
            return True
        if self.at == len(self.text):
            raise self.wrong(f"{bracket!r} is missing")
        if must:
            raise self.wrong(f"',' or {bracket!r} is missing")
        return False


def _whole_number(reader: _Reader, text: str) -> int:
    try:
        return int(text)
    except ValueError:  # longer than the interpreter converts
        raise reader.wrong("a number is too long") from None


def comments(text: str) -> list[str]:
    """The comments of a text, in their order."""
    found = []
    for each in re.finditer(r'"(?:\\.|[^"\\])*"|//[^\r\n]*|/\*.*?\*/', text, re.DOTALL):
        if not each[0].startswith('"'):
            found.append(each[0])
    return found


class Jsonc:
    """The notation of most hosts. Plain JSON stays plain JSON: no comment and no last comma is ever added."""

    name = "JSON"

    def parse(self, text: str) -> JsonObject:
        """What the text says; an empty text is an empty object. Raises Unparsable."""
        root = _root(text)
        return root.value if root is not None and isinstance(root.value, dict) else {}

    def put(self, text: str, path: KeyPath, value: JsonValue) -> str:
        """The text with a value at a path. Raises Unparsable, also where an object on the way is something else."""
        root = _root(text)
        layout = _Layout.of(text, root)
        if root is None:
            head = (
                text if not text.strip(MARK) or text.endswith("\n") else text + layout.newline
            )  # a comment may end it
            return head + layout.render(_nested(path, value), "") + layout.newline
        node = root
        for depth, key in enumerate(path):
            if node.members is None:
                raise Unparsable.at(text, node.start, f"{path[depth - 1]!r} is no object")
            member = node.member(key)
            if member is None:
                return _insert(text, node, key, _nested(path[depth + 1 :], value), layout)
            node = member.node
        if node.value == value and type(node.value) is type(value):
            return text
        new = layout.render(value, _indent(text, node.start), inline=_inline(text, node))
        return text[: node.start] + new + text[node.end :]

    def drop(self, text: str, path: KeyPath) -> str:
        """The text without a member, its comma and the comment on its line. Raises Unparsable."""
        node = _root(text)
        for key in path[:-1]:
            member = node.member(key) if node else None
            node = member.node if member else None
        members = (node.members or []) if node else []
        at = next((index for index, each in enumerate(members) if each.key == path[-1]), None)
        if at is None:
            return text
        text = _remove(text, members, at)
        return self.drop(text, path)  # a name may stand there twice


def _root(text: str) -> _Node | None:
    root = _Reader(text).whole()
    if root is not None and root.members is None:
        raise Unparsable.at(text, root.start, "the whole is no object")
    return root


def _nested(path: KeyPath, value: JsonValue) -> JsonValue:
    for key in reversed(path):
        value = {key: value}
    return value


def _indent(text: str, at: int) -> str:
    """The white space that the line of an offset begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at].removeprefix(MARK)
    return line[: len(line) - len(line.lstrip(" \t"))]


def _inline(text: str, node: _Node) -> bool:
    """Whether an object with something in it stands on one line."""
    return bool(node.members or node.value) and "\n" not in text[node.start : node.end]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a file is laid out."""

    unit: str
    newline: str

    @classmethod
    def of(cls, text: str, root: _Node | None) -> _Layout:
        newline = "\r\n" if "\r\n" in text else "\n"
        unit = "  "
        if root is not None and root.members and (found := _indent(text, root.members[0].start)):
            outer = _indent(text, root.start)
            unit = found.removeprefix(outer) or unit
        return cls(unit, newline)

    def render(self, value: JsonValue, indent: str, *, inline: bool = False) -> str:
        if inline:
            return json.dumps(value, ensure_ascii=False)
        lines = json.dumps(value, ensure_ascii=False, indent=self.unit).split("\n")
        return (self.newline + indent).join(lines)


def _insert(text: str, node: _Node, key: str, value: JsonValue, layout: _Layout) -> str:
    """A new last member."""
    members = node.members or []
    close = node.end - 1
    if members and _inline(text, node):
        new = f"{json.dumps(key, ensure_ascii=False)}: {layout.render(value, '', inline=True)}"
        last = members[-1]
        if last.comma is not None:
            return f"{text[: last.comma + 1]} {new},{text[last.comma + 1 :]}"
        return f"{text[: last.node.end]}, {new}{text[last.node.end :]}"
    outer = _indent(text, node.start)
    inner = _indent(text, members[0].start) if members and _alone(text, members[0].start) else outer + layout.unit
    new = f"{inner}{json.dumps(key, ensure_ascii=False)}: {layout.render(value, inner)}"
    # The new member goes behind everything that is there, comments too, right before the closing bracket's line.
    body = text[:close].rstrip(" \t\r\n")
    tail = text[len(body) :] if "\n" in text[len(body) : close] else layout.newline + outer + text[close:]
    comma = ""
    if members and members[-1].comma is None:
        end = members[-1].node.end
        body = body[:end] + "," + body[end:]
    elif members:
        comma = ","
    return body + layout.newline + new + comma + tail


def _alone(text: str, at: int) -> bool:
    """Whether nothing but white space stands before an offset on its line."""
    return not text[text.rfind("\n", 0, at) + 1 : at].strip(" \t")


def _remove(text: str, members: list[_Member], at: int) -> str:
    member = members[at]
    start, end = member.start, member.node.end if member.comma is None else member.comma + 1
    own_lines = _alone(text, start)
    rest = _COMMENT_ON_LINE.match(text, end)
    if own_lines and rest:  # it has its lines for itself: they go, with the comment at their end
        end = rest.end()
        start = text.rfind("\n", 0, start)
        if start > 0 and text[start - 1] == "\r":
            start -= 1
        if start < 0:
            start = 0
    elif member.comma is not None:
        while text[end : end + 1] in (" ", "\t"):
            end += 1
    previous = members[at - 1] if at else None
    if member.comma is None and previous is not None and previous.comma is not None:
        # It was the last, and the one before it is now; in plain JSON that one must have no comma behind it.
        middle = text[previous.comma + 1 : start]
        if not own_lines:
            middle = middle.rstrip(" \t")
        return text[: previous.comma] + middle + text[end:]
    return text[:start] + text[end:]
