"""Which paths a patch speaks of: enough of git's patch format to fetch the files it needs and to refuse bad names.

Nothing relies on this for safety: git reads the patch itself, in a folder where it can do no harm, and what it did
there is checked again (see handback.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

__all__ = ["PatchedFile", "read_patch"]

_HUNK: Final = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_LINE: Final = 64 * 1024
_MODES: Final = (b"old mode ", b"new mode ", b"deleted file mode ", b"new file mode ")
_NAMES: Final = (b"rename from ", b"rename to ", b"copy from ", b"copy to ")
_ESCAPES: Final = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13, b"\\": 92, b'"': 34}


@dataclass(slots=True)
class PatchedFile:
    """One file's part of a patch: every path and every git file mode it mentions."""

    paths: set[bytes] = field(default_factory=set)
    modes: set[bytes] = field(default_factory=set)


def read_patch(patch: Path) -> list[PatchedFile]:
    """The files of a patch, in its order. Raises OSError when it cannot be read."""
    found: list[PatchedFile] = []
    with open(patch, "rb") as file:
        lines = _lines(file)
        for line in lines:
            if line.startswith(b"diff --git "):
                found.append(PatchedFile(paths=_from_git_line(line[11:])))
            elif line.startswith(b"--- "):
                _read_names(line, next(lines, b""), found)
            elif (hunk := _HUNK.match(line)) is not None:
                _skip_hunk(lines, hunk)
            elif found:
                _read_header(line, found[-1])
    return found


def _read_header(line: bytes, file: PatchedFile) -> None:
    for prefix in _MODES:
        if line.startswith(prefix):
            file.modes.add(line[len(prefix) :].strip())
    for prefix in _NAMES:
        if line.startswith(prefix):
            file.paths.add(_unquoted(line[len(prefix) :])[0])
    if line.startswith(b"index ") and line.count(b" ") == 2:
        file.modes.add(line.rpartition(b" ")[2].strip())


def _read_names(old: bytes, new: bytes, found: list[PatchedFile]) -> None:
    if not new.startswith(b"+++ "):
        return
    names = {_prefixed(old[4:]), _prefixed(new[4:])}
    if not found or (found[-1].paths and not found[-1].paths & names):
        found.append(PatchedFile())  # no "diff --git" line before it: plain `diff -u` output
    found[-1].paths.update(name for name in names if name is not None)


def _prefixed(text: bytes) -> bytes | None:
    """The path of a ``---`` or ``+++`` line, without its first component unless it is absolute; None for /dev/null."""
    name = _unquoted(text)[0] if text.startswith(b'"') else text.partition(b"\t")[0]
    if name == b"/dev/null":
        return None
    return name if name.startswith(b"/") else name.partition(b"/")[2] or name


def _from_git_line(text: bytes) -> set[bytes]:
    """The path that both halves of a ``diff --git`` line agree on, if they do."""
    if b'"' in text:
        old, rest = _unquoted(text) if text.startswith(b'"') else (text.partition(b" ")[0], text.partition(b" ")[2])
        new = _unquoted(rest.lstrip(b" "))[0]
    else:
        middle = len(text) // 2
        old, new = text[:middle], text[middle + 1 :]
    old, new = old.partition(b"/")[2], new.partition(b"/")[2]
    return {old} if old and old == new else set()


def _unquoted(text: bytes) -> tuple[bytes, bytes]:
    """(a name as git writes it, C-quoted where need be, and what follows it)."""
    if not text.startswith(b'"'):
        return text, b""
    name = bytearray()
    at = 1
    while at < len(text) and text[at : at + 1] != b'"':
        if text[at : at + 1] != b"\\":
            name.append(text[at])
            at += 1
        elif text[at + 1 : at + 2] in _ESCAPES:
            name.append(_ESCAPES[text[at + 1 : at + 2]])
            at += 2
        elif re.fullmatch(rb"[0-3][0-7]{2}", text[at + 1 : at + 4]):
            name.append(int(text[at + 1 : at + 4], 8))
            at += 4
        else:
            return text, b""
    return bytes(name), text[at + 1 :]


def _skip_hunk(lines: Iterator[bytes], hunk: re.Match[bytes]) -> None:
    """Read past a hunk's lines, which may look like anything."""
    old, new = (1 if count is None else int(count) for count in hunk.groups())
    while old > 0 or new > 0:
        kind = next(lines, b"end")[:1]
        if kind not in (b" ", b"-", b"+", b"\\", b""):
            return
        old -= kind in (b" ", b"-", b"")
        new -= kind in (b" ", b"+", b"")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines without their end; of one longer than a name can be, the beginning."""
    while line := file.readline(_LINE):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(_LINE)
        yield line.removesuffix(b"\n")
