"""file_read: a range of bytes or lines of a file of any size."""

from __future__ import annotations

import os
import stat

from sandlot.guest.tools import ToolError, bulk
from sandlot.guest.tools.arguments import Arguments, Naming, display
from sandlot.guest.tools.tree import locate, open_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandlot.guest.tools import Emit

FAR = 2**62
LINE_CHUNK = 64 * 1024


def open_regular(folder: int | None, name: bytes, shown: bytes, flags: int = 0) -> tuple[int, os.stat_result]:
    """Open a regular file for reading; anything else is refused without being opened (ToolError). Raises OSError."""
    info = os.stat(name, dir_fd=folder, follow_symlinks=not flags & os.O_NOFOLLOW)
    if stat.S_ISREG(info.st_mode):
        # O_NONBLOCK: should it have become a FIFO since, open returns at once and the second look refuses it.
        file = open_path(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | flags, folder)
        info = os.fstat(file)
        if stat.S_ISREG(info.st_mode):
            return file, info
        os.close(file)
    raise ToolError("file_refused", f"{display(shown)} is {kind_of(info.st_mode)}, not a regular file")


def kind_of(mode: int) -> str:
    """The type of a file in words."""
    for test, words in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a symlink"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    ):
        if test(mode):
            return words
    return "a device"


def file_read(args: list[bytes], descriptor: int, _emit: Emit) -> list[bytes]:
    """Send part of a file through ``bulk``; symlinks are followed.

    Arguments: root; path; unit, ``bytes`` or ``lines``; start (bytes: offset from 0; lines: number from 1); count
    (how many; 0: to the end); limit (most bytes to send; 0: no limit; a line may be cut by it).

    Items: none.

    Result: file size; offset of the first byte sent; bytes sent; lines in the file, or -1 when the end was not reached
    or the unit is bytes; first line sent and last line sent (0 and 0 for bytes; last = first - 1 when there was none);
    eof (1: nothing follows what was sent); mtime in ns; permission bits in octal. A last line without a newline counts.
    """
    fields = Arguments(args)
    root = fields.path("root")
    path = fields.path("path")
    unit = fields.choice("unit", (b"bytes", b"lines"))
    start = fields.number("start", 0 if unit == b"bytes" else 1, FAR)
    count = fields.number("count", 0, FAR) or FAR
    limit = fields.number("limit", 0, FAR) or FAR
    bulk.need(descriptor)
    with Naming(path):
        folder, name = locate(root, path)
        try:
            file, info = open_regular(folder, name, path)
        finally:
            os.close(folder)
        try:
            if unit == b"bytes":
                sent, eof = _send_bytes(file, descriptor, start, min(count, limit))
                where = (start, sent, -1, 0, 0, eof)
            else:
                where = _send_lines(file, descriptor, start, count, limit)
        finally:
            os.close(file)
    numbers = [info.st_size, *where, info.st_mtime_ns]
    return [*(b"%d" % number for number in numbers), b"%04o" % stat.S_IMODE(info.st_mode)]


def _send_bytes(file: int, descriptor: int, start: int, count: int) -> tuple[int, bool]:
    """Send ``count`` bytes; (bytes sent, whether the end was reached). The size is not trusted: /proc reports 0."""
    sent = 0
    while sent < count:
        chunk = os.pread(file, min(bulk.CHUNK, count - sent), start + sent)
        if not chunk:
            return sent, True
        bulk.send(descriptor, chunk)
        sent += len(chunk)
    return sent, not os.pread(file, 1, start + sent)


def _send_lines(file: int, descriptor: int, start: int, count: int, limit: int) -> tuple[int, int, int, int, int, bool]:
    """Send lines; (offset, bytes sent, total lines or -1, first line, last line, eof)."""
    offset, skipped, partial = _skip_lines(file, start - 1)
    if skipped < start - 1:
        return offset, 0, skipped + partial, start, start - 1, True
    first = offset
    sent = newlines = 0
    open_line = False
    while newlines < count and sent < limit:
        chunk = os.pread(file, min(LINE_CHUNK, limit - sent), first + sent)
        if not chunk:
            break
        end = _after_lines(chunk, count - newlines)
        if end < len(chunk):
            chunk = chunk[:end]
        newlines += chunk.count(b"\n")
        open_line = not chunk.endswith(b"\n")
        bulk.send(descriptor, chunk)
        sent += len(chunk)
    last = start - 1 + newlines + open_line
    eof = not os.pread(file, 1, first + sent)
    return first, sent, last if eof else -1, start, last, eof


def _skip_lines(file: int, lines: int) -> tuple[int, int, bool]:
    """Find where line ``lines`` + 1 begins: (offset, lines skipped, whether an unfinished line precedes the end)."""
    offset = skipped = 0
    partial = False
    while skipped < lines:
        chunk = os.pread(file, bulk.CHUNK, offset)
        if not chunk:
            break
        end = _after_lines(chunk, lines - skipped)
        skipped += chunk.count(b"\n", 0, end)
        partial = chunk[end - 1 : end] != b"\n"
        offset += end
        if partial and not chunk.strip(b"\0"):
            offset = _after_hole(file, offset)
    return offset, skipped, partial


def _after_hole(file: int, offset: int) -> int:
    """Where data begins at or after ``offset``: a hole holds no newline, however large it is."""
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError:
        return max(offset, os.fstat(file).st_size)  # ENXIO: only a hole is left


def _after_lines(chunk: bytes, lines: int) -> int:
    """The offset just after ``lines`` newlines, or the chunk's end when it has fewer."""
    if chunk.count(b"\n") <= lines:
        return len(chunk) if chunk.count(b"\n") < lines else chunk.rfind(b"\n") + 1
    low, high = 0, len(chunk)  # the smallest end that has this many newlines before it
    while low < high:
        middle = (low + high) // 2
        if chunk.count(b"\n", 0, middle) < lines:
            low = middle + 1
        else:
            high = middle
    return low
