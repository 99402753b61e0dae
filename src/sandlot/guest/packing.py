"""Sending a layer folder as a stream (see wire/layers.py), while hostile code may be changing it.

Everything is reached by descriptor, one component at a time, and only regular files are opened. What vanishes
meanwhile is left out; a folder that is moved while we are in it ends the walk (ESTALE).
"""

from __future__ import annotations

import errno
import os
import stat

from sandlot.guest.unpacking import CHUNK, FOLDER
from sandlot.wire import layers as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SMALL = 128 * 1024
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV)
"""What opening says when something else is there than a moment ago."""
_UNREADABLE = (errno.EOPNOTSUPP, errno.ENODATA, errno.ERANGE)


class Packing:
    """Writes one stream. ``run`` may be called once."""

    def __init__(self, write: Callable[[bytes | bytearray], object], *, opaque: str) -> None:
        """``write`` takes all it is given. ``opaque``: the attribute by which overlayfs knows an opaque folder."""
        self._write = write
        self._opaque = opaque
        self._buffer = bytearray(wire.MAGIC)
        self._shared: dict[tuple[int, int], int] = {}
        self.entries = 0
        self.bytes = 0
        """Of content; holes are not counted."""

    def run(self, top: int) -> None:
        """Send the folder that ``top`` is open on. Raises OSError; then BROKEN was sent."""
        try:
            self._walk(top)
        except OSError as error:
            reason = os.fsencode(error.strerror or "unreadable")[: wire.MAX_TEXT]
            self._buffer += wire.HEAD.pack(wire.BROKEN, 0, 0, 0, 0, len(reason)) + reason
            self._flush()
            raise
        self._buffer += wire.HEAD.pack(wire.END, 0, 0, 0, 0, 0)
        self._flush()

    def _walk(self, top: int) -> None:
        folder = os.open(".", FOLDER, dir_fd=top)
        device = os.fstat(folder).st_dev
        above: list[tuple[int, int]] = []
        try:
            pending = [self._folder(folder, b"", os.fstat(folder))]
            while True:
                if pending[-1]:
                    name = pending[-1].pop()
                    try:
                        deeper, info = self.open_folder(folder, name)
                    except OSError as error:
                        if error.errno in _GONE:
                            continue
                        raise
                    here = os.fstat(folder)
                    above.append((here.st_dev, here.st_ino))
                    os.close(folder)
                    folder = deeper
                    # Nothing may be mounted there; if something is, it is none of ours to send.
                    pending.append(self._folder(folder, name, info) if info.st_dev == device else [])
                    continue
                pending.pop()
                if not above or os.fstat(folder).st_dev == device:
                    self._buffer += wire.HEAD.pack(wire.UP, 0, 0, 0, 0, 0)
                if not above:
                    return
                folder = self._up(folder, above.pop())
        finally:
            os.close(folder)

    def _up(self, folder: int, expected: tuple[int, int]) -> int:
        parent = os.open("..", FOLDER, dir_fd=folder)
        info = os.fstat(parent)
        if (info.st_dev, info.st_ino) != expected:
            os.close(parent)
            raise OSError(errno.ESTALE, "a folder was moved while it was read")
        self.left_folder(folder)
        os.close(folder)
        return parent

    def open_folder(self, parent: int, name: bytes) -> tuple[int, os.stat_result]:
        """A descriptor of a folder, and how it is. For subclasses that have to open up what is closed to them."""
        folder = os.open(name, FOLDER, dir_fd=parent)
        return folder, os.fstat(folder)

    def left_folder(self, folder: int) -> None:
        """Called before the descriptor of a folder that ``open_folder`` gave is closed on the way up."""

    def open_file(self, parent: int, name: bytes) -> int:
        """A descriptor to read what should be a regular file."""
        return os.open(name, _READ, dir_fd=parent)

    def _flush(self) -> None:
        data, self._buffer = self._buffer, bytearray()
        self._write(data)

    def _head(self, kind: int, name: bytes, info: os.stat_result, flags: int = 0, number: int = 0) -> None:
        self.entries += 1
        mtime = min(max(info.st_mtime_ns, -(1 << 63)), (1 << 63) - 1)
        self._buffer += wire.HEAD.pack(kind, flags, info.st_mode & 0o7777, len(name), mtime, number)
        self._buffer += name
        if len(self._buffer) >= CHUNK:
            self._flush()

    def _folder(self, folder: int, name: bytes, info: os.stat_result) -> list[bytes]:
        """Send a folder and what it holds other than folders; returns the names of those."""
        attributes = _attributes(folder)
        opaque = bool(name) and attributes.get(self._opaque) == b"y"
        own = {key: value for key, value in attributes.items() if _travels(key)}
        self._head(wire.FOLDER, name, info, (wire.OPAQUE if opaque else 0) | (wire.ATTRIBUTES if own else 0))
        self._values(own)
        folders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                child = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(child)
                    continue
                try:
                    self._entry(folder, child)
                except OSError as error:
                    if error.errno not in _GONE:
                        raise
        return folders

    def _entry(self, folder: int, name: bytes) -> None:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFREG:
            self._file(folder, name)
        elif kind == stat.S_IFLNK:
            target = os.readlink(name, dir_fd=folder)
            self._head(wire.SYMLINK, name, info, 0, len(target))
            self._buffer += target
        elif kind == stat.S_IFIFO:
            self._head(wire.FIFO, name, info)
        elif kind == stat.S_IFCHR and info.st_rdev == 0:
            self._buffer += wire.HEAD.pack(wire.WHITEOUT, 0, 0, len(name), 0, 0) + name
            self.entries += 1
        elif kind != stat.S_IFDIR:  # one that was swapped in just now is for the next walk
            self._head(wire.SKIPPED, name, info)

    def _file(self, folder: int, name: bytes) -> None:
        file = self.open_file(folder, name)
        try:
            info = os.fstat(file)
            if not stat.S_ISREG(info.st_mode):
                return  # swapped just now
            flags = 0
            if info.st_nlink > 1:
                identity = (info.st_dev, info.st_ino)
                known = self._shared.get(identity)
                if known is not None:
                    self._head(wire.AGAIN, name, info, 0, known)
                    return
                self._shared[identity] = len(self._shared)
                flags = wire.SHARED
            own = {key: value for key, value in _attributes(file).items() if _travels(key)}
            self._head(wire.FILE, name, info, flags | (wire.ATTRIBUTES if own else 0))
            self._values(own)
            self._content(file, info)
        finally:
            os.close(file)

    def _content(self, file: int, info: os.stat_result) -> None:
        size = info.st_size
        if size <= _SMALL and info.st_blocks * 512 >= size:
            data = os.read(file, size) if size else b""
            self._data(data)
        elif info.st_blocks * 512 >= size:
            self._stretch(file, 0, size)
        else:
            self._sparse(file, size)
        self._buffer += wire.PIECE.pack(0)

    def _data(self, data: bytes) -> None:
        if data:
            self.bytes += len(data)
            self._buffer += wire.PIECE.pack(len(data))
            self._buffer += data
            if len(self._buffer) >= CHUNK:
                self._flush()

    def _stretch(self, file: int, at: int, end: int) -> int:
        """Send what is data; returns where that ended (sooner when the file has become shorter)."""
        while at < end:
            data = os.pread(file, min(CHUNK, end - at), at)
            if not data:
                break
            self._data(data)
            at += len(data)
        return at

    def _sparse(self, file: int, size: int) -> None:
        at = 0
        while at < size:
            try:
                start = min(os.lseek(file, at, os.SEEK_DATA), size)
                end = min(os.lseek(file, start, os.SEEK_HOLE), size) if start < size else size
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                start = end = size  # nothing but a hole up to the end
            if start > at:
                self._buffer += wire.PIECE.pack(wire.HOLE | (start - at))
            at = self._stretch(file, start, end)
            if at < end:
                return

    def _values(self, attributes: dict[str, bytes]) -> None:
        if not attributes:
            return
        for key, value in attributes.items():
            name = os.fsencode(key)
            self._buffer += wire.VALUE.pack(len(name), len(value)) + name + value
        self._buffer += wire.VALUE.pack(0, 0)


def _travels(name: str) -> bool:
    return name.startswith("user.") and not name.startswith("user.overlay.")


def _attributes(descriptor: int) -> dict[str, bytes]:
    found = {}
    try:
        for name in os.listxattr(descriptor):
            try:
                found[name] = os.getxattr(descriptor, name)
            except OSError as error:
                if error.errno not in _UNREADABLE:
                    raise
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
    return found
