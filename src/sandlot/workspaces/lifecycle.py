"""A workspace's life: start, stop, update, delete; how it is made is in ``creation``.

Each change holds the workspace's lock and has one commit point, a transaction on its record. What a killed process
leaves on either side of that point is recognisable and finished or removed by the reaper: a generation folder that is
not the record's, an instance on its leash, a record in phase ``creating`` or ``deleting``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sandlot import process
from sandlot.errors import (
    AgentUnresponsive,
    Conflict,
    SandlotError,
    StateUnwritable,
    WorkspaceFailure,
)
from sandlot.model.environment import split_label
from sandlot.model.limits import Limits
from sandlot.model.network import Network
from sandlot.model.workspace import Instance, Lifetime, WorkspaceRecord, WorkspaceState
from sandlot.paths import WorkspacePaths
from sandlot.runtimes.base import LaunchRequest, StorageKind
from sandlot.runtimes.channel import Channel
from sandlot.wire import messages
from sandlot.workspaces import locks
from sandlot.workspaces.context import Context
from sandlot.workspaces.environments import building_mount, root_of
from sandlot.workspaces.naming import check_labels, check_name
from sandlot.workspaces.network import serving
from sandlot.workspaces.store import Phase, now

if TYPE_CHECKING:
    from sandlot.bases.progress import Report
    from sandlot.workspaces.storage import Storage

__all__ = [
    "connect",
    "delete",
    "discard",
    "end",
    "ensure_running",
    "finish_reset",
    "is_running",
    "kill",
    "launch",
    "locked",
    "remove",
    "socket_of",
    "start",
    "state_of",
    "stop",
    "stopped",
    "storage_of",
    "touch",
    "update",
]

LOOK_S = 0.05
"""How often to look whether a workspace in another container has ended."""
STOP_GRACE_S = 2.0
SYNC_S = 30.0
"""How long a guest may then take to write to its disk what its memory holds of it."""
MEET_S = 2.0
"""How long a recorded agent that nobody can connect to may take to be seen as gone."""


def storage_of(context: Context, record: WorkspaceRecord) -> Storage:
    """The trees of a workspace's current generation."""
    from sandlot.workspaces.storage import Storage  # with the bases: a command that runs needs neither

    generation = context.paths.workspace(record.id).generation(record.generation)
    return Storage(record.storage, context.paths, generation, record.layers)


def socket_of(context: Context, record: WorkspaceRecord) -> Path:
    """Where the agent of a workspace's current generation listens."""
    return context.paths.workspace(record.id).generation(record.generation).socket


def is_running(context: Context, record: WorkspaceRecord) -> bool:
    """Whether its processes exist right now, here or in another container that shares our state folder."""
    instance = record.instance
    if instance is None or not context.runtime(record.runtime).alive(instance):
        return False
    return not process.foreign(instance.boot) or _listens(context, record)


def _listens(context: Context, record: WorkspaceRecord) -> bool:
    """Whether its agent takes connections: a socket is the kernel's, not a pid namespace's."""
    try:
        with Channel(socket_of(context, record)):
            return True
    except (SandlotError, OSError):
        return False


def state_of(context: Context, record: WorkspaceRecord) -> WorkspaceState:
    """The true state, whatever the record says."""
    return WorkspaceState.RUNNING if is_running(context, record) else WorkspaceState.STOPPED


@contextlib.contextmanager
def locked(context: Context, key: str) -> Iterator[WorkspaceRecord]:
    """Hold the lock of the workspace with this id or name, and its record as of then."""
    record = context.store.find(key)
    with locks.exclusive(context.paths.workspace(record.id).lock, f"workspace {record.label}"):
        record = context.store.find(record.id)
        yield record if record.retired is None else finish_reset(context, record)


def finish_reset(context: Context, record: WorkspaceRecord) -> WorkspaceRecord:
    """End what a committed reset has replaced: the instance and the generation. The caller holds the lock."""
    if record.retired is not None:
        kill(context, record, record.retired)
    discard_other_generations(context, record)
    if record.retired is not None:
        record = replace(record, retired=None)
        context.store.save(record)
    return record


def discard_other_generations(context: Context, record: WorkspaceRecord) -> None:
    """Throw away what is not the record's generation: older ones, or one whose reset was cut off."""
    from sandlot.bases.trees import move_to_trash

    own = context.paths.workspace(record.id)
    for entry in list(own.root.iterdir()):
        if own.is_generation(entry) and entry != own.generation(record.generation).root:
            move_to_trash(entry, context.paths)


