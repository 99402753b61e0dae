"""Folders and files below a root, reached one component at a time and never through a symlink.

Trees that hostile code writes, and may be writing right now, are only ever touched through this file: a component
swapped for a symlink ends the walk, a FIFO swapped in for a file cannot block it, and a path 4,000 folders deep needs
no more descriptors than a short one.

An ordinary user cannot look into what its own workspace made unreadable (``chmod 000``). Such a folder gets the
owner's permissions for as long as it is kept open here, a file for the moment it is opened; then the mode is put back.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

__all__ = ["ABSENT", "BLOCKED", "FOLDER_FLAGS", "Folders", "open_file"]

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PIN_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

ABSENT: Final = -1
"""What Folders.get answers when nothing has that name."""
BLOCKED: Final = -2
"""What Folders.get answers when something that is no folder is in the way."""
KEEP: Final = 128
"""Folders kept open at most; the usual limit of a process is 1,024 descriptors."""


class Folders:
    """Descriptors of folders below some roots, the most recently used ones kept open.

    A descriptor that ``get`` or ``make`` returned is valid until the next call of either; it is not the caller's to
    close. Paths are bytes relative to their root, without ``.``, ``..`` or empty components; ``b""`` is the root.
    """

    def __init__(self, roots: Sequence[int], *, keep: int = KEEP, borrow: bool = True) -> None:
        """Takes over the descriptors in ``roots``: ``close`` closes them. Modes are changed only if ``borrow``."""
        self._roots = list(roots)
        self._open: dict[tuple[int, bytes], int] = {}  # in order of use, the least recent first
        self._lent: dict[int, int] = {}  # descriptor -> mode to put back
        self._keep = max(2, keep)
        self._user = os.geteuid()
        self._borrow = borrow

    def add(self, root: int) -> int:
        """Take over one more root; returns its index."""
        self._roots.append(root)
        return len(self._roots) - 1

    def close(self) -> None:
        """Close everything and put back borrowed modes. May be called twice."""
        while self._open:
            self._release(self._open.popitem()[1])
        for root in self._roots:
            os.close(root)
        self._roots.clear()

    def get(self, root: int, path: bytes) -> int:
        """The descriptor of a folder, or ABSENT, or BLOCKED. Raises PermissionError for a folder of somebody else."""
        if not path:
            return self._roots[root]
        key = (root, path)
        fd = self._open.pop(key, ABSENT)
        if fd >= 0:
            self._open[key] = fd
            return fd
        fd, start = self._nearest(root, path)
        while start <= len(path):
            end = path.find(b"/", start)
            end = len(path) if end < 0 else end
            fd = self._enter(fd, path[start:end])
            if fd < 0:
                return fd
            self._remember((root, path[:end]), fd)
            start = end + 1
        return fd

    def make(self, root: int, path: bytes, mode: int = 0o700) -> int:
        """The descriptor of a folder that is made, parents included, where it is missing; or BLOCKED."""
        fd = self.get(root, path)
        if fd != ABSENT:
            return fd
        fd, start = self._nearest(root, path)
        while start <= len(path):
            end = path.find(b"/", start)
            end = len(path) if end < 0 else end
            name = path[start:end]
            try:
                os.mkdir(name, mode, dir_fd=fd)
            except FileExistsError:
                pass
            fd = self._enter(fd, name)
            if fd < 0:
                return BLOCKED
            self._remember((root, path[:end]), fd)
            start = end + 1
        return fd

    def forget(self, root: int, path: bytes) -> None:
        """Close a folder that is about to be removed or replaced, and those below it."""
        below = path + b"/"
        for key in [key for key in self._open if key[0] == root and (key[1] == path or key[1].startswith(below))]:
            self._release(self._open.pop(key))

    def _nearest(self, root: int, path: bytes) -> tuple[int, int]:
        """(descriptor of the nearest ancestor that is open, where the next component starts in ``path``)."""
        cut = len(path)
        while (cut := path.rfind(b"/", 0, cut)) >= 0:
            fd = self._open.get((root, path[:cut]))
            if fd is not None:
                return fd, cut + 1
        return self._roots[root], 0

    def _remember(self, key: tuple[int, bytes], fd: int) -> None:
        while len(self._open) >= self._keep:
            self._release(self._open.pop(next(iter(self._open))))
        self._open[key] = fd

    def _release(self, fd: int) -> None:
        mode = self._lent.pop(fd, None)
        try:
            if mode is not None:
                os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def _enter(self, parent: int, name: bytes) -> int:
        try:
            fd = os.open(name, FOLDER_FLAGS, dir_fd=parent)
        except PermissionError:
            if not self._borrow:
                raise
            return self._open_closed_folder(parent, name)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
                return ABSENT
            if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV):
                return BLOCKED
            raise
        if self._borrow and self._user != 0:
            # Readable is not enough: without the x bit nothing in it can be looked up.
            info = os.fstat(fd)
            if not info.st_mode & 0o100 and info.st_uid == self._user:
                self._lent[fd] = stat.S_IMODE(info.st_mode)
                os.fchmod(fd, stat.S_IMODE(info.st_mode) | 0o500)
        return fd

    def _open_closed_folder(self, parent: int, name: bytes) -> int:
        try:
            pin = os.open(name, _PIN_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            return ABSENT
        try:
            info = os.fstat(pin)
            if not stat.S_ISDIR(info.st_mode):
                return BLOCKED
            mode = _take_permission(pin, info, 0o500, name)
            try:
                fd = os.open(f"/proc/self/fd/{pin}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except BaseException:
                os.chmod(f"/proc/self/fd/{pin}", mode)
                raise
        finally:
            os.close(pin)
        self._lent[fd] = mode
        return fd


def _take_permission(pin: int, info: os.stat_result, bits: int, name: bytes) -> int:
    """Add permission bits to what ``pin`` (an O_PATH descriptor) stands on; returns the mode before."""
    if info.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(name))
    mode = stat.S_IMODE(info.st_mode)
    os.chmod(f"/proc/self/fd/{pin}", mode | bits)
    return mode


def open_file(parent: int, name: bytes) -> int:
    """A read-only descriptor of a regular file in the folder ``parent``; the caller closes it.

    O_NONBLOCK and the check afterwards keep a FIFO or device swapped in meanwhile from blocking us. Raises
    FileNotFoundError when it is gone, OSError with EINVAL when it is no regular file, PermissionError when it is
    somebody else's and closed to us.
    """
    try:
        fd = os.open(name, _FILE_FLAGS, dir_fd=parent)
    except PermissionError:
        fd = _open_closed_file(parent, name)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(name)) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(name))
    return fd


def _open_closed_file(parent: int, name: bytes) -> int:
    pin = os.open(name, _PIN_FLAGS, dir_fd=parent)
    try:
        info = os.fstat(pin)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(name))
        mode = _take_permission(pin, info, 0o400, name)
        try:
            return os.open(f"/proc/self/fd/{pin}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.chmod(f"/proc/self/fd/{pin}", mode)
    finally:
        os.close(pin)
