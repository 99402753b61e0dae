"""Save what lies in a workspace's private tree: as a new layer, as fewer layers, or as a plain tree.

``capture`` copies an upper, ``merge`` folds layers into one, ``materialize`` writes out what a stack shows. All read
trees that hostile code wrote, and make a new folder that does not stay behind when they fail.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandlot.bases.beneath import FOLDER_FLAGS
from sandlot.bases.copying import Copying
from sandlot.bases.trees import remove_tree
from sandlot.bases.view import View, is_whiteout
from sandlot.errors import FileRefused, StateUnwritable

__all__ = ["Captured", "capture", "materialize", "merge"]

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Captured:
    """What was saved."""

    files: int
    """Regular files and symlinks."""
    bytes: int
    """Their data, holes not counted."""


def capture(upper: Path, target: Path) -> Captured:
    """Copy one layer folder, the upper of a frozen or stopped workspace, into the new layer folder ``target``.

    Kept are modes, mtimes, symlinks, hard links, holes, FIFOs, whiteouts, opaque marks and ``user.*`` attributes;
    sockets are skipped. Raises StateUnwritable when there is no room, FileRefused when something cannot be read.
    """
    return merge([upper], target)


def merge(layers: Sequence[Path], target: Path) -> Captured:
    """Fold layer folders, lowest first, into the new layer folder ``target``.

    Above whatever lies beneath, it shows the same tree as they do: whiteouts and opaque folders stay. Raises as
    ``capture`` does.
    """
    with _new_tree(target) as copy, View(layers) as view:
        _describe_root(view, copy)
        pending = [b""]
        while pending:
            folder = pending.pop()
            prefix = folder + b"/" if folder else b""
            bottom = view.sealed(folder)
            for name, layer in view.names(folder):
                path = prefix + name
                info = view.in_layer(layer, path)
                if info is None or (bottom and is_whiteout(info)):
                    continue
                _add(view, copy, layer, path, info, opaque=view.sealed(path))
                if stat.S_ISDIR(info.st_mode):
                    pending.append(path)
        copy.finish()
        return Captured(copy.files, copy.bytes)


def materialize(stack: Sequence[Path], target: Path) -> Captured:
    """Write the merged tree of ``stack`` into the new folder ``target``, for machines without overlayfs.

    Keeps what ``capture`` keeps, and shares blocks where the file system can. Raises as ``capture`` does.
    """
    with _new_tree(target) as copy, View(stack) as view:
        _describe_root(view, copy)
        for entry in view.walk():
            _add(view, copy, entry.layer, entry.path, entry.info, opaque=False)
        copy.finish()
        return Captured(copy.files, copy.bytes)


def _describe_root(view: View, copy: Copying) -> None:
    top = len(view.layers) - 1
    copy.root(os.fstat(view.folder(top, b"")))
    copy.describe(view.folder(top, b""), b"")


def _add(view: View, copy: Copying, layer: int, path: bytes, info: os.stat_result, *, opaque: bool) -> None:
    """Copy one path; one that vanished since it was listed is left out."""
    try:
        copy.add(view.folder(layer, path.rpartition(b"/")[0]), path, info)
        if stat.S_ISDIR(info.st_mode):
            copy.describe(view.folder(layer, path), path, opaque=opaque)
    except FileNotFoundError:
        pass


@contextmanager
def _new_tree(target: Path) -> Iterator[Copying]:
    """A copy into ``target``, which is made here and removed again when the block fails."""
    try:
        os.mkdir(target, 0o700)
    except OSError as error:
        raise StateUnwritable(f"cannot make {target}: {error.strerror}") from error
    try:
        with Copying(os.open(target, FOLDER_FLAGS)) as copy:
            yield copy
    except BaseException as error:
        remove_tree(target)
        if not isinstance(error, OSError):
            raise
        if error.errno in _NO_ROOM:
            raise StateUnwritable(f"cannot save the workspace's files: {error.strerror}") from error
        name = f"{os.fsdecode(error.filename)!r}" if error.filename else "a file of the workspace"
        raise FileRefused(f"cannot save {name}: {error.strerror}") from error
