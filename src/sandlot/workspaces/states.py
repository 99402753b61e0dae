"""Saved states: snapshots, reset, fork."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sandlot.errors import NameTaken, SandlotError, SnapshotNotFound, WorkspaceNotFound
from sandlot.model.workspace import Snapshot, WorkspaceRecord
from sandlot.runtimes.channel import Channel
from sandlot.wire import messages
from sandlot.workspaces.context import Context
from sandlot.workspaces.creation import bring_up, check_room
from sandlot.workspaces.layers import release_layers
from sandlot.workspaces.lifecycle import (
    delete,
    discard_other_generations,
    finish_reset,
    is_running,
    launch,
    locked,
    socket_of,
    storage_of,
    touch,
)
from sandlot.workspaces.naming import check_labels, check_name
from sandlot.workspaces.present import present
from sandlot.workspaces.store import now

__all__ = ["BASELINE", "delete_snapshot", "find_snapshot", "fork", "layers_of", "reset", "snapshot"]

BASELINE = "baseline"
PARENT = "parent-baseline"
"""The snapshot by which a fork knows the baseline of the workspace it was made from."""


def reset(context: Context, key: str, to: str = BASELINE) -> WorkspaceRecord:
    """Back to the baseline or a snapshot: files, home, processes and /tmp; always running afterwards.

    The new generation is made and started beside the old one, so a reset that fails changes nothing.
    """
    with locked(context, key) as record:
        layers = layers_of(record, to)
        discard_other_generations(context, record)  # an earlier reset may have been killed while it made one
        fresh = replace(
            record,
            layers=layers,
            generation=record.generation + 1,
            reset_at=now(),
            reset_from=context.store.last_command(record.id),
            retired=record.instance,  # an ended one, too: its monitor and control groups may still be there
        )
        try:
            storage_of(context, fresh).prepare()
            fresh = launch(context, fresh)
        except BaseException:
            # Whichever generation the records name now is the workspace's; the new agent may have been killed only
            # after they named the new one.
            finish_reset(context, context.store.find(record.id))
            raise
        finish_reset(context, fresh)
        return context.store.find(record.id)


def layers_of(record: WorkspaceRecord, state: str) -> tuple[str, ...]:
    """The layers of the baseline or of a named snapshot."""
    return record.baseline if state == BASELINE else find_snapshot(record, state).layers


def find_snapshot(record: WorkspaceRecord, name: str) -> Snapshot:
    """The named snapshot. Raises SnapshotNotFound."""
    for each in record.snapshots:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in record.snapshots) or "none"
    raise SnapshotNotFound(f"workspace {record.label} has no snapshot {name!r}", hint=f"its snapshots: {known}")


@contextlib.contextmanager
def _still(context: Context, record: WorkspaceRecord) -> Iterator[None]:
    """Nothing in the workspace moves: its processes are paused, or there are none. Raises WorkspaceBusy."""
    if not is_running(context, record):
        yield
        return
    with Channel(socket_of(context, record)) as channel:
        channel.call(messages.FREEZE)
        try:
            yield  # closing the connection lets them go on, and so does our death
        finally:
            with contextlib.suppress(SandlotError):
                channel.finish()  # they go on before the next snapshot may begin


def _saved_layers(context: Context, record: WorkspaceRecord) -> tuple[str, ...]:
    with _still(context, record), present(context, record, locked=True) as storage:
        return storage.save()


def snapshot(context: Context, key: str, name: str) -> tuple[WorkspaceRecord, Snapshot]:
    """Save the present state under a name. Raises NameTaken, WorkspaceBusy."""
    check_name(name, "snapshot")
    with locked(context, key) as record, context.bases.in_use():
        if name == BASELINE or any(each.name == name for each in record.snapshots):
            raise NameTaken(f"workspace {record.label} already has a snapshot {name!r}", hint="choose another name")
        taken = Snapshot(name, _saved_layers(context, record), now())
        record = replace(record, snapshots=(*record.snapshots, taken))
        context.store.save(record)
        context.store.touch(record.id)
        return record, taken


def delete_snapshot(context: Context, key: str, name: str) -> WorkspaceRecord:
    """Forget a snapshot; its private layers go when nothing else stands on them."""
    with locked(context, key) as record:
        gone = find_snapshot(record, name)
        record = replace(record, snapshots=tuple(each for each in record.snapshots if each is not gone))
        context.store.save(record)
        context.store.touch(record.id)
    release_layers(context, gone.layers)
    return record


def _inherit(context: Context, source: WorkspaceRecord, record: WorkspaceRecord) -> WorkspaceRecord:
    if not record.secrets:
        return record
    from sandlot.workspaces.secrets.keeping import inherit

    return inherit(context.paths.workspace(record.id), record, context.paths.workspace(source.id))


def fork(
    context: Context, key: str, *, names: tuple[str | None, ...] = (None,), labels: Mapping[str, str] | None = None
) -> list[WorkspaceRecord]:
    """New workspaces from the present state of another, one for each name; all of them or none.

    They inherit labels, lifetime and toolchains. Their baseline is the state they were forked at; the source's own
    baseline is their snapshot ``parent-baseline``, so that what led to the fork can still be compared and handed back.
    """
    extra = check_labels(labels or {})
    for name in names:
        if name is not None:
            check_name(name, "workspace")
    check_room(context, names)
    layers: tuple[str, ...] = ()
    made: list[WorkspaceRecord] = []
    try:
        with context.bases.in_use():
            with locked(context, key) as source:
                layers = _saved_layers(context, source)
            touch(context, source)
            for name in names:
                created = now()
                draft = replace(
                    source,
                    id="ws-" + os.urandom(8).hex(),
                    name=name,
                    labels={**source.labels, **extra},
                    forked_from=source.id,
                    baseline=layers,
                    layers=layers,
                    generation=1,
                    created_at=created,
                    active_at=created,
                    stopped_at=None,
                    reset_at=None,
                    reset_from=0,
                    instance=None,
                    retired=None,
                    owner=None,
                    building=False,
                    snapshots=(Snapshot(PARENT, source.baseline, created),),
                    network=source.network.for_fork(),
                )
                made.append(bring_up(context, draft, functools.partial(_inherit, context, source)))
    except BaseException:
        for record in made:
            with contextlib.suppress(WorkspaceNotFound):
                delete(context, record.id)
        release_layers(context, layers)
        raise
    return made
