"""Copy files, links and folders of a tree we do not trust into a new tree of our own, as they are."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Final

from sandlot.bases.beneath import Folders, open_file
from sandlot.bases.view import OPAQUE

__all__ = ["Copying", "copy_content", "copy_range", "write_all"]

_READ_AT_ONCE: Final = 128 * 1024
_CHUNK: Final = 1024 * 1024
_COPY_AT_ONCE: Final = 1 << 30
_FICLONE: Final = 0x40049409
"""Share the blocks of a file, where the file system can (ioctl_ficlone(2))."""
_CANNOT: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.EBADF)
_no_reflink: set[tuple[int, int]] = set()


def write_all(target: int, data: bytes) -> None:
    """Write every byte; a short write is one that ran out of space or met a signal."""
    done = os.write(target, data)
    while done < len(data):
        done += os.write(target, memoryview(data)[done:])


def copy_range(source: int, target: int, start: int, end: int, to: int | None = None) -> int:
    """Copy bytes ``start`` to ``end`` of a file to the same place, or to offset ``to``; returns how many there were."""
    at = start
    shift = 0 if to is None else to - start
    in_kernel = True
    while at < end:
        if in_kernel:
            try:
                count = os.copy_file_range(source, target, min(end - at, _COPY_AT_ONCE), at, at + shift)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                in_kernel = False
                continue
        else:
            data = os.pread(source, min(end - at, _CHUNK), at)
            count = len(data)
            done = 0
            while done < count:
                done += os.pwrite(target, memoryview(data)[done:], at + shift + done)
        if count == 0:  # the file is shorter than it was
            break
        at += count
    return at - start


def copy_content(source: int, target: int, info: os.stat_result) -> int:
    """Fill the new, empty file ``target``; blocks are shared where they can be, and holes stay holes.

    ``info`` is of ``source``; no more than its size is copied, however the file grows. Returns bytes of data, holes
    not counted.
    """
    size = info.st_size
    holes = info.st_blocks * 512 < size
    if size <= _READ_AT_ONCE and not holes:
        data = os.read(source, size)
        if data:
            write_all(target, data)
        return len(data)
    if _share_blocks(source, target, info):
        return min(size, info.st_blocks * 512)
    if not holes:
        return copy_range(source, target, 0, size)
    os.ftruncate(target, size)
    at = copied = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
            end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                break
            raise
        if start >= size:
            break
        copied += copy_range(source, target, start, end)
        at = end
    return copied


def _share_blocks(source: int, target: int, info: os.stat_result) -> bool:
    pair = (info.st_dev, os.fstat(target).st_dev)
    if pair in _no_reflink:
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
        os.ftruncate(target, info.st_size)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        _no_reflink.add(pair)
        return False
    return True


def _copy_attributes(source: int, target: int) -> None:
    """The file's own ``user.*`` attributes; never overlayfs's, which would change what the copy means."""
    try:
        names = os.listxattr(source)
    except OSError:
        return
    for name in names:
        if name.startswith("user.") and not name.startswith("user.overlay."):
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSPC):
                    raise


class Copying:
    """A new tree being filled, parents first; ``finish`` sets the folders' modes and times and must come last.

    Kept are modes, mtimes, symlinks, hard links among what is copied, holes, FIFOs and whiteouts, and ``user.*``
    attributes. Sockets and devices are skipped: ``add`` says so.
    """

    def __init__(self, target: int, *, permissions: int = 0o7777, plain: bool = False) -> None:
        """``target``: descriptor of an empty folder, taken over. ``permissions`` masks modes. ``plain`` leaves out
        what only a layer may hold: FIFOs, whiteouts and extended attributes."""
        self._out = Folders([target])
        self._permissions = permissions
        self._plain = plain
        self._links: dict[tuple[int, int], bytes] = {}
        self._folders: list[tuple[bytes, os.stat_result]] = []
        self.files = 0
        """Regular files and symlinks copied."""
        self.bytes = 0
        """Their data, holes not counted."""

    def __enter__(self) -> Copying:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def folder(self, path: bytes) -> int:
        """The descriptor of a folder of the new tree, valid until the next call."""
        fd = self._out.get(0, path)
        if fd < 0:
            raise OSError(errno.ESTALE, "the copy was changed while it was made", os.fsdecode(path))
        return fd

    def make(self, path: bytes) -> None:
        """Make a folder, parents included, that nothing else describes."""
        if self._out.make(0, path) < 0:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(path))

    def root(self, info: os.stat_result) -> None:
        """Let the new tree's root have this mode and mtime at the end."""
        self._folders.append((b"", info))

    def add(self, source: int, path: bytes, info: os.stat_result, name: bytes | None = None) -> bool:
        """Copy what ``info`` says is at ``path``; ``source`` is a descriptor of the folder that holds it there.

        ``name`` is what it is called there, if not as in ``path``. Answers False for what is skipped.
        """
        parent, _, last = path.rpartition(b"/")
        name = last if name is None else name
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(last, 0o700, dir_fd=self.folder(parent))
            self._folders.append((path, info))
        elif kind == stat.S_IFREG:
            self._file(source, name, path, info)
        elif kind == stat.S_IFLNK:
            target = os.readlink(name, dir_fd=source)
            out = self.folder(parent)
            os.symlink(target, last, dir_fd=out)
            os.utime(last, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=out, follow_symlinks=False)
            self.files += 1
        elif self._plain:
            return False
        elif kind == stat.S_IFIFO:
            out = self.folder(parent)
            os.mkfifo(last, 0o600, dir_fd=out)
            os.chmod(last, stat.S_IMODE(info.st_mode) & self._permissions, dir_fd=out)
            os.utime(last, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=out, follow_symlinks=False)
        elif kind == stat.S_IFCHR and info.st_rdev == 0:
            os.mknod(last, stat.S_IFCHR, 0, dir_fd=self.folder(parent))
        else:
            return False
        return True

    def describe(self, source: int, path: bytes, *, opaque: bool = False) -> None:
        """Give the folder at ``path`` the ``user.*`` attributes of the folder ``source`` (a descriptor)."""
        fd = self.folder(path)
        _copy_attributes(source, fd)
        if opaque:
            os.setxattr(fd, OPAQUE, b"y")

    def _file(self, source: int, name: bytes, path: bytes, info: os.stat_result) -> None:
        parent, _, last = path.rpartition(b"/")
        if info.st_nlink > 1:
            first = self._links.setdefault((info.st_dev, info.st_ino), path)
            if first != path:
                self._link(first, path)
                self.files += 1
                return
        reading = open_file(source, name)
        try:
            info = os.fstat(reading)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            writing = os.open(last, flags, 0o600, dir_fd=self.folder(parent))
            try:
                self.bytes += copy_content(reading, writing, info)
                if not self._plain:
                    _copy_attributes(reading, writing)
                os.fchmod(writing, stat.S_IMODE(info.st_mode) & self._permissions)
                os.utime(writing, ns=(info.st_atime_ns, info.st_mtime_ns))
            finally:
                os.close(writing)
        finally:
            os.close(reading)
        self.files += 1

    def _link(self, first: bytes, path: bytes) -> None:
        there, _, old = first.rpartition(b"/")
        here, _, new = path.rpartition(b"/")
        source = os.dup(self.folder(there))
        try:
            os.link(old, new, src_dir_fd=source, dst_dir_fd=self.folder(here), follow_symlinks=False)
        finally:
            os.close(source)

    def finish(self) -> None:
        """Give the folders their modes and times, the deepest first, so that none changes afterwards."""
        while self._folders:
            path, info = self._folders.pop()
            fd = self.folder(path)
            os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
            os.fchmod(fd, stat.S_IMODE(info.st_mode) & self._permissions)
