"""The difference of a workspace from one of its saved states, with the patch kept in its folder."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.layer import area_layers
from sandlot.errors import CommandInterrupted, UnsafePath, UsageError
from sandlot.model.changes import TreeChanges
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import PROJECT
from sandlot.workspaces import difference
from sandlot.workspaces.context import Context
from sandlot.workspaces.ignoring import ignored_additions
from sandlot.workspaces.lifecycle import touch
from sandlot.workspaces.present import WORKSPACE, present
from sandlot.workspaces.states import layers_of

__all__ = ["Compared", "compare", "inside", "saved_patch"]

KEEP_PATCHES_S = 3600.0
_HANDLE = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Compared:
    """The changes, and the file that holds the whole patch (the caller removes it when it is not needed)."""

    changes: TreeChanges
    patch: Path | None
    ignored: int = 0
    """New files left out because git ignores them."""


def inside(text: str) -> bytes:
    """A path below the workspace's project folder, relative to it. Raises UnsafePath."""
    path = os.path.normpath(os.path.join(PROJECT, text))
    if path == PROJECT:
        return b""
    if not path.startswith(PROJECT + "/") or "\0" in path:
        raise UnsafePath(f"{text!r} is not below {PROJECT}")
    return os.fsencode(path[len(PROJECT) + 1 :])


def compare(
    context: Context,
    record: WorkspaceRecord,
    state: str,
    *,
    paths: Sequence[str] = (),
    patch: bool = True,
    include_ignored: bool = False,
) -> Compared:
    """Compare the present state with ``baseline`` or a snapshot. Counts as activity.

    New files that git ignores are left out and counted, unless ``include_ignored``.
    """
    own = context.paths.workspace(record.id)
    old = area_layers(context.paths, layers_of(record, state), "workspace")
    target = own.patches / os.urandom(8).hex() if patch else None
    wanted = [inside(path) for path in paths]
    try:
        if patch:
            _drop_old(own.patches)
        with present(context, record, WORKSPACE) as storage:
            new = storage.stack("workspace")
            out = frozenset() if include_ignored else ignored_additions(old, new, scratch=own.patches, paths=wanted)
            found = difference.compare(old, new, patch_to=target, scratch=own.patches, paths=wanted, leave_out=out)
    except FileNotFoundError as error:
        raise CommandInterrupted(f"workspace {record.label} was reset or deleted while it was compared") from error
    if context.store.find(record.id).generation != record.generation:  # what was read may be half in the trash
        raise CommandInterrupted(f"workspace {record.label} was reset while it was compared")
    touch(context, record)
    return Compared(found, target, len(out))


def saved_patch(context: Context, record: WorkspaceRecord, handle: str) -> Path:
    """The patch an earlier answer was cut from. Raises UsageError."""
    path = context.paths.workspace(record.id).patches / handle
    if not _HANDLE.fullmatch(handle) or not path.is_file():
        raise UsageError(f"there is no patch with the handle {handle!r} (any more)", hint="sandlot workspace diff ID")
    return path


def _drop_old(folder: Path) -> None:
    limit = time.time() - KEEP_PATCHES_S
    for name in os.listdir(folder):
        if _HANDLE.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):  # another comparison was done with it
                if os.lstat(folder / name).st_mtime < limit:
                    os.unlink(folder / name)
