"""Getting rid of trees that may have been written by hostile code."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from sandlot.bases.descent import FOLDER, Descent
from sandlot.errors import StateUnwritable
from sandlot.paths import Paths

__all__ = ["move_to_trash", "remove_beneath", "remove_tree"]

_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove whatever is at ``path``: a tree of any depth and size, or a single file; nothing there is fine.

    Follows no symlink, does not cross into another file system, and opens up folders that their owner may not enter
    (the work folder of an overlay is mode 000). Raises StateUnwritable when something cannot be removed.
    """
    try:
        parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove(os.fsencode(path.name), parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StateUnwritable(f"cannot remove {path}: {error.strerror}") from error
    finally:
        os.close(parent)


def remove_beneath(folder: int, name: bytes) -> None:
    """Remove what has this name in a folder (a descriptor), as ``remove_tree`` does. Raises OSError."""
    _remove(name, folder)


def move_to_trash(path: Path, paths: Paths) -> Path | None:
    """Rename ``path`` into the trash; returns where it is now, or None when there was nothing.

    Raises StateUnwritable.
    """
    target = paths.trash / os.urandom(12).hex()
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            # A folder moves to another parent only when its owner may write it (its ".." changes).
            parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.close(_open_writable(os.fsencode(path.name), parent))
            finally:
                os.close(parent)
        os.rename(path, target)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateUnwritable(f"cannot move {path} to the trash: {error.strerror}") from error
    return target


class _Removal(Descent):
    """A descent that makes each folder it enters readable and writable for us."""

    def open(self, name: bytes) -> int:
        return _open_writable(name, self.fd)


def _open_writable(name: bytes, parent: int) -> int:
    try:
        fd = os.open(name, FOLDER, dir_fd=parent)
    except PermissionError:
        handle = os.open(name, _HANDLE, dir_fd=parent)
        try:  # through /proc the mode of exactly this folder changes, not of what a swapped-in symlink names
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
            fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            os.close(handle)
    try:
        if os.fstat(fd).st_mode & 0o700 != 0o700:
            os.fchmod(fd, 0o700)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove(name: bytes, parent: int) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    top = _open_writable(name, parent)
    try:
        device = os.fstat(top).st_dev
        with _Removal(top) as place:
            pending = [_unlink_files(place.fd)]
            while True:
                if pending[-1]:
                    try:
                        place.enter(pending[-1][-1])
                    except FileNotFoundError:  # others may be removing it, too
                        pending[-1].pop()
                        continue
                    if os.fstat(place.fd).st_dev != device:
                        raise OSError(errno.EXDEV, "something is mounted in it")
                    pending.append(_unlink_files(place.fd))
                    continue
                pending.pop()
                if not pending:
                    break
                place.up()
                try:
                    os.rmdir(pending[-1].pop(), dir_fd=place.fd)
                except FileNotFoundError:
                    pass
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _unlink_files(folder: int) -> list[bytes]:
    """Unlink everything in a folder that is no folder; returns the names of those that are."""
    folders = []
    with os.scandir(folder) as entries:
        # The whole list first: reading on while unlinking may skip entries.
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                folders.append(os.fsencode(entry.name))
                continue
            try:
                os.unlink(entry.name, dir_fd=folder)
            except FileNotFoundError:
                pass
    return folders
