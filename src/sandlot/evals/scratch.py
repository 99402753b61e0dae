"""Private folders on the host that nothing outlives: who is killed leaves them to the next who looks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandlot.errors import StateUnwritable

__all__ = ["staged", "sweep"]

_PREFIX = "sandlot-eval-tree-"
_TRIES = 10
_PATIENCE, _PAUSE_S = 40, 0.05


@contextmanager
def staged(below: Path | None = None) -> Iterator[Path]:
    """A new private folder, removed at the end. It is locked until then, so ``sweep`` knows what a kill has left.

    ``below``: make it there, so that what it holds can be moved into place by one rename.
    """
    folder, held = _made(below)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _made(below: Path | None) -> tuple[Path, int]:
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=f"{'.' if below else ''}{_PREFIX}", dir=below))
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # a file system without locks: nobody sweeps there either
            fcntl.flock(held, fcntl.LOCK_EX)
        if os.path.lexists(folder):  # else somebody swept it between making and locking
            return folder, held
        os.close(held)
    raise StateUnwritable(f"cannot make a folder in {below or tempfile.gettempdir()}: it disappears at once")


def sweep(below: Path | None = None) -> None:
    """Remove the folders of processes that are no more: those that nobody has locked.

    Not by process id, which means nothing in another container that shares the folder.
    """
    parent = below or Path(tempfile.gettempdir())
    prefix = f"{'.' if below else ''}{_PREFIX}"
    with contextlib.suppress(OSError):
        for name in [name for name in os.listdir(parent) if name.startswith(prefix)]:
            with contextlib.suppress(OSError):  # gone, locked, no folder, or on a file system without locks
                _sweep(parent / name)


def _sweep(folder: Path) -> None:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(held).st_uid == os.getuid():
            for _ in range(_PATIENCE):  # git that the dead process had started may be at work in it for a moment
                shutil.rmtree(folder, ignore_errors=True)
                if not os.path.lexists(folder):
                    break
                time.sleep(_PAUSE_S)
    finally:
        os.close(held)