def launch(context: Context, record: WorkspaceRecord, progress: Report | None = None) -> WorkspaceRecord:
    """Start the record's generation and save the record with its instance: the commit point of every start.

    ``progress`` hears of what the first start of a kind takes a minute for.
    """
    runtime = context.runtime(record.runtime)
    storage = storage_of(context, record)
    storage.generation.asleep.unlink(missing_ok=True)
    trust = _trust(context, record)
    with serving.starting(context, record) as network:
        instance = runtime.launch(
            LaunchRequest(
                workspace_id=record.id,
                areas=storage.mounts(),
                socket=storage.generation.socket,
                log=storage.generation.log,
                limits=record.limits,
                idle_timeout_s=_idle_seconds(record.lifetime) or None,
                toolchains=tuple(Path(path) for path in record.toolchains),
                trust=trust,
                root=root_of(context, record),
                environment=split_label(record.environment)[1],
                building=building_mount(context, record) if record.building else None,
                disk=storage.disk,
                cold_bytes=storage.cold_bytes(),
                warm=storage.warm(),
                progress=progress,
            )
        )
        try:
            record = network.join(replace(record, stopped_at=None, stopped_uptime=None), instance)
            context.store.save(record)
            if record.owner is None:  # a one-shot workspace stays on the leash
                runtime.release(instance, storage.generation.socket)
            network.release()
        except BaseException:
            runtime.kill(instance)
            raise
    return record


def _trust(context: Context, record: WorkspaceRecord) -> Path:
    """The folder of certificates to show, in every workspace: a secret may come while it runs."""
    own = context.paths.workspace(record.id)
    try:
        own.trust.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise StateUnwritable(f"cannot make {own.trust}: {error.strerror}") from error
    if record.secrets:
        from sandlot.workspaces.secrets.keeping import refreshed

        refreshed(own, record)
    return own.trust


def _idle_seconds(lifetime: Lifetime) -> int:
    """What the agent is told: at least a second, at most what it can count, 0 for never."""
    return 0 if lifetime.idle_timeout_s is None else min(10**9, max(1, lifetime.idle_timeout_s))


def stopped(record: WorkspaceRecord) -> WorkspaceRecord:
    """The record of a workspace that has just been found, or made, without processes."""
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    return replace(record, instance=None, stopped_at=now(), stopped_uptime=(process.boot_id(), uptime))


def start(context: Context, key: str) -> WorkspaceRecord:
    """Start a stopped workspace; a running one is left as it is."""
    with locked(context, key) as record:
        if is_running(context, record):
            return record
        if record.instance is not None:  # it ended by itself: its monitor and control groups may still be there
            kill(context, record, record.instance)
        return launch(context, record)


def ensure_running(context: Context, record: WorkspaceRecord) -> WorkspaceRecord:
    """The record of a workspace that runs, started if need be (it may have been stopped for being idle)."""
    record = record if is_running(context, record) else start(context, record.id)
    return serving.ensure(context, record)


def connect(context: Context, record: WorkspaceRecord) -> tuple[WorkspaceRecord, Channel]:
    """A connection to the workspace's agent, started if need be, and the record as of that instance.

    Nothing was asked of it yet, so a workspace that stops or is reset at this very moment is simply met anew. Raises
    WorkspaceNotFound when it was deleted, AgentUnresponsive.
    """
    end = time.monotonic() + MEET_S
    while True:
        record = ensure_running(context, record)
        try:
            channel = Channel(socket_of(context, record))
        except AgentUnresponsive:
            current = context.store.find(record.id)
            if current.instance == record.instance and time.monotonic() > end:
                raise
            record = current
            time.sleep(0.005)
            continue
        try:
            current = context.store.find(record.id)
            if current.instance is not None and current.instance == record.instance:
                return current, channel
        except BaseException:
            channel.close()
            raise
        channel.close()
        record = current


def touch(context: Context, record: WorkspaceRecord) -> None:
    """Note activity that the agent has no part in, in the records and with the agent, which idles out by itself."""
    context.store.touch(record.id)
    if record.lifetime.idle_timeout_s is not None and is_running(context, record):
        with contextlib.suppress(SandlotError, OSError), Channel(socket_of(context, record)) as channel:
            channel.send(messages.PING)


def stop(context: Context, key: str) -> WorkspaceRecord:
    """End a workspace's processes and keep its files; a stopped one is left as it is."""
    with locked(context, key) as record:
        if record.instance is None:
            return record
        end(context, record, grace=True, copy=True)
        record = stopped(record)
        context.store.save(record)
        return record


