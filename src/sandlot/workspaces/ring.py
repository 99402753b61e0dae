"""The transcript of a shell: a file of bounded size that the shell's worker writes and anybody here reads.

See wire/shell.py for its layout. Reading needs no protocol and no running workspace. The writer lives inside the
workspace, so what the file says is checked before it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandlot.errors import ProtocolError, StateUnwritable
from sandlot.wire import shell as wire

if TYPE_CHECKING:
    from sandlot.workspaces.redaction import Redactor

__all__ = ["KEPT", "NAME", "Head", "Piece", "head", "make", "read"]

NAME = "ring"
KEPT = wire.CAPACITY - wire.BATCH
"""Bytes of the end of a stream that can be read."""
TRIES = 100
"""Reads of a head that changes under our eyes before it is taken as it is: a writer writes one in 2 ms at most."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a transcript goes, and how large the terminal is."""

    capacity: int
    total: int
    rows: int
    columns: int

    @property
    def oldest(self) -> int:
        """The first byte that is surely not overwritten."""
        return max(0, self.total - (self.capacity - wire.BATCH))


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the stream."""

    data: bytes
    start: int
    """Offset of its first byte."""
    total: int
    dropped: int
    """Bytes between where it was to start and where it could: overwritten long ago."""

    @property
    def end(self) -> int:
        """Offset of the byte behind it."""
        return self.start + len(self.data)


def make(folder: Path, rows: int, columns: int) -> int:
    """A descriptor of the new, empty transcript of a shell in the command's folder. Raises StateUnwritable.

    Its blocks are reserved now: a disk that fills up later costs no output, and ``open`` says so while it still can.
    """
    path = folder / NAME
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, wire.DATA + wire.CAPACITY)
            os.pwrite(descriptor, wire.HEADER.pack(wire.CAPACITY, 0, rows, columns), 0)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise StateUnwritable(f"cannot write {path}: {error.strerror}") from error
    return descriptor


def head(folder: Path) -> Head | None:
    """The head of a transcript; None when the folder has none. Raises ProtocolError when it is forged."""
    try:
        descriptor = _open(folder)
    except FileNotFoundError:
        return None
    try:
        return _head(descriptor)
    finally:
        os.close(descriptor)


def read(folder: Path, cursor: int | None, limit: int, redactor: Redactor | None = None) -> Piece:
    """At most ``limit`` bytes from offset ``cursor`` on, or (None) the last ones. Raises FileNotFoundError.

    ``redactor`` blanks out values, also those of which the answer holds only a part.
    """
    descriptor = _open(folder)
    try:
        before = _head(descriptor)
        wanted = max(before.oldest, before.total - limit) if cursor is None else min(cursor, before.total)
        start = max(wanted, before.oldest)
        end = min(start + limit, before.total)
        margin = redactor.longest if redactor is not None else 0
        low, high = max(before.oldest, start - margin), min(end + margin, before.total)
        data = _bytes(descriptor, before, low, high - low)
        if redactor is not None:
            data = redactor.mask_so_far(data) if high == before.total else redactor.mask(data)
        data = data[start - low : end - low]
        after = _head(descriptor)  # what was overwritten while we read is no part of the answer
    finally:
        os.close(descriptor)
    lost = min(max(0, after.oldest - start), len(data))
    start += lost
    return Piece(data[lost:], start, max(after.total, start), 0 if cursor is None else start - wanted)


def _open(folder: Path) -> int:
    return os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _head(descriptor: int) -> Head:
    """Read until two readings agree: it may be written right now."""
    found = os.pread(descriptor, wire.HEADER.size, 0)
    for _ in range(TRIES):
        previous, found = found, os.pread(descriptor, wire.HEADER.size, 0)
        if previous == found:
            break
    if len(found) != wire.HEADER.size:
        raise ProtocolError("the transcript of the shell is damaged")
    head = Head(*wire.HEADER.unpack(found))
    fits = wire.BATCH < head.capacity <= wire.MAX_CAPACITY and head.total < 1 << 62
    if not fits or not (1 <= head.rows <= wire.MAX_ROWS and 1 <= head.columns <= wire.MAX_COLUMNS):
        raise ProtocolError("the transcript of the shell is damaged")
    return head


def _bytes(descriptor: int, head: Head, start: int, count: int) -> bytes:
    """``count`` bytes of the stream from offset ``start`` on; fewer when the file is shorter than it says."""
    at = start % head.capacity
    first = os.pread(descriptor, min(count, head.capacity - at), wire.DATA + at)
    if at + count <= head.capacity:
        return first
    return first + os.pread(descriptor, count - len(first), wire.DATA)
