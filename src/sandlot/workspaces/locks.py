"""Locks between processes: flock, which the kernel drops with its holder, so no pid can be mistaken for another."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sandlot.errors import StateUnwritable, WorkspaceBusy, WorkspaceNotFound

__all__ = ["exclusive", "renewed", "try_exclusive"]

WAIT_S = 60.0


@contextlib.contextmanager
def exclusive(path: Path, what: str, *, wait_s: float = WAIT_S) -> Iterator[int]:
    """Hold the lock ``path``, whose descriptor this yields, alone.

    Raises WorkspaceBusy, calling it ``what``, when others hold it for too long.
    """
    end = time.monotonic() + wait_s
    while True:
        descriptor = _open(path)
        try:
            _wait(descriptor, end, what)
            if _in_place(descriptor, path):
                yield descriptor
                return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def renewed(path: Path, what: str, renew: Callable[[], None], *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock together with others, after ``renew`` was called while nobody else held it.

    So what ``renew`` makes is as it is now, and stays in place while anybody looks at it. Raises WorkspaceBusy.
    """
    with exclusive(path, what, wait_s=wait_s) as descriptor:
        renew()
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # others may renew it once more in between: that is as good
        yield


def _wait(descriptor: int, end: float, what: str) -> None:
    pause = 0.0005
    while not _take(descriptor):
        if time.monotonic() > end:
            raise WorkspaceBusy(f"{what} is being changed by another process", hint="try again")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


@contextlib.contextmanager
def try_exclusive(path: Path) -> Iterator[bool]:
    """Hold the lock if nobody else does; yields whether it is held."""
    descriptor = _open(path)
    try:
        yield _take(descriptor) and _in_place(descriptor, path)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise WorkspaceNotFound("the workspace was deleted") from error
        raise StateUnwritable(f"cannot lock {path}: {error.strerror}") from error


def _in_place(descriptor: int, path: Path) -> bool:
    """Whether what we locked still has that path: its folder may have gone to the trash while we waited."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
