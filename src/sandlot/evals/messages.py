"""A test's input, as it is written, to messages; files are read when the suite is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Message, Part
from sandlot.evals.problems import Problems
from sandlot.evals.yaml_source import Document, Keys, read_text

__all__ = ["input_of", "joined"]

MOST_PARENTS = 40


def input_of(document: Document, keys: Keys, files: list[str], written: Any, problems: Problems) -> tuple[Message, ...]:
    """The messages written at ``keys``; ``files`` are given in front of the first one."""
    reader = _Reader(document, problems)
    messages = list(reader.messages(written, keys))
    if files:
        front = tuple(reader.part("file", name, (*keys[:-1], "input_files", at)) for at, name in enumerate(files))
        first = messages[0] if messages and messages[0].role == "user" else None
        rest = messages[1:] if first else messages
        messages = [Message("user", front + (first.parts if first else ())), *rest]
    return tuple(messages)


def joined(document: Document, keys: Keys, message: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """A message of an expected output whose content is one text, if it was a list of pieces."""
    content = message.get("content")
    if "role" not in message or not isinstance(content, list) or not all(map(_is_piece, content)):
        return message
    reader = _Reader(document, problems)
    parts = [
        reader.part(each["type"], each["value"], (*keys, "content", at, "value")) for at, each in enumerate(content)
    ]
    return {**message, "content": "\n".join(part.text for part in parts)}


def _is_piece(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") in ("text", "file") and isinstance(value.get("value"), str)


class _Reader:
    def __init__(self, document: Document, problems: Problems) -> None:
        self.document = document
        self.problems = problems

    def messages(self, written: Any, keys: Keys) -> Iterator[Message]:
        if written is None:
            return
        if isinstance(written, list):
            for at, each in enumerate(written):
                yield Message(each.role, self.parts(each.content, (*keys, at, "content")))
        elif isinstance(written, dict) and "role" in written and "content" in written:
            yield from self.one(keys)
        else:
            yield Message("user", self.parts(written, keys))

    def one(self, keys: Keys) -> Iterator[Message]:
        """A single message, which its model could not tell from any other object."""
        from sandlot.evals.checking import check
        from sandlot.evals.spec import MessageModel

        if message := check(MessageModel, self.document, keys, self.problems):
            yield Message(message.role, self.parts(message.content, (*keys, "content")))

    def parts(self, content: Any, keys: Keys) -> tuple[Part, ...]:
        if isinstance(content, str):
            return (Part(content),)
        if isinstance(content, list):
            return tuple(self.part(each.type, each.value, (*keys, at, "value")) for at, each in enumerate(content))
        return (Part(json.dumps(content, ensure_ascii=False, indent=2)),)

    def part(self, kind: str, value: str, keys: Keys) -> Part:
        if kind == "text":
            return Part(value)
        place = self.document.place(*keys)
        path = _find(Path(self.document.folder), value)
        if path is None:
            self.problems.add(
                place, f"the file {value!r} does not exist", f"looked in {self.document.folder} and above"
            )
            return Part("", value)
        try:
            return Part(read_text(path), value)
        except SuiteInvalid as error:
            self.problems.add(place, error.message)
            return Part("", value)


def _find(folder: Path, name: str) -> Path | None:
    """Beside the suite, or in a folder above it, up to the root of its repository, as existing suites expect."""
    relative = name.lstrip("/")
    if name.startswith("/") and os.path.isfile(name):
        return Path(name)
    for above in [folder, *folder.parents][:MOST_PARENTS]:
        if os.path.isfile(above / relative):  # false, too, for what can be no name of a file
            return above / relative
        if (above / ".git").exists():
            break
    return None
