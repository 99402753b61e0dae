"""A merged, read-only look at a stack of layers from the host, without mounting it.

A layer folder is in overlayfs's on-disk format (kernel.org, Documentation/filesystems/overlayfs.rst, as mounted with
``userxattr``): a whiteout is a character device 0/0, an opaque folder carries ``user.overlay.opaque`` = ``y``.

Layers may have been written by hostile code, and the highest may be changing. Everything is reached through
``beneath.Folders``, so a symlink in a parent can never lead out of the layer; and only regular files are ever opened.
What changes meanwhile is seen as it was or as it is, or is missing.
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

from sandlot.bases.beneath import BLOCKED, FOLDER_FLAGS, Folders, open_file

__all__ = ["OPAQUE", "Entry", "View", "is_opaque", "is_whiteout"]

OPAQUE: Final = "user.overlay.opaque"
_KNOWN_FOLDERS: Final = 4096


def is_whiteout(info: os.stat_result) -> bool:
    """Whether this is overlayfs's mark for "deleted here"."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_opaque(folder: int) -> bool:
    """Whether a layer's folder (a descriptor) hides what lower layers have at its place."""
    try:
        return os.getxattr(folder, OPAQUE) == b"y"
    except OSError:  # not set, or a file system without extended attributes
        return False


@dataclass(frozen=True, slots=True)
class Entry:
    """What a path is in the merged tree, and which layer (index, 0 is the lowest) shows it."""

    path: bytes
    info: os.stat_result
    layer: int

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.info.st_mode)


@dataclass(frozen=True, slots=True)
class _Merged:
    """A merged folder: the layers that show through, highest first (none: not a folder)."""

    layers: tuple[int, ...]
    sealed: bool
    """Whether an opaque folder, or a file or whiteout of a lower layer, keeps out whatever lies beneath."""


_NOT_A_FOLDER: Final = _Merged((), False)


