"""Layers between the store and a guest, as the streams of wire/layers.py.

``send`` reads a layer that hostile code may have written; ``receive`` writes one that a hostile guest sends.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sandlot.bases.beneath import FOLDER_FLAGS, open_file
from sandlot.bases.trees import remove_tree
from sandlot.bases.view import OPAQUE
from sandlot.errors import FileRefused, ProtocolError, StateUnwritable
from sandlot.guest.packing import Packing
from sandlot.guest.unpacking import LayerError, Reader, Unpacking

__all__ = ["Received", "receive", "send"]

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Received = Unpacking


class _Sending(Packing):
    """Reads what an ordinary user's own workspace made unreadable, by lending it permissions for the moment."""

    def __init__(self, write: Callable[[bytes | bytearray], object]) -> None:
        super().__init__(write, opaque=OPAQUE)
        self._lent: list[tuple[int, int]] = []

    def open_folder(self, parent: int, name: bytes) -> tuple[int, os.stat_result]:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if os.geteuid() == 0 or info.st_mode & 0o500 == 0o500 or not stat.S_ISDIR(info.st_mode):
            return super().open_folder(parent, name)
        pin = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            own = f"/proc/self/fd/{pin}"
            info = os.fstat(pin)
            os.chmod(own, stat.S_IMODE(info.st_mode) | 0o500)
            folder = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            os.close(pin)
        self._lent.append((info.st_ino, stat.S_IMODE(info.st_mode)))
        return folder, info

    def left_folder(self, folder: int) -> None:
        if self._lent and self._lent[-1][0] == os.fstat(folder).st_ino:
            os.fchmod(folder, self._lent.pop()[1])

    def open_file(self, parent: int, name: bytes) -> int:
        return open_file(parent, name)


def send(folder: Path, write: Callable[[bytes | bytearray], object]) -> None:
    """Send one layer folder. Raises FileRefused when it cannot be read, and what ``write`` raises."""
    top = -1
    try:
        top = os.open(folder, FOLDER_FLAGS)
        _Sending(write).run(top)
    except ConnectionError:
        raise
    except OSError as error:
        raise FileRefused(f"cannot read {folder}: {error.strerror}") from error
    finally:
        if top >= 0:
            os.close(top)


def receive(reader: Reader, folder: Path, *, most_bytes: int, most_entries: int) -> Received:
    """Write what comes into the new folder ``folder``, which is not there after an error.

    All of it is the caller's, in a folder of the state that nobody else may enter (a file may be setuid, as in the
    upper of any workspace). Raises ProtocolError for what is no layer or too large, StateUnwritable when there is
    no room, FileRefused for what cannot be made here.
    """
    links = folder.with_name(folder.name + ".links")
    try:
        os.mkdir(folder, 0o700)
        os.mkdir(links, 0o700)
        target = os.open(folder, FOLDER_FLAGS)
        scratch = os.open(links, FOLDER_FLAGS)
    except OSError as error:
        raise StateUnwritable(f"cannot make {folder}: {error.strerror}") from error
    try:
        unpacking = Unpacking(reader, target, scratch, opaque=OPAQUE, most_bytes=most_bytes, most_entries=most_entries)
        unpacking.run()
    except BaseException as error:
        remove_tree(folder)
        if isinstance(error, LayerError):
            raise ProtocolError(f"the workspace's files could not be fetched: {error}") from error
        if isinstance(error, TimeoutError | ConnectionError) or not isinstance(error, OSError):
            raise
        if error.errno in _NO_ROOM:
            raise StateUnwritable(f"cannot fetch the workspace's files: {error.strerror}") from error
        raise FileRefused(f"cannot fetch the workspace's files: {error.strerror}") from error
    finally:
        os.close(target)
        os.close(scratch)
        remove_tree(links)
    return unpacking
