"""Taking whole files out of a patch, by their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

__all__ = ["without"]

_HEADER = b"diff --git "
_ESCAPED = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}


def without(patch: bytes, leave_out: Callable[[str], bool]) -> bytes:
    """The sections of a git patch neither of whose paths is left out.

    A line of a hunk begins with a space, a sign or a backslash, and a line of a binary section holds no space: none of
    them can look like the header of another section, whatever a target wrote into its files.
    """
    kept = [section for section in _sections(patch) if not any(map(leave_out, _paths(section)))]
    return b"".join(kept)


def _sections(patch: bytes) -> Iterator[bytes]:
    starts = [found.start() for found in re.finditer(rb"^diff --git ", patch, re.MULTILINE)]
    if not patch:
        return
    if not starts or starts[0] != 0:
        raise ValueError("this is no patch of git's")
    for start, end in zip(starts, [*starts[1:], len(patch)], strict=True):
        yield patch[start:end]


def _paths(section: bytes) -> set[str]:
    """Its path before and after: of ``rename``, ``copy``, ``---`` and ``+++``, or of the header when both are one."""
    lines = section.split(b"\n", 12)
    found = set()
    for line in lines[1:12]:
        if line.startswith((b"@@", b"GIT binary patch", b"Binary files")):
            break
        for prefix in (b"rename from ", b"rename to ", b"copy from ", b"copy to "):
            if line.startswith(prefix):
                found.add(_plain(line[len(prefix) :]))
        if line.startswith((b"--- ", b"+++ ")) and (name := _plain(line[4:].removesuffix(b"\t"))) != b"/dev/null":
            found.add(name[2:])
    if not found:
        found.add(_twice(lines[0][len(_HEADER) :]))
    return {os.fsdecode(path) for path in found}


def _twice(rest: bytes) -> bytes:
    """The path of ``a/PATH b/PATH``."""
    if rest.startswith(b'"'):
        end = len(rest) // 2
        return _plain(rest[:end])[2:]
    return rest[2 : len(rest) // 2]


def _plain(name: bytes) -> bytes:
    """Without the quotes and escapes that git puts around unusual names."""
    if not (name.startswith(b'"') and name.endswith(b'"')):
        return name

    def one(found: re.Match[bytes]) -> bytes:
        text = found[1]
        return bytes([int(text, 8)]) if len(text) == 3 else _LETTERS.get(text, text)

    return _ESCAPED.sub(one, name[1:-1])
