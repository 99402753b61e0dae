"""Bringing later changes of the host into a live workspace, all of them or none.

The host's present state becomes a base like any other. What differs between the workspace's baseline and that base is
sent in; a file that the workspace itself has changed meanwhile is a conflict. Then the new base is the baseline: what
was pushed is no change of the agent's, and a reset goes to the newer state.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import BinaryIO

from sandlot.bases.layer import area_layers
from sandlot.bases.progress import Report
from sandlot.bases.source import Source
from sandlot.bases.view import Entry, View
from sandlot.errors import FileRefused, StateUnwritable
from sandlot.guest.tools import parcel
from sandlot.model.base import Base, OriginKind
from sandlot.model.workspace import WorkspaceRecord
from sandlot.workspaces import difference, tools
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import is_running, launch, locked
from sandlot.workspaces.present import WORKSPACE, present

__all__ = ["Pushed", "push"]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Pushed:
    """What arrived in the workspace."""

    base: Base
    written: int
    """Files and symlinks."""
    deleted: int


def push(context: Context, key: str, source: Source, *, force: bool = False, progress: Report | None = None) -> Pushed:
    """Push what has changed on the host since the workspace was made or last synced.

    Raises SyncConflict, naming every file that was changed on both sides, unless ``force``; nothing was pushed then.
    """
    with context.bases.in_use(), locked(context, key) as record:
        base = context.bases.obtain(source, progress)
        if not is_running(context, record):
            record = launch(context, record)
        written, deleted = _send(context, record, base, force=force)
        origin = record.origin
        if origin.kind in (OriginKind.GIT, OriginKind.FOLDER, OriginKind.ARCHIVE):
            origin = base.origin
        # Until this is saved the pushed files count as changes; pushing again finds them in place and only saves.
        context.store.save(replace(record, baseline=base.layers, origin=origin))
        context.store.touch(record.id)
        context.store.add_event(record.id, "sync", f"{written} written, {deleted} deleted, from {source.location}")
        return Pushed(base, written, deleted)


def _send(context: Context, record: WorkspaceRecord, base: Base, *, force: bool) -> tuple[int, int]:
    old = area_layers(context.paths, record.baseline, "workspace")
    new = area_layers(context.paths, base.layers, "workspace")
    changed = [os.fsencode(change.path) for change in difference.changed_paths(old, new)]
    with View(old) as before, View(new) as after:
        with present(context, record, WORKSPACE, locked=True) as storage, View(storage.stack("workspace")) as now:
            wanted = [path for path in changed if not _same(after, now, path)]
        if not wanted:
            return 0, 0
        try:
            with tempfile.TemporaryFile(dir=context.paths.workspace(record.id).patches) as file:
                _pack(file, before, after, wanted)
                file.seek(0)
                answer = tools.feed(context, record, "receive", [tools.flag(force)], file)
        except OSError as error:
            raise StateUnwritable(f"cannot prepare the sync: {error.strerror}") from error
    files, symlinks, _ = answer.number(), answer.number(), answer.number()
    return files + symlinks, answer.number()


def _same(left: View, right: View, path: bytes) -> bool:
    """Whether both show the same thing at ``path``, times aside."""
    one, other = left.lookup(path), right.lookup(path)
    if one is None or other is None:
        return one is other
    if stat.S_IFMT(one.info.st_mode) != stat.S_IFMT(other.info.st_mode):
        return False
    if one.is_symlink:
        return left.readlink(one) == right.readlink(other)
    if not one.is_file:
        return one.is_folder
    executable = (one.info.st_mode ^ other.info.st_mode) & 0o100
    return not executable and one.info.st_size == other.info.st_size and _digest(left, one) == _digest(right, other)


def _digest(view: View, entry: Entry) -> bytes:
    """SHA-256 in hex of a file's content or a symlink's target."""
    if entry.is_symlink:
        return hashlib.sha256(view.readlink(entry)).hexdigest().encode()
    with open(view.open(entry), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode()


def _pack(file: BinaryIO, before: View, after: View, paths: list[bytes]) -> None:
    """Write the parcel: what is expected, what goes, what comes."""
    for path in paths:
        file.write(_expectation(before, path))
    gone = [path for path in paths if after.lookup(path) is None]
    for path in sorted({*gone, *_vanished_folders(after, gone)}, key=lambda path: (-path.count(b"/"), path)):
        file.write(parcel.delete(path))
    coming = [path for path in paths if after.lookup(path) is not None]
    for path in sorted(set(_parents(coming))):
        entry = after.lookup(path)
        if entry is not None and before.lookup(path) is None:
            file.write(parcel.folder(path, stat.S_IMODE(entry.info.st_mode), entry.info.st_mtime_ns))
    for path in coming:
        _pack_one(file, after, path)
    file.write(parcel.end())


def _expectation(before: View, path: bytes) -> bytes:
    entry = before.lookup(path)
    if entry is None:
        return parcel.expect(path, b"")
    if entry.is_folder:
        return parcel.expect(path, b"d")
    kind = b"l" if entry.is_symlink else b"f"
    return parcel.expect(path, kind, entry.info.st_size if entry.is_file else 0, _digest(before, entry))


def _parents(paths: Iterable[bytes]) -> Iterable[bytes]:
    for path in paths:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            yield path


def _vanished_folders(after: View, gone: list[bytes]) -> list[bytes]:
    return [path for path in set(_parents(gone)) if after.lookup(path) is None]


def _pack_one(file: BinaryIO, after: View, path: bytes) -> None:
    entry = after.lookup(path)
    if entry is None:
        return
    if entry.is_symlink:
        file.write(parcel.symlink(path, entry.info.st_mtime_ns, after.readlink(entry)))
        return
    if not entry.is_file:
        raise FileRefused(f"cannot push {os.fsdecode(path)!r}: not a file or symlink")
    size = entry.info.st_size
    file.write(parcel.file(path, stat.S_IMODE(entry.info.st_mode), entry.info.st_mtime_ns, size))
    with open(after.open(entry), "rb") as content:
        while data := content.read(_CHUNK):
            file.write(data)
