"""Calling a tool of the guest directly, the way the agent's worker does."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import pytest

from sandlot.guest.tools import ToolError, get


class Answer:
    """A tool's answer: its items, its result fields, and what it sent through its descriptor."""

    def __init__(self, items: list[list[bytes]], result: list[bytes], content: bytes = b"") -> None:
        self.items = items
        self.result = result
        self.content = content

    @property
    def numbers(self) -> list[int]:
        """The result's fields as integers."""
        return [int(field) for field in self.result]

    @property
    def names(self) -> list[bytes]:
        """The first field of every item."""
        return [item[0] for item in self.items]


def _field(value: bytes | str | int | Path) -> bytes:
    if isinstance(value, bytes):
        return value
    return os.fsencode(value) if isinstance(value, str | Path) else b"%d" % value


def call(name: str, *args: bytes | str | int | Path, content: bytes | None = None) -> Answer:
    """Run a tool; ``content`` is what its descriptor carries, as an unlinked file."""
    items: list[list[bytes]] = []
    fields = [_field(arg) for arg in args]
    if content is None:
        return Answer(items, get(name)(fields, -1, items.append))
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        result = get(name)(fields, file.fileno(), items.append)
    return Answer(items, result)


def call_reading(name: str, *args: bytes | str | int | Path) -> Answer:
    """Run a tool that sends content through a pipe, while the other end reads it."""
    read, write = os.pipe()
    content: list[bytes] = []

    def drain() -> None:
        while chunk := os.read(read, 65536):
            content.append(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    items: list[list[bytes]] = []
    try:
        result = get(name)([_field(arg) for arg in args], write, items.append)
    finally:
        os.close(write)
        reader.join()
        os.close(read)
    return Answer(items, result, b"".join(content))


def refusal(name: str, *args: bytes | str | int | Path, content: bytes | None = None) -> ToolError:
    """The error of a call that must fail."""
    with pytest.raises(ToolError) as caught:
        call(name, *args, content=content)
    return caught.value


def picture(root: Path) -> dict[bytes, tuple[str, int, bytes]]:
    """Everything below a folder: kind, permission bits (not of symlinks) and content or target by relative path."""
    seen: dict[bytes, tuple[str, int, bytes]] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode & 0o7777
            shown = os.path.relpath(path, top)
            if os.path.islink(path):
                seen[shown] = ("l", 0, os.readlink(path))
            elif os.path.isdir(path):
                seen[shown] = ("d", mode, b"")
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    seen[shown] = ("f", mode, file.read())
            else:
                seen[shown] = ("o", mode, b"")
    return seen