class View:
    """The merged tree of ``layers``, lowest first. Use as a context manager: it holds descriptors.

    Paths are bytes relative to the root, ``b""`` being the root itself; components are never ``.``, ``..`` or empty.
    A view ``alongside`` another shares its descriptors and must be closed before it.
    """

    def __init__(self, layers: Sequence[Path], *, alongside: View | None = None) -> None:
        self.layers = tuple(layers)
        self._owner = alongside is None
        self._folders: Folders = Folders([]) if alongside is None else alongside._folders
        self._slot_of: dict[Path, int] = {} if alongside is None else alongside._slot_of
        try:
            for layer in self.layers:
                if layer not in self._slot_of:
                    self._slot_of[layer] = self._folders.add(os.open(layer, FOLDER_FLAGS))
        except BaseException:
            self.close()
            raise
        self._slots = [self._slot_of[layer] for layer in self.layers]
        self._root = _Merged(tuple(range(len(self.layers) - 1, -1, -1)), False)
        self._known: dict[bytes, _Merged] = {b"": self._root}

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the descriptors."""
        if self._owner:
            self._folders.close()

    def folder(self, layer: int, path: bytes) -> int:
        """The descriptor of one layer's folder, valid until the view is used again.

        Raises FileNotFoundError when that layer has no folder there.
        """
        fd = self._folders.get(self._slots[layer], path)
        if fd < 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path))
        return fd

    @contextmanager
    def open_folder(self, layer: int, path: bytes) -> Iterator[int]:
        """A descriptor of one layer's folder that stays valid throughout the block."""
        fd = os.dup(self.folder(layer, path))
        try:
            yield fd
        finally:
            os.close(fd)

    def in_layer(self, layer: int, path: bytes) -> os.stat_result | None:
        """What one layer by itself holds at ``path``: a whiteout counts, a path below none does not exist."""
        parent, _, name = path.rpartition(b"/")
        fd = self._folders.get(self._slots[layer], parent)
        if fd < 0:
            return None
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False) if name else os.fstat(fd)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
                return None
            raise

    def opaque(self, layer: int, path: bytes) -> bool:
        """Whether one layer's folder hides what lower layers have at ``path``."""
        fd = self._folders.get(self._slots[layer], path)
        return fd >= 0 and is_opaque(fd)

    def parts(self, path: bytes) -> tuple[int, ...]:
        """The layers that show through in a merged folder, highest first; none when it is not a folder."""
        return self._merged(path).layers

    def sealed(self, path: bytes) -> bool:
        """Whether a merged folder would hide whatever another layer below this stack had at ``path``."""
        return self._merged(path).sealed

    def _merged(self, path: bytes) -> _Merged:
        known = self._known.get(path)
        if known is not None:
            return known
        missing = []
        at = path
        while (known := self._known.get(at)) is None:
            missing.append(at)
            at = at.rpartition(b"/")[0]
        for at in reversed(missing):
            if not known.layers:  # nothing is below what is no folder; going on would cost the depth squared
                break
            known = self._descend(known, at)
            self._learn(at, known)
        self._learn(path, known)
        return known

    def _learn(self, path: bytes, merged: _Merged) -> None:
        if len(self._known) >= _KNOWN_FOLDERS:
            self._known = {b"": self._root}
        self._known[path] = merged

    def _descend(self, parent: _Merged, path: bytes) -> _Merged:
        """The merged folder at ``path``, given the merged folder that holds it."""
        layers: list[int] = []
        sealed = False
        for layer in parent.layers:
            fd = self._folders.get(self._slots[layer], path)
            if fd == BLOCKED:
                sealed = bool(layers)
                break
            if fd < 0:
                continue
            layers.append(layer)
            if is_opaque(fd):
                sealed = True
                break
        return _Merged(tuple(layers), sealed) if layers else _NOT_A_FOLDER

    def lookup(self, path: bytes) -> Entry | None:
        """What the merged tree shows at ``path``, or None."""
        for layer in self._merged(path.rpartition(b"/")[0]).layers:
            info = self.in_layer(layer, path)
            if info is not None:
                return None if is_whiteout(info) else Entry(path, info, layer)
        return None

    def names(self, path: bytes, layers: Sequence[int] | None = None) -> list[tuple[bytes, int]]:
        """(name, highest layer that has it) in a merged folder, sorted, whiteouts included.

        ``layers``, highest first, narrows it to what these say about the folder.
        """
        found: dict[bytes, int] = {}
        for layer in self.parts(path) if layers is None else layers:
            fd = self._folders.get(self._slots[layer], path)
            if fd < 0:
                continue
            for name in os.listdir(fd):
                found.setdefault(os.fsencode(name), layer)
        return sorted(found.items())

    def _entries(self, path: bytes) -> Iterator[Entry]:
        prefix = path + b"/" if path else b""
        for name, layer in self.names(path):
            child = prefix + name
            info = self.in_layer(layer, child)
            if info is not None and not is_whiteout(info):
                yield Entry(child, info, layer)

    def children(self, path: bytes = b"") -> list[bytes]:
        """Names in a merged folder, sorted; empty when it is not a folder."""
        return [entry.path.rpartition(b"/")[2] for entry in self._entries(path)]

    def walk(self, path: bytes = b"", *, skip: frozenset[bytes] = frozenset()) -> Iterator[Entry]:
        """Every entry below ``path``, parents first, without those whose name is in ``skip``."""
        pending = [path]
        while pending:
            for entry in self._entries(pending.pop()):
                if skip and entry.path.rpartition(b"/")[2] in skip:
                    continue
                if entry.is_folder:
                    pending.append(entry.path)
                yield entry

    def open(self, entry: Entry) -> int:
        """A read-only descriptor of a regular file; the caller closes it. Raises as ``beneath.open_file`` does."""
        parent, _, name = entry.path.rpartition(b"/")
        return open_file(self.folder(entry.layer, parent), name)

    def readlink(self, entry: Entry) -> bytes:
        """The target of a symlink. Raises FileNotFoundError when it is gone, OSError when it is no symlink any more."""
        parent, _, name = entry.path.rpartition(b"/")
        return os.readlink(name, dir_fd=self.folder(entry.layer, parent))
