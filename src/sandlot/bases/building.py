"""Half-made things: a folder of one's own below ``building/``, and what tells a live one from one left by a crash.

A live build holds a flock on its folder. The kernel drops it with the process, however that ends, so a folder whose
lock can be taken is dead; no pid that may have been reused, or belongs to another pid namespace, is asked.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandlot.bases.descent import FOLDER
from sandlot.bases.trees import move_to_trash, remove_tree
from sandlot.errors import StateUnwritable
from sandlot.paths import Paths

__all__ = ["build_lock", "building_folder", "sweep_building", "unwritable", "write_file"]

_LOCKS = 64
_LOCK_PREFIX = "lock-"


@contextmanager
def building_folder(paths: Paths) -> Iterator[Path]:
    """A fresh folder below ``building/``, removed with all it still holds at the end."""
    while True:
        folder = paths.building / os.urandom(8).hex()
        folder.mkdir(mode=0o700)
        try:
            lock = os.open(folder, FOLDER)
        except FileNotFoundError:
            continue  # a sweep was faster than our lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(folder), os.fstat(lock)):
                break
        except (BlockingIOError, FileNotFoundError):
            pass  # the same
        os.close(lock)
    try:
        yield folder
    finally:
        try:
            remove_tree(folder)
        finally:
            os.close(lock)


@contextmanager
def build_lock(paths: Paths, key: str) -> Iterator[None]:
    """Held while a base of one source is built, so that many creates from it build once.

    ``key`` is hexadecimal. Two sources may share a lock; then they only wait for each other.
    """
    name = f"{_LOCK_PREFIX}{int(key[:8], 16) % _LOCKS}"
    fd = os.open(paths.building / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def sweep_building(paths: Paths) -> int:
    """Remove what crashed builds left; returns how many folders. Raises StateUnwritable."""
    swept = 0
    try:
        names = os.listdir(paths.building)
    except FileNotFoundError:
        return 0
    for name in names:
        if name.startswith(_LOCK_PREFIX):
            continue
        path = paths.building / name
        try:
            fd = os.open(path, FOLDER)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                raise
            remove_tree(path)  # nothing of ours makes such a thing here
            swept += 1
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            trash = move_to_trash(path, paths)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
        if trash is not None:
            remove_tree(trash)
            swept += 1
    return swept


def write_file(target: Path, data: bytes, via: Path, *, sync: bool = True) -> None:
    """Put a file in place in one step: written (and synced) below the folder ``via``, then renamed. Raises OSError."""
    draft = via / os.urandom(8).hex()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(fd)
    os.rename(draft, target)


@contextmanager
def unwritable(paths: Paths) -> Iterator[None]:
    """Turns an OSError of our own state folder into StateUnwritable."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no space left for the state folder {paths.state}"
            hint = "free some space (`sandlot base prune` may help), or point SANDLOT_STATE_DIR at a larger disk"
        else:
            message = f"cannot write the state folder {paths.state}: {error.strerror or error}"
            hint = "point SANDLOT_STATE_DIR at a folder you can write"
        raise StateUnwritable(message, hint=hint) from error
