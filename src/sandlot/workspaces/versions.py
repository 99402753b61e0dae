"""What a path holds on the two sides of a comparison, as git would store it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sandlot.bases.view import Entry, View
from sandlot.workspaces.candidates import Pair

__all__ = ["EXECUTABLE", "REGULAR", "SYMLINK", "Version", "opened", "same_content"]

REGULAR: Final = "100644"
EXECUTABLE: Final = "100755"
SYMLINK: Final = "120000"

_IN_MEMORY: Final = 256 * 1024
_CHUNK: Final = 1024 * 1024
_VANISHED: Final = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP, errno.ESTALE)


@dataclass(frozen=True, slots=True)
class Version:
    """One side of a path, readable while it is ``opened``: small content is in ``data``, other is behind ``fd``."""

    mode: str
    size: int
    data: bytes | None
    fd: int
    inode: tuple[int, int]

    def chunks(self) -> Iterator[bytes]:
        """The content: exactly ``size`` bytes, whatever happens to the file meanwhile."""
        if self.data is not None:
            yield self.data
            return
        at = 0
        while at < self.size:
            data = os.pread(self.fd, min(_CHUNK, self.size - at), at)
            if not data:  # it shrank
                data = bytes(min(_CHUNK, self.size - at))
            yield data
            at += len(data)

    def lines(self, most: int) -> int:
        """How many line ends there are; counting stops soon after ``most``."""
        count = 0
        for chunk in self.chunks():
            count += chunk.count(b"\n")
            if count > most:
                break
        return count


@contextmanager
def opened(old: View, new: View, pair: Pair) -> Iterator[tuple[Version | None, Version | None]]:
    """Both sides of a pair. What is no file or symlink, or has vanished, is None, as if it were not there."""
    before = _open(old, pair.old)
    after = None
    try:
        after = _open(new, pair.new)
        yield before, after
    finally:
        for version in (before, after):
            if version is not None and version.fd >= 0:
                os.close(version.fd)


def _open(view: View, entry: Entry | None) -> Version | None:
    if entry is None or not (entry.is_file or entry.is_symlink):
        return None
    try:
        if entry.is_symlink:
            target = view.readlink(entry)
            return Version(SYMLINK, len(target), target, -1, (0, 0))
        fd = view.open(entry)
    except OSError as error:
        if error.errno in _VANISHED:
            return None
        raise
    keep = False
    try:
        info = os.fstat(fd)
        mode = EXECUTABLE if info.st_mode & stat.S_IXUSR else REGULAR
        inode = (info.st_dev, info.st_ino)
        if info.st_size <= _IN_MEMORY:
            data = os.read(fd, info.st_size)
            return Version(mode, len(data), data, -1, inode)
        keep = True
        return Version(mode, info.st_size, None, fd, inode)
    finally:
        if not keep:
            os.close(fd)


def same_content(before: Version, after: Version) -> bool:
    """Whether both hold the same bytes; times and inode numbers prove nothing, except that one file equals itself."""
    if before.size != after.size:
        return False
    if before.data is not None and after.data is not None:
        return before.data == after.data
    if before.fd < 0 or after.fd < 0:
        return False
    if before.inode == after.inode:
        return True
    at = 0
    while at < before.size:
        at = min(_next_data(before.fd, at, before.size), _next_data(after.fd, at, after.size))
        length = min(_CHUNK, before.size - at)
        if length > 0 and os.pread(before.fd, length, at) != os.pread(after.fd, length, at):
            return False
        at += length
    return True


def _next_data(fd: int, at: int, size: int) -> int:
    """Where the next data is, so that the holes of a terabyte file take no time."""
    try:
        return min(os.lseek(fd, at, os.SEEK_DATA), size)
    except OSError as error:
        return size if error.errno == errno.ENXIO else at
