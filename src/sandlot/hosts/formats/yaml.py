"""YAML, edited by the spans that ruamel.yaml's composer tells: writing it anew would move what is not ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from sandlot.hosts.formats.base import JsonObject, JsonValue, KeyPath, Unparsable

__all__ = ["Yaml"]

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_SPECIAL = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


class Yaml:
    """The notation of Goose."""

    name = "YAML"

    def parse(self, text: str) -> JsonObject:
        """What the text says; an empty text is an empty object. Raises Unparsable."""
        value = _asked(lambda yaml: yaml.load(text))
        if value is not None and not isinstance(value, dict):
            raise Unparsable("the whole is no mapping", 1, 1)
        return value or {}

    def put(self, text: str, path: KeyPath, value: JsonValue) -> str:
        """The text with a value at a path. Raises Unparsable."""
        self.parse(text)
        newline = "\r\n" if "\r\n" in text else "\n"
        node = _compose(text)
        if node is None:
            return _ended(text, newline) + _block(path, value, "", newline)
        at = 0  # behind the colon of the mapping's own key
        indent = ""
        for depth, key in enumerate(path):
            if not hasattr(node, "flow_style") or node.id != "mapping":
                if node.id == "scalar" and not node.value and depth:  # "extensions:" with nothing behind it
                    return _first_child(text, at, indent + "  ", path[depth:], value, newline)
                raise _at_mark(node.start_mark, f"{path[depth - 1]!r} is no mapping")
            pair = _pair(node, key)
            if pair is None:
                return _insert(text, node, at, indent, path[depth:], value, newline)
            at = _colon(text, pair[0])
            indent = " " * pair[0].start_mark.column
            node = pair[1]
        return f"{text[:at]} {_scalar(value)}{text[max(at, _last(node)) :]}"

    def drop(self, text: str, path: KeyPath) -> str:
        """The text without an entry and the comment on its last line. Raises Unparsable."""
        self.parse(text)
        node = _compose(text)
        at = 0
        for key in path[:-1]:
            pair = _pair(node, key)
            if pair is None:
                return text
            at, node = _colon(text, pair[0]), pair[1]
        pair = _pair(node, path[-1])
        if pair is None:
            return text
        start, end = pair[0].start_mark.index, max(_colon(text, pair[0]), _last(pair[1]))
        if node.flow_style:
            behind = re.compile(r"\s*,[ \t]*").match(text, end)
            if behind:
                return text[:start] + text[behind.end() :]
            before = re.compile(r",\s*\Z").search(text, 0, start)
            return text[: before.start() if before else start] + text[end:]
        start = text.rfind("\n", 0, start) + 1
        if text[end - 1 : end] != "\n":
            found = text.find("\n", end)
            end = len(text) if found < 0 else found + 1
        if len(node.value) == 1 and len(path) > 1:
            return f"{text[:at]} {{}}{text[at:start]}{text[end:]}"
        return text[:start] + text[end:]


def _reader() -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True)


def _asked(question: Callable[[Any], Any]) -> Any:
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return question(_reader())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _at_mark(mark, str(error.problem or error.context)) from None
    except (YAMLError, ValueError, RecursionError) as error:  # characters YAML forbids, dates that are none
        raise Unparsable(str(error).split("\n")[0], 1, 1) from None


def _at_mark(mark: Any, message: str) -> Unparsable:
    return Unparsable(message, *((mark.line + 1, mark.column + 1) if mark else (1, 1)))


def _compose(text: str) -> Any:
    return _asked(lambda yaml: yaml.compose(text))


def _pair(node: Any, key: str) -> Any:
    """The (key, value) nodes of a mapping's member, or None."""
    if node is None or node.id != "mapping":
        return None
    return next((pair for pair in node.value if pair[0].id == "scalar" and pair[0].value == key), None)


def _colon(text: str, key: Any) -> int:
    """The offset behind the colon of a key."""
    return text.index(":", key.end_mark.index) + 1


def _last(node: Any) -> int:
    """Where the text of a node ends: a block's own end mark stands where the next thing begins."""
    if node.id == "scalar" or node.flow_style:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _last(last[1] if isinstance(last, tuple) else last)


def _insert(text: str, node: Any, at: int, indent: str, path: KeyPath, value: JsonValue, newline: str) -> str:
    """A new member: behind the others at the top, as the first one below."""
    if node.flow_style:
        start = node.start_mark.index
        if not node.value and at:
            return _first_child(text[:at] + text[node.end_mark.index :], at, indent + "  ", path, value, newline)
        for key in reversed(path[1:]):
            value = {key: value}
        new = f"{json.dumps(path[0])}: {json.dumps(value, ensure_ascii=False)}"
        return f"{text[: start + 1]}{new}{', ' if node.value else ''}{text[start + 1 :]}"
    if not at:
        end = _last(node)
        tail = text[end:]
        if re.search(r"^(\.\.\.|---)", tail, re.MULTILINE):
            raise _at_mark(node.end_mark, "the file holds more than one document")
        return _ended(text, newline) + _block(path, value, "", newline)
    return _first_child(text, at, " " * node.value[0][0].start_mark.column, path, value, newline)


def _first_child(text: str, at: int, indent: str, path: KeyPath, value: JsonValue, newline: str) -> str:
    """A block right below the line of a key."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end + 1
    return _ended(text[:end], newline) + _block(path, value, indent, newline) + text[end:]


def _ended(text: str, newline: str) -> str:
    return text if not text or text.endswith("\n") else text + newline


def _block(path: KeyPath, value: JsonValue, indent: str, newline: str) -> str:
    """An entry on lines of its own: objects as blocks, lists on one line (JSON is YAML)."""
    key = _scalar(path[0])
    if len(path) > 1:
        return f"{indent}{key}:{newline}{_block(path[1:], value, indent + '  ', newline)}"
    if isinstance(value, dict) and value:
        inner = "".join(_block((name,), each, indent + "  ", newline) for name, each in value.items())
        return f"{indent}{key}:{newline}{inner}"
    return f"{indent}{key}: {_scalar(value)}{newline}"


def _scalar(value: JsonValue) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _SPECIAL:
        return value
    return json.dumps(value, ensure_ascii=False)
