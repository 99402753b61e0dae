"""Reading YAML, JSON and JSON lines as plain values that remember where each of them is written.

YAML 1.2, core schema: ``yes`` and ``2026-01-01`` are text. Tags, duplicate keys, several documents and what expands
without end are refused. ``${{ NAME }}`` in any text becomes the value of that environment variable, or nothing.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Place
from sandlot.evals.watched import about_to_read

__all__ = ["Document", "Source", "read_json", "read_json_lines", "read_text", "read_yaml", "shown_path"]

MAX_BYTES = 16 << 20
MAX_VALUES = 500_000
"""Of a document, aliases written out: what a suite of ours never has, and an alias bomb passes at once."""
MAX_DEPTH = 64
_VARIABLE = re.compile(r"\$\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CORE = "tag:yaml.org,2002:"

Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A value read from a file, and where each part of it stands."""

    file: str
    """As messages name it."""
    folder: str
    """Absolute; relative paths in the document are relative to it."""
    value: Any
    places: Mapping[Keys, Place] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    """Environment variables it mentions that are not set."""

    def place(self, *keys: str | int) -> Place:
        """Where this part is written, or the nearest part around it."""
        for length in range(len(keys), -1, -1):
            if found := self.places.get(keys[:length]):
                return found
        return Place(self.file)

    def spelled(self, keys: Keys, *names: str) -> Keys:
        """``keys`` and the first of these names, which mean the same, that is written there."""
        value = self.value
        for key in keys:
            value = value[key]
        return (*keys, next((name for name in names if isinstance(value, dict) and name in value), names[0]))


@dataclass(slots=True)
class Source:
    """What reading needs to know, and what it notices: the environment, and the names missing there."""

    environ: Mapping[str, str]
    unset: set[str] = field(default_factory=set)

    def text(self, written: str) -> str:
        """The text with variables filled in."""
        if "${{" not in written:
            return written
        return _VARIABLE.sub(self._value, written)

    def _value(self, match: re.Match[str]) -> str:
        name = match[1]
        if name not in self.environ:
            self.unset.add(name)
        return self.environ.get(name, "")

    def whole(self, value: Any) -> Any:
        """The same for everything in a value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.whole(each) for each in value]
        if isinstance(value, dict):
            return {key: self.whole(each) for key, each in value.items()}
        return value


def shown_path(path: str | Path) -> str:
    """A path as messages name it: relative when it lies below the current folder."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute)
    return absolute if relative.startswith("..") else relative


def read_text(path: Path) -> str:
    """The whole file. Raises SuiteInvalid, and what ``watched`` has somebody raise."""
    about_to_read(path)
    name = shown_path(path)
    try:
        # Not waiting for a writer: what lies in a folder of suites may be a pipe.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SuiteInvalid(f"{name}: is no regular file")
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SuiteInvalid(f"{name}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise SuiteInvalid(f"{name}: larger than {MAX_BYTES >> 20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SuiteInvalid(f"{name}:{line}:1: not UTF-8") from error


def read_yaml(path: Path, environ: Mapping[str, str]) -> Document:
    """A YAML file with one document. Raises SuiteInvalid."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    name, text = shown_path(path), read_text(path)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        what = " ".join(str(error.problem or error.context or "cannot be parsed").split())
        raise SuiteInvalid(f"{place}: no valid YAML: {what}") from error
    except (YAMLError, ValueError) as error:
        raise SuiteInvalid(f"{name}: no valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise SuiteInvalid(f"{name}: nested too deeply") from None
    reader = _Reader(name, Source(environ))
    value = None if root is None else reader.value(root, ())
    return Document(name, str(Path(path).absolute().parent), value, reader.places, tuple(sorted(reader.source.unset)))


class _Reader:
    """Nodes of the YAML composer to plain values, remembering where each is."""

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self.places: dict[Keys, Place] = {}

    def value(self, node: Any, keys: Keys) -> Any:
        from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

        place = self.places.setdefault(keys, self.at(node))
        if len(self.places) > MAX_VALUES or len(keys) > MAX_DEPTH:
            raise SuiteInvalid(f"{place}: too many values, or nested too deeply")
        tag = str(node.tag)
        if isinstance(node, ScalarNode):
            return self.scalar(node, tag, self.at(node))
        if tag not in (f"{_CORE}map", f"{_CORE}seq"):
            raise SuiteInvalid(f"{self.at(node)}: the tag {tag} is not supported", hint="write plain YAML")
        if isinstance(node, SequenceNode):
            return [self.value(each, (*keys, index)) for index, each in enumerate(node.value)]
        assert isinstance(node, MappingNode)  # noqa: S101  the composer knows three kinds
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise SuiteInvalid(f"{self.at(key_node)}: a key must be text")
            key = str(key_node.value)
            if key in made:
                raise SuiteInvalid(f"{self.at(key_node)}: {key!r} is written twice", hint="leave one of them out")
            # A mistake is shown where its key stands, which is what an author looks for.
            self.places[*keys, key] = self.at(key_node)
            made[key] = self.value(value_node, (*keys, key))
        return made

    def at(self, node: Any) -> Place:
        return Place(self.name, node.start_mark.line + 1, node.start_mark.column + 1)

    def scalar(self, node: Any, tag: str, place: Place) -> Any:
        text = str(node.value)
        kind = tag.removeprefix(_CORE)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int" and _INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else _integer(text, place)
        if kind in ("int", "float") and _FLOAT.fullmatch(text):
            return float(text)
        if kind == "float" and text.lower().lstrip("+-") in (".inf", ".nan"):
            raise SuiteInvalid(f"{place}: {text} is no number that a suite needs")
        if kind in ("str", "int", "float", "timestamp", "value", "merge"):
            if "\0" in text:
                raise SuiteInvalid(f"{place}: a NUL character is in this text")
            return self.source.text(text)
        raise SuiteInvalid(f"{place}: the tag {tag} is not supported", hint="write plain YAML")


def _integer(text: str, place: Place) -> int:
    if len(text) > 30:  # what no field takes, and int() would spend long on
        raise SuiteInvalid(f"{place}: this number is too large")
    return int(text)


def _parsed(text: str, place: Place, line_offset: int = 0) -> Any:
    def refuse_constant(word: str) -> Any:
        raise SuiteInvalid(f"{place}: {word} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
            raise SuiteInvalid(f"{place}: {twice!r} is written twice", hint="leave one of them out")
        return made

    if "\\u0000" in text:
        raise SuiteInvalid(f"{place}: a NUL character is in a text")
    try:
        return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        where = Place(place.file, error.lineno + line_offset, error.colno)
        raise SuiteInvalid(f"{where}: no valid JSON: {error.msg.lower()}") from error
    except (RecursionError, ValueError) as error:
        raise SuiteInvalid(f"{place}: no valid JSON") from error


def read_json(path: Path, environ: Mapping[str, str]) -> Document:
    """A JSON file. Raises SuiteInvalid."""
    name, source = shown_path(path), Source(environ)
    value = source.whole(_parsed(read_text(path), Place(name)))
    return Document(name, str(Path(path).absolute().parent), value, {}, tuple(sorted(source.unset)))


def read_json_lines(path: Path, environ: Mapping[str, str]) -> Iterator[Document]:
    """One document for each line that is not empty. Raises SuiteInvalid."""
    name, folder = shown_path(path), str(Path(path).absolute().parent)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        place, source = Place(name, number, 1), Source(environ)
        value = source.whole(_parsed(line, place, number - 1))
        yield Document(name, folder, value, {(): place}, tuple(sorted(source.unset)))
