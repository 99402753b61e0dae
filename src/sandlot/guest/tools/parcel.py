"""What the host sends to ``receive``: a stream of records, written by one side and read by the other.

A record is a frame (wire.frames) with request id 0; a file's record is followed by its content. In this order:
expectations, deletions, then folders (before what is in them), files and symlinks, then END::

    EXPECT   path; kind: f, d, l, or empty when nothing may be there; size (f); SHA-256 in hex of the content (f) or
             target (l), or empty when any will do
    DELETE   path                               a folder is removed only when it is empty by then
    FOLDER   path; mode in octal; mtime in ns
    FILE     path; mode in octal; mtime in ns; size, followed by that many bytes
    SYMLINK  path; mtime in ns; target
    END

Paths are bytes relative to the root, without ``.``, ``..`` or empty components. The functions return a record's bytes.
"""

from __future__ import annotations

from sandlot.guest.tools import ToolError
from sandlot.guest.tools.bulk import CHUNK
from sandlot.guest.tools.bulk import receive as receive_bytes
from sandlot.wire.frames import HEADER, FrameError, decode_fields, decode_header, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

EXPECT, DELETE, FOLDER, FILE, SYMLINK, END = 1, 2, 3, 4, 5, 6


def expect(path: bytes, kind: bytes, size: int = 0, sha256: bytes = b"") -> bytes:
    """What must be at a path before anything is changed."""
    return encode(EXPECT, 0, [path, kind, b"%d" % size, sha256])


def delete(path: bytes) -> bytes:
    """A path that is to go."""
    return encode(DELETE, 0, [path])


def folder(path: bytes, mode: int, mtime_ns: int) -> bytes:
    """A folder that is to exist with this mode and mtime."""
    return encode(FOLDER, 0, [path, b"%o" % mode, b"%d" % mtime_ns])


def file(path: bytes, mode: int, mtime_ns: int, size: int) -> bytes:
    """A file; exactly ``size`` bytes of content follow."""
    return encode(FILE, 0, [path, b"%o" % mode, b"%d" % mtime_ns, b"%d" % size])


def symlink(path: bytes, mtime_ns: int, target: bytes) -> bytes:
    """A symlink."""
    return encode(SYMLINK, 0, [path, b"%d" % mtime_ns, target])


def end() -> bytes:
    """The last record; without it the stream was cut short."""
    return encode(END, 0, [])


class Inbox:
    """Reads the records from a descriptor. Raises ToolError (invalid_argument) for a stream that is not one."""

    def __init__(self, bulk: int) -> None:
        self._bulk = bulk
        self._buffer = b""

    def records(self) -> Iterator[tuple[int, list[bytes]]]:
        """(type, fields) of each record up to END; a file's content must be taken before the next one is asked for."""
        while True:
            try:
                kind, _, length = decode_header(self._exactly(HEADER.size))
                fields = decode_fields(self._exactly(length))
            except FrameError as error:
                raise ToolError("invalid_argument", f"the parcel is malformed: {error}") from None
            if kind == END:
                return
            yield kind, fields

    def content(self, size: int) -> Iterator[bytes]:
        """The next ``size`` bytes, in pieces."""
        while size:
            piece = self._buffer[:size] or receive_bytes(self._bulk, min(CHUNK, size))
            if not piece:
                raise ToolError("invalid_argument", "the parcel was cut short")
            self._buffer = self._buffer[len(piece) :]
            size -= len(piece)
            yield piece

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = receive_bytes(self._bulk, CHUNK)
            if not more:
                raise ToolError("invalid_argument", "the parcel was cut short")
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken
