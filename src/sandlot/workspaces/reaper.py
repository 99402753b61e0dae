"""Finishing what killed processes left behind, and ending what is over.

``reconcile`` runs at the start of every use; with nothing to do it costs one query and loads little. ``repair`` does
the same and looks everywhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandlot import process
from sandlot.errors import StateCorrupt, StateUnwritable, WorkspaceFailure, WorkspaceNotFound
from sandlot.model.workspace import WorkspaceRecord
from sandlot.workspaces import locks
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import finish_reset, is_running, remove, stopped
from sandlot.workspaces.store import now

__all__ = ["Leftovers", "deadline", "empty_trash", "leftovers", "note_stopped", "reconcile", "repair"]

INLINE_ENTRIES = 64
"""A trash entry of up to this many files is removed on the spot; larger ones by a process in the background."""

_SWEEP = (
    "import pathlib, sys\n"
    "from sandlot.bases.trees import remove_tree\n"
    "for entry in pathlib.Path(sys.argv[1]).iterdir():\n"
    "    try: remove_tree(entry)\n"
    "    except Exception: pass\n"  # the next one, or `sandlot repair`, has better luck
)
TRASH_TRIES = 100
"""How often repair tries to remove what others are removing or writing at the same time, 10 ms apart."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a repair removed or finished, or (for doctor) would."""

    workspaces: int = 0
    """Workspaces whose creation or deletion was cut off, or whose one-shot owner is gone."""
    instances: int = 0
    """Process trees that a committed reset had replaced."""
    folders: int = 0
    """Half-made generations, layers and folders without a record."""
    layers: int = 0
    trash: int = 0
    rebuilt: int = 0
    """Records restored into a database that was lost."""
    expired: int = 0
    groups: int = 0
    """Control groups of starts that were cut off."""

    @property
    def total(self) -> int:
        found = self.workspaces + self.instances + self.folders + self.layers + self.trash + self.rebuilt
        return found + self.expired + self.groups


def deadline(record: WorkspaceRecord) -> tuple[str, str] | None:
    """(``stop`` or ``delete``, UTC time) of what happens to a workspace next if nobody uses it; None: nothing."""
    if record.instance is not None and record.stopped_at is None:
        seconds, since, what = record.lifetime.idle_timeout_s, record.active_at, "stop"
    else:
        seconds, since, what = record.lifetime.retention_s, max(record.stopped_at or "", record.active_at), "delete"
    if seconds is None:
        return None
    moment = datetime.fromisoformat(since) + timedelta(seconds=seconds)
    return what, moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _expired(record: WorkspaceRecord) -> bool:
    """Whether a stopped workspace has outlived its retention.

    The wall clock can jump; within one boot the time since boot cannot, so there it must agree.
    """
    due = deadline(record)
    if due is None or due[0] != "delete" or record.stopped_uptime is None or record.lifetime.retention_s is None:
        return False
    boot, uptime = record.stopped_uptime
    if boot == process.boot_id() and time.clock_gettime(time.CLOCK_BOOTTIME) - uptime < record.lifetime.retention_s:
        return False
    return datetime.now(UTC) >= datetime.fromisoformat(due[1])


def _owner_gone(record: WorkspaceRecord) -> bool:
    return record.owner is not None and not process.ProcessIdentity(*record.owner).alive()


def reconcile(context: Context) -> Leftovers:
    """The cheap look that every use begins with: one query, and a check of each recorded process."""
    process.reap()
    found = Leftovers()
    for record, _ in context.store.unfinished():
        found = replace(found, workspaces=found.workspaces + _drop(context, record))
    known = context.store.all()
    if not known:  # nobody has used it yet, or somebody has lost the database
        restored = _restore_missing(context)
        found, known = replace(found, rebuilt=restored), context.store.all() if restored else []
    for record in known:
        if _owner_gone(record):
            found = replace(found, workspaces=found.workspaces + _drop(context, record))
            continue
        if record.retired is not None and not process.foreign(record.retired.boot):
            found = replace(found, instances=found.instances + _finish(context, record))
        if record.instance is not None and not is_running(context, record):
            note_stopped(context, record)
        elif _expired(record):
            found = replace(found, expired=found.expired + _drop(context, record))
    return found


@contextlib.contextmanager
def _free(context: Context, record: WorkspaceRecord) -> Iterator[bool]:
    """Hold the workspace's lock unless somebody is at work on it; a folder that is gone needs no lock."""
    own = context.paths.workspace(record.id)
    if not own.root.exists():
        yield True
        return
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(locks.try_exclusive(own.lock))
        except WorkspaceNotFound:  # its folder went just now: somebody is deleting it
            held = False
        yield held


def _drop(context: Context, record: WorkspaceRecord) -> int:
    with _free(context, record) as held:
        # Look again now that nobody can change it: it may have been finished, or just be a new one being made.
        current = next((each for each in context.store.everything() if each.id == record.id), None)
        if not held or current is None:
            return 0
        unfinished = any(each.id == record.id for each, _ in context.store.unfinished())
        if not unfinished and not _owner_gone(current) and not _expired(current):
            return 0
        try:
            remove(context, current)
        except WorkspaceFailure:  # the kernel does not let go of a process: no reason to fail whatever was asked for
            return 0
        return 1


def _finish(context: Context, record: WorkspaceRecord) -> int:
    with contextlib.suppress(WorkspaceNotFound, WorkspaceFailure), _free(context, record) as held:
        if held:
            finish_reset(context, context.store.find(record.id))
            return 1
    return 0


def note_stopped(context: Context, record: WorkspaceRecord) -> WorkspaceRecord:
    """The record, with the end of its instance noted in case it stopped by itself.

    That is when it was idle for too long or killed, or the machine was restarted.
    """
    if record.instance is None or is_running(context, record):
        return record
    with contextlib.suppress(WorkspaceNotFound), _free(context, record) as held:
        current = context.store.find(record.id)
        if held and current.instance is not None and not is_running(context, current):
            current = stopped(current)
            context.store.save(current)
        return current
    return record


def leftovers(context: Context) -> Leftovers:
    """What ``repair`` would find now; changes nothing."""
    known = {record.id: record for record in context.store.everything()}
    dropped = [record for record, _ in context.store.unfinished()]
    used = context.store.layers_in_use()
    private = [each for each in context.paths.layers.iterdir() if each.name.startswith("s") and each.name not in used]
    return Leftovers(
        workspaces=len(dropped) + sum(_owner_gone(record) for record in known.values()),
        instances=sum(record.retired is not None for record in known.values()),
        folders=sum(1 for _ in _strays(context, known)) + sum(1 for _ in _dead_builds(context)),
        layers=len(private),
        trash=sum(1 for _ in context.paths.trash.iterdir()),
        expired=sum(_expired(record) for record in known.values()),
        groups=_groups(context, remove=False),
    )


def _groups(context: Context, *, remove: bool) -> int:
    """What starts that were cut off have left outside the state folder."""
    instances = (each for record in context.store.everything() for each in (record.instance, record.retired))
    known = frozenset(each.token for each in instances if each is not None)
    return sum(context.runtime(name).strays(known, remove=remove) for name in context.runtime_names)


def _strays(context: Context, known: dict[str, WorkspaceRecord]) -> Iterator[tuple[Path, Path]]:
    """(folder, lock to hold) of workspace folders without a record and generations that are not the current one."""
    for folder in context.paths.workspaces.iterdir():
        own = context.paths.workspace(folder.name)
        record = known.get(folder.name)
        if record is None:
            yield folder, own.lock
            continue
        current = own.generation(record.generation).root
        try:
            entries = list(folder.iterdir())
        except FileNotFoundError:
            continue
        for entry in entries:
            if (own.is_generation(entry) and entry != current) or own.is_draft(entry):
                yield entry, own.lock