def end(context: Context, record: WorkspaceRecord, *, grace: bool, copy: bool = False) -> None:
    """No process of the workspace is left afterwards. With ``grace`` they get SIGTERM and a moment first.

    ``copy``: of what a guest has changed, if it is little, for whoever looks at it while it is stopped.
    """
    if record.instance is None:
        return
    runtime = context.runtime(record.runtime)
    if grace and runtime.alive(record.instance):
        socket, guest = socket_of(context, record), record.storage == StorageKind.GUEST
        parting = runtime.parting(record.instance, socket) if copy and guest else contextlib.nullcontext()
        with contextlib.suppress(SandlotError, OSError), parting as fetch:
            with Channel(socket) as channel:
                channel.send(messages.SHUTDOWN, [b"%d" % int(STOP_GRACE_S * 1000)])
                channel.receive(STOP_GRACE_S + (SYNC_S if guest else 1))
            if fetch is not None:
                from sandlot.workspaces.present import keep

                keep(context, record, fetch)
    kill(context, record, record.instance)


def kill(context: Context, record: WorkspaceRecord, instance: Instance) -> None:
    """End every process of an instance, on both sides of the wall. Ending an ended one is not an error.

    Raises WorkspaceFailure when they are in another container.
    """
    if process.foreign(instance.boot):
        until = time.monotonic() + process.KILL_WAIT_S  # its agent may have been told to end a moment ago
        while instance == record.instance and _listens(context, record):
            if time.monotonic() > until:
                message = f"workspace {record.label} runs in another container, and its processes are out of reach"
                raise WorkspaceFailure(message, hint="end it there")
            time.sleep(LOOK_S)
        return
    context.runtime(record.runtime).kill(instance)
    if instance.gateway_pid:
        from sandlot.workspaces.network import control

        control.kill(instance)


def update(
    context: Context,
    key: str,
    *,
    name: str | None = None,
    clear_name: bool = False,
    labels: Mapping[str, str] | None = None,
    clear_labels: tuple[str, ...] = (),
    lifetime: Callable[[Lifetime], Lifetime] | None = None,
    network: Callable[[Network], Network] = lambda network: network,
    limits: Callable[[Limits], Limits] = lambda limits: limits,
) -> WorkspaceRecord:
    """Rename, merge and clear labels, change lifetime, network, limits. An update without effect is fine.

    Raises Conflict for other limits of a workspace that runs: they hold from its start on.
    """
    extra = check_labels(labels or {})
    if name is not None:
        check_name(name, "workspace")
    with locked(context, key) as record:
        kept = {label: value for label, value in record.labels.items() if label not in clear_labels}
        changed = replace(
            record,
            name=None if clear_name else name or record.name,
            labels={**kept, **extra},
            lifetime=lifetime(record.lifetime) if lifetime else record.lifetime,
            network=network(record.network),
            limits=limits(record.limits),
        )
        longest = changed.limits.max_duration_s  # the callers of commands see to this one
        if changed.limits != replace(record.limits, max_duration_s=longest) and is_running(context, record):
            raise Conflict(
                f"workspace {key} is running, and its limits hold from its start on",
                hint=f"sandlot workspace stop {key}; the next command starts it again",
            )
        context.store.save(changed)
        if changed.lifetime != record.lifetime and is_running(context, changed):
            with Channel(socket_of(context, changed)) as channel:
                channel.call(messages.IDLE, [b"%d" % _idle_seconds(changed.lifetime)])
        if changed.network != record.network and is_running(context, changed):
            changed = serving.changed(context, changed, record)
        return changed


def delete(context: Context, key: str) -> WorkspaceRecord:
    """Remove a workspace: processes, folders, records, and layers nothing else stands on."""
    with locked(context, key) as record:
        try:
            context.store.save(record, Phase.DELETING)
        except StateUnwritable:
            _make_room(context, record)
            context.store.save(record, Phase.DELETING)
        remove(context, record)
        return record


def _make_room(context: Context, record: WorkspaceRecord) -> None:
    """The disk is too full to note a deletion: what the workspace itself holds goes first."""
    from sandlot.bases.trees import remove_tree

    if record.instance is not None:
        kill(context, record, record.instance)
    remove_tree(storage_of(context, record).generation.root)


def discard(context: Context, own: WorkspacePaths) -> None:
    """A workspace's folder to the trash."""
    from sandlot.bases.trees import move_to_trash

    move_to_trash(own.root, context.paths)


def remove(context: Context, record: WorkspaceRecord) -> None:
    """Finish a deletion, or undo a creation, from wherever it stopped. The caller holds the workspace's lock."""
    from sandlot.workspaces.layers import release_layers
    from sandlot.workspaces.secrets.vault import destroy

    latest = next((each for each in context.store.everything() if each.id == record.id), record)
    for instance in (latest.instance, latest.retired):
        if instance is not None:
            kill(context, latest, instance)
    destroy(context.paths.workspace(record.id))  # the rest may wait in the trash; values do not
    discard(context, context.paths.workspace(record.id))
    context.store.remove(record.id)
    release_layers(context, latest.all_layers)
