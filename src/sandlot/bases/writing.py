"""Writing a scanned tree, or the part of it that changed, into a new layer."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sandlot.bases import manifest
from sandlot.bases.content import ReadFailed, Truncated, copy_hashed
from sandlot.bases.descent import Descent, tree_order
from sandlot.bases.manifest import Rows
from sandlot.bases.progress import Progress
from sandlot.bases.scan import Found, shown
from sandlot.errors import SeedUnreadable

__all__ = ["TreeWriter", "WhiteoutRefused", "link_beneath"]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 2


class WhiteoutRefused(Exception):
    """This kernel or file system lets us make no whiteouts (an ordinary user may since Linux 5.8)."""


class TreeWriter:
    """Copies entries of the source folder ``root`` (open as ``source``) into the empty folder open as ``target``.

    What is written is ours: setuid, setgid and sticky bits and extended attributes stay behind, names of one file
    stay one file, everything else is as in the source.
    """

    def __init__(self, root: Path, source: int, target: int, progress: Progress) -> None:
        self.rows: Rows = {}
        """What was written."""
        self.written = 0
        """Bytes of content written."""
        self.drifted: set[bytes] = set()
        """Paths that changed between scan and copy: what is in the layer is newer than the scan says."""
        self._root = root
        self._target_root = target
        self._source = Descent(source)
        self._target = Descent(target)
        self._folders: list[Found] = []
        self._names: dict[tuple[int, int], bytes] = {}
        self._progress = progress

    def close(self) -> None:
        """Release the descriptors."""
        for place in (self._source, self._target):
            os.close(place.fd)

    def write(self, entries: Sequence[Found], gone: Sequence[bytes] = ()) -> None:
        """Write entries, in tree order from the root on and each after the folder it is in, and whiteouts for ``gone``.

        Raises SeedUnreadable for what the source cannot give, OSError for what the target cannot take.
        """
        items: list[tuple[bytes, Found | None]] = [(found.path, found) for found in entries]
        if gone:
            items += [(path, None) for path in gone]
            items.sort(key=lambda item: tree_order(item[0]))
        for number, (path, found) in enumerate(items):
            self._progress("copying files", number, len(items))
            above, _, name = path.rpartition(b"/")
            while path and self._folders[-1].path != above:
                self._leave()
            if found is None:
                try:
                    os.mknod(name, stat.S_IFCHR | 0o600, 0, dir_fd=self._target.fd)
                except OSError as error:
                    raise WhiteoutRefused from error
            elif stat.S_ISDIR(found.info.st_mode):
                self._enter(found, name)
            elif stat.S_ISLNK(found.info.st_mode):
                self._symlink(found, name)
            else:
                self._file(found, name)
        while self._folders:
            self._leave()

    def _enter(self, found: Found, name: bytes) -> None:
        if found.path:
            try:
                self._source.enter(name)
            except OSError as error:
                raise self._unreadable(found, error) from error
            os.mkdir(name, 0o700, dir_fd=self._target.fd)
            self._target.enter(name)
        self._folders.append(found)
        self.rows[found.path] = manifest.folder_row(found.info.st_mode, found.info.st_mtime_ns)

    def _leave(self) -> None:
        """Leave the innermost folder and give it its own mode and times, now that nothing more is put into it."""
        found = self._folders.pop()
        if found.path:
            self._source.up()
            fd = self._target.leave()
        else:
            fd = os.dup(self._target.fd)
        try:
            os.fchmod(fd, found.info.st_mode & 0o777)
            os.utime(fd, ns=(found.info.st_mtime_ns, found.info.st_mtime_ns))
        finally:
            os.close(fd)

    def _symlink(self, found: Found, name: bytes) -> None:
        mtime = found.info.st_mtime_ns
        os.symlink(found.target, name, dir_fd=self._target.fd)
        os.utime(name, ns=(mtime, mtime), dir_fd=self._target.fd, follow_symlinks=False)
        self.rows[found.path] = manifest.symlink_row(mtime, found.target)

    def _file(self, found: Found, name: bytes) -> None:
        if found.info.st_nlink > 1:
            identity = (found.info.st_dev, found.info.st_ino)
            leader = self._names.setdefault(identity, found.path)
            if leader != found.path:
                link_beneath(self._target_root, leader, self._target.fd, name)
                self.rows[found.path] = manifest.link_row(leader)
                return
        for attempt in range(1, _ATTEMPTS + 1):
            info, digest, written = self._copy(found, name)
            if digest is not None:
                break
            os.unlink(name, dir_fd=self._target.fd)
            if attempt == _ATTEMPTS:
                raise SeedUnreadable(f"{shown(self._root, found.path)} changed while it was read", hint=_AGAIN)
        assert digest is not None  # noqa: S101 - the loop ends with one or raises
        if Found(found.path, info).stamp != found.stamp:
            self.drifted.add(found.path)
        self.written += written
        self.rows[found.path] = manifest.file_row(info.st_mode, info.st_size, info.st_mtime_ns, digest)

    def _copy(self, found: Found, name: bytes) -> tuple[os.stat_result, bytes | None, int]:
        """One attempt to copy a file: its state, its hash or None when it changed meanwhile, bytes written."""
        try:
            source = os.open(name, _READ, dir_fd=self._source.fd)
        except OSError as error:
            raise self._unreadable(found, error) from error
        try:
            info = os.fstat(source)
            if not stat.S_ISREG(info.st_mode):
                raise SeedUnreadable(f"{shown(self._root, found.path)} changed while it was read", hint=_AGAIN)
            target = os.open(name, _CREATE, 0o600, dir_fd=self._target.fd)
            try:
                try:
                    digest, written = copy_hashed(source, info.st_size, target)
                except Truncated:
                    return info, None, 0
                except ReadFailed as error:
                    raise self._unreadable(found, error.cause) from error.cause
                after = os.fstat(source)
                if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != (
                    info.st_size,
                    info.st_mtime_ns,
                    info.st_ctime_ns,
                ):
                    return info, None, 0
                os.fchmod(target, info.st_mode & 0o777)
                os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))
            finally:
                os.close(target)
        finally:
            os.close(source)
        return info, digest, written

    def _unreadable(self, found: Found, error: OSError) -> SeedUnreadable:
        where = shown(self._root, found.path)
        if isinstance(error, FileNotFoundError):
            return SeedUnreadable(f"{where} vanished while it was read", hint=_AGAIN)
        return SeedUnreadable(f"cannot read {where}: {error.strerror}", hint="make it readable, or seed another folder")


_AGAIN = "try again when nothing writes there"


def link_beneath(root: int, leader: bytes, folder: int, name: bytes) -> None:
    """Give the file at ``leader`` below ``root`` the further name ``name`` in ``folder``. All of it is our own tree."""
    parts = leader.split(b"/")
    with Descent(root) as place:  # a path of any length, other than the kernel's 4,096 bytes
        place.goto(parts[:-1])
        os.link(parts[-1], name, src_dir_fd=place.fd, dst_dir_fd=folder, follow_symlinks=False)
