"""Write a merged tree as a tar stream, holes included (PAX format, GNU's sparse 1.0 for files with holes)."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from contextlib import suppress
from typing import IO, Final

from sandlot.bases.view import Entry, View

__all__ = ["ArchiveWriter"]

_BLOCK: Final = 512
_HOLES_FROM: Final = 1024 * 1024
"""Holes smaller than this altogether are written as zeros, which every unpacker understands."""
_MOST_PIECES: Final = 100_000
_TYPES: Final = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE}


class ArchiveWriter:
    """A tar archive being written to a descriptor, which it takes over."""

    def __init__(self, file: int, *, compressed: bool) -> None:
        self._file: IO[bytes] = os.fdopen(file, "wb")
        self._links: dict[tuple[int, int], bytes] = {}
        self.files = 0
        """Regular files and symlinks written."""
        self.bytes = 0
        """Their data, holes not counted."""
        try:
            self._tar = tarfile.open(  # noqa: SIM115 - closed by finish and __exit__
                fileobj=self._file,
                mode="w|gz" if compressed else "w|",
                format=tarfile.PAX_FORMAT,
                encoding="utf-8",
                errors="surrogateescape",
                bufsize=1 << 18,
            )
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        # finish() has reported what could not be written; after another failure nobody wants the rest.
        with suppress(OSError):
            self._tar.close()
        with suppress(OSError):
            self._file.close()

    def finish(self) -> None:
        """Write the end of the archive."""
        self._tar.close()
        self._file.flush()

    def add(self, view: View, entry: Entry, name: bytes) -> None:
        """Write one file, folder or symlink under ``name``. One that vanished meanwhile is left out."""
        member = tarfile.TarInfo(os.fsdecode(name))
        member.mode = stat.S_IMODE(entry.info.st_mode) & 0o777
        member.mtime = entry.info.st_mtime_ns // 10**9
        member.type = _TYPES.get(stat.S_IFMT(entry.info.st_mode), tarfile.REGTYPE)
        try:
            if entry.is_symlink:
                member.linkname = os.fsdecode(view.readlink(entry))
            elif entry.is_file:
                self._add_file(view, entry, member)
                return
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):
                return
            raise
        self._tar.addfile(member)
        self.files += entry.is_symlink

    def _add_file(self, view: View, entry: Entry, member: tarfile.TarInfo) -> None:
        first = self._links.get((entry.info.st_dev, entry.info.st_ino))
        if first is not None:
            member.type = tarfile.LNKTYPE
            member.linkname = os.fsdecode(first)
            self._tar.addfile(member)
            self.files += 1
            return
        fd = view.open(entry)
        try:
            info = os.fstat(fd)
            if info.st_nlink > 1:
                self._links[info.st_dev, info.st_ino] = os.fsencode(member.name)
            pieces = _pieces(fd, info)
            data = sum(end - start for start, end in pieces)
            head = b""
            if info.st_size - data >= _HOLES_FROM:
                head = _sparse_map(member, pieces, info.st_size)
            else:
                pieces = [(0, info.st_size)]
                data = info.st_size
            member.size = len(head) + data
            self._tar.addfile(member, _Content(fd, head, pieces))
        finally:
            os.close(fd)
        self.files += 1
        self.bytes += data


def _pieces(fd: int, info: os.stat_result) -> list[tuple[int, int]]:
    """The stretches of a file that are data."""
    size = info.st_size
    if info.st_blocks * 512 >= size:
        return [(0, size)]
    pieces: list[tuple[int, int]] = []
    at = 0
    while at < size and len(pieces) < _MOST_PIECES:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return pieces
            raise
        if start >= size:
            return pieces
        pieces.append((start, end))
        at = end
    if at < size:  # too many holes to list: the rest counts as data
        pieces.append((at, size))
    return pieces


def _sparse_map(member: tarfile.TarInfo, pieces: list[tuple[int, int]], size: int) -> bytes:
    """Mark the member as sparse; returns the map its content starts with."""
    listed = [*pieces, (size, size)]  # the empty piece at the end says how long the file is
    numbers = [len(listed), *(number for start, end in listed for number in (start, end - start))]
    text = b"".join(b"%d\n" % number for number in numbers)
    parent, _, last = member.name.rpartition("/")
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": member.name,
        "GNU.sparse.realsize": str(size),
    }
    member.name = f"{parent}/GNUSparseFile.0/{last}" if parent else f"GNUSparseFile.0/{last}"
    return text + bytes(-len(text) % _BLOCK)


class _Content:
    """Exactly the announced bytes of a file, whatever happens to it meanwhile; read by tarfile."""

    def __init__(self, fd: int, head: bytes, pieces: list[tuple[int, int]]) -> None:
        self._fd = fd
        self._head = head
        self._pieces = pieces[::-1]

    def read(self, size: int = 1 << 16, /) -> bytes:
        parts: list[bytes] = []
        missing = size
        while missing > 0 and (self._head or self._pieces):
            part = self._next(missing)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _next(self, most: int) -> bytes:
        if self._head:
            part, self._head = self._head[:most], self._head[most:]
            return part
        start, end = self._pieces.pop()
        length = min(most, end - start)
        part = os.pread(self._fd, length, start) or bytes(length)  # it shrank: zeros stand for what is gone
        if start + len(part) < end:
            self._pieces.append((start + len(part), end))
        return part