def _dead_builds(context: Context) -> Iterator[Path]:
    """Half-made things that nobody is at work on any more."""
    for entry in context.paths.building.iterdir():
        if entry.is_dir():
            with contextlib.suppress(OSError):
                descriptor = os.open(entry, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    yield entry
                finally:
                    os.close(descriptor)


def repair(context: Context) -> Leftovers:
    """Finish or remove everything a killed process left, and rebuild the database if it is damaged."""
    from sandlot.bases.building import sweep_building
    from sandlot.bases.trees import move_to_trash
    from sandlot.workspaces.layers import release_layers

    rebuilt = 0
    try:
        context.store.database.check()
        context.store.everything()
    except StateCorrupt:
        rebuilt = _rebuild(context)
    if not rebuilt:
        rebuilt = _restore_missing(context)
    found = replace(reconcile(context), rebuilt=rebuilt)
    folders = 0
    for folder, lock in list(_strays(context, {record.id: record for record in context.store.everything()})):
        with contextlib.suppress(WorkspaceNotFound), locks.try_exclusive(lock) as held:
            # Once more under the lock: a create may have stored its record meanwhile.
            known = {record.id: record for record in context.store.everything()}
            if held and any(folder == stray for stray, _ in _strays(context, known)):
                move_to_trash(folder, context.paths)
                folders += 1
    with contextlib.suppress(StateUnwritable):  # a killed caller's git is still writing there: then it is in the trash
        folders += sweep_building(context.paths)
    _renew_mirrors(context)
    layers = release_layers(context)
    trash = empty_trash(context, wait=True)
    groups = _groups(context, remove=True)
    return replace(found, folders=found.folders + folders, layers=layers, trash=trash, groups=groups)


def _renew_mirrors(context: Context) -> None:
    """Bring the records in the folders up to date: somebody may have been killed between the database and the file."""
    for record in context.store.all():
        own = context.paths.workspace(record.id)
        with contextlib.suppress(WorkspaceNotFound), locks.try_exclusive(own.lock) as held:
            if held:
                context.store.mirror(context.store.find(record.id))


def _rebuild(context: Context) -> int:
    """Set a damaged database aside and make a new one from the folders' own records."""
    context.store.database.close()
    stamp = now().replace(":", "")
    for suffix in ("", "-wal", "-shm"):
        damaged = Path(f"{context.paths.database}{suffix}")
        if damaged.exists():
            os.replace(damaged, f"{context.paths.database}.damaged-{stamp}{suffix}")
    with context.bases.in_use():  # until all are back, nobody may think that a layer is not used
        return _restore_missing(context)


def _restore_missing(context: Context) -> int:
    """Insert the records of folders the database knows nothing of (it was lost, or is an older copy)."""
    known = {record.id for record in context.store.everything()}
    return sum(_restore(context, each.name) for each in context.paths.workspaces.iterdir() if each.name not in known)


def _restore(context: Context, workspace_id: str) -> bool:
    """Insert the record of one folder, if it has one and nobody is at work there."""
    from sandlot.workspaces import records
    from sandlot.workspaces.commands import recovered

    own = context.paths.workspace(workspace_id)
    if not own.record.is_file():
        return False
    with contextlib.suppress(OSError, StateCorrupt, WorkspaceNotFound), locks.try_exclusive(own.lock) as held:
        record = records.load_workspace(own.record.read_text())
        complete = record.id == workspace_id and own.generation(record.generation).root.is_dir()
        if held and complete and all(each.id != workspace_id for each in context.store.everything()):
            numbers = sorted(int(each.name) for each in own.commands.iterdir() if each.name.isdigit())
            context.store.restore(record, [recovered(context, record, number) for number in numbers])
            return True
    return False


def empty_trash(context: Context, *, wait: bool = False) -> int:
    """Remove what was thrown away: small things at once, large ones in the background unless ``wait``."""
    from sandlot.bases.trees import remove_tree

    count = 0
    large = False
    for entry in list(context.paths.trash.iterdir()):
        if not wait and not _small(entry):
            large = True
            continue
        for _ in range(TRASH_TRIES if wait else 1):
            with contextlib.suppress(StateUnwritable):
                remove_tree(entry)
            if not os.path.lexists(entry):
                count += 1
                break
            time.sleep(0.01)
    if large:
        argv = [sys.executable, "-c", _SWEEP, str(context.paths.trash)]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            process.spawn_detached(argv, env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, log=null)
        except OSError:
            pass  # the next command tries again
        finally:
            os.close(null)
    return count


def _small(root: Path) -> bool:
    """Whether a tree has few entries; looks at no more than that many."""
    left = INLINE_ENTRIES
    pending = [root]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return False
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
        except OSError:
            continue
    return True
