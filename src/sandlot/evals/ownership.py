"""Whether the process that a trial's workspace belongs to is alive: it holds a lock, and the kernel drops locks.

A process id would not do. Containers that share a state folder count processes from 1 each, so one would take the
other's living work for a dead process's, and delete it. flock is seen from everywhere that sees the file, and by
nobody once its holder is gone. What cannot be known counts as alive: a workspace too many costs disk, and goes by
itself after the retention time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandlot.errors import StateUnwritable

__all__ = ["abandoned", "left_behind", "owning"]

_NAME = re.compile(r"owner-[0-9a-f]{16}")
_TRIES = 10


@contextmanager
def owning(folder: Path) -> Iterator[str]:
    """A new owner's name, alive until the end of the block or of this process. Raises StateUnwritable.

    Its file stays behind: only ``abandoned``, once nothing of it is left, removes it.
    """
    name, held = _new(folder)
    try:
        yield name
    finally:
        os.close(held)


def _new(folder: Path) -> tuple[str, int]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            name = f"owner-{os.urandom(8).hex()}"
            path = folder / f"{name}.lock"
            held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(held, fcntl.LOCK_EX)
            if os.path.lexists(path):  # else somebody swept it between those two calls
                return name, held
            os.close(held)
    except OSError as error:
        raise StateUnwritable(f"cannot lock in {folder}: {error.strerror}") from error
    raise StateUnwritable(f"cannot lock in {folder}: files disappear as soon as they are made")


@contextmanager
def abandoned(folder: Path, name: str) -> Iterator[bool]:
    """Whether the owner is certainly dead; if so, nobody else is told the same within the block.

    When the block ends well, the owner's file is removed: by then nothing of it is left.
    """
    held = _taken(folder / f"{name}.lock") if _NAME.fullmatch(name) else None
    if held is None:
        yield False
        return
    try:
        yield True
        with contextlib.suppress(OSError):
            os.unlink(folder / f"{name}.lock")
    finally:
        os.close(held)


def _taken(path: Path) -> int | None:
    try:
        held = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is held, or this file system has no locks
        os.close(held)
        return None
    return held


def left_behind(folder: Path) -> list[str]:
    """Names of all owners that have a file, alive or dead."""
    try:
        names = [entry.removesuffix(".lock") for entry in os.listdir(folder)]
    except OSError:
        return []
    return [name for name in names if _NAME.fullmatch(name)]
