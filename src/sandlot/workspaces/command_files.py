"""The files of one command: what it prints, how it ended, and whether it still runs.

All of them are opened by the host and written by the supervisor inside; the command itself never sees them. The
description of ``exit`` carries a lock: the kernel drops it with the last process that has it open, so a command whose
lock can be taken has ended, or will never start, whoever was killed meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sandlot.errors import StateUnwritable, WorkspaceNotFound
from sandlot.wire import frames, messages
from sandlot.workspaces import ring

if TYPE_CHECKING:
    from sandlot.workspaces.redaction import Redactor

__all__ = ["CommandFiles", "exit_record", "held", "replay", "stretch"]

PIECE = 1 << 18
"""Most bytes a sink is handed at once."""
_NAMES = ("stdout", "stderr", "exit")


class CommandFiles:
    """stdout, stderr and exit of a command that is about to start."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        """For the supervisor, in the order of the names above."""

    def __enter__(self) -> CommandFiles:
        return self

    def __exit__(self, *_: object) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def make(self, folder: Path) -> None:
        """Make them in the folder of the command. Raises StateUnwritable, and WorkspaceNotFound when it was deleted."""
        try:
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:  # its number was given out before, and whoever had it was killed before it counted
                from sandlot.bases.trees import remove_tree

                remove_tree(folder)
                folder.mkdir(mode=0o700)
            for name in _NAMES:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                self.descriptors.append(os.open(folder / name, flags, 0o600))
            fcntl.flock(self.descriptors[-1], fcntl.LOCK_EX)
        except FileNotFoundError as error:
            raise WorkspaceNotFound("the workspace was deleted before the command started") from error
        except OSError as error:
            raise StateUnwritable(f"cannot write {folder}: {error.strerror}") from error


def held(folder: Path) -> bool:
    """Whether a command runs or is about to: its caller or its supervisor has it."""
    try:
        descriptor = os.open(folder / "exit", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def exit_record(folder: Path) -> messages.Exited | None:
    """How the command ended, as its supervisor wrote it down before it let go of the lock; None: nobody did."""
    with contextlib.suppress(OSError, ValueError, frames.FrameError), open(folder / "exit", "rb") as file:
        found = frames.Decoder().feed(file.read(4096))
        return messages.Exited.parse(found[0][2]) if found else None
    return None


def stretch(file: BinaryIO, start: int, end: int, redactor: Redactor | None) -> bytes:
    """Bytes of an open file from ``start`` to ``end``; a value of which they hold only a part is blanked out too."""
    if redactor is not None:
        return redactor.window(file, start, end)
    file.seek(start)
    return file.read(end - start)


def replay(
    folder: Path,
    name: str,
    sink: Callable[[str, bytes], None],
    *,
    offset: int = 0,
    limit: int | None = None,
    redactor: Redactor | None = None,
) -> tuple[int, int]:
    """Hand one stored stream, or a part of it, to a sink: (the offset behind it, the size of all).

    Of a shell only the end is kept: an offset before that begins there.
    """
    if name == "stdout" and (folder / ring.NAME).exists():
        return _replay_ring(folder, sink, offset, limit, redactor)
    try:
        with open(folder / name, "rb", buffering=0) as file:
            file.seek(offset)
            end = offset
            while limit is None or end - offset < limit:
                size = PIECE if limit is None else min(PIECE, limit - (end - offset))
                data = stretch(file, end, end + size, redactor)
                if not data:
                    break
                end += len(data)
                sink(name, data)
            return end, file.seek(0, os.SEEK_END)
    except FileNotFoundError:
        return offset, 0


def _replay_ring(
    folder: Path, sink: Callable[[str, bytes], None], offset: int, limit: int | None, redactor: Redactor | None
) -> tuple[int, int]:
    end, left = offset, ring.KEPT if limit is None else limit
    while True:
        piece = ring.read(folder, end, min(PIECE, left), redactor)
        if piece.data:
            sink("stdout", piece.data)
        end, left = max(end, piece.end), left - len(piece.data)
        if not piece.data or not left:
            return end, piece.total
