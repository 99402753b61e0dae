"""The trees of a workspace as they are now, for code of the host that reads them.

Where changes lie in folders of the host there is nothing to do. A guest has its own disk, which the host does not
look into (it is written by hostile code, and its driver is the kernel's): the guest sends a copy each time somebody
asks, and is started for it if it is stopped.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sandlot.errors import CommandInterrupted, StateUnwritable
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import AREA_TARGETS, Bounds, Fetch, StorageKind
from sandlot.workspaces import lifecycle, locks
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import is_running, socket_of, storage_of

if TYPE_CHECKING:
    from sandlot.workspaces.storage import Storage

__all__ = ["WORKSPACE", "keep", "present"]

WORKSPACE = ("workspace",)
ALL = tuple(AREA_TARGETS)
FETCH_WAIT_S = 600.0
"""How long to wait for others who fetch or read the same copies."""
KEPT = Bounds(8 << 20, 2000)
"""What a guest that is stopped leaves with the host, of each area: mostly somebody looks at it next, and another start
costs more than sending so much."""
KEEP_WAIT_S = 1.0


@contextlib.contextmanager
def present(
    context: Context, record: WorkspaceRecord, areas: Sequence[str] = ALL, *, locked: bool = False
) -> Iterator[Storage]:
    """The workspace's trees, of which ``areas`` are as they are now and stay as they are throughout the block.

    With ``locked`` the caller holds the workspace's lock. Raises CommandInterrupted when the workspace is stopped or
    reset meanwhile, StateUnwritable, and what starting it for a moment may raise.
    """
    if record.storage != StorageKind.GUEST:
        yield storage_of(context, record)
        return
    if not is_running(context, record):
        with contextlib.nullcontext(record) if locked else lifecycle.locked(context, record.id) as record:
            if not is_running(context, record):
                _look_into_stopped(context, record)
    storage = storage_of(context, record)

    def renew() -> None:
        if not storage.generation.asleep.exists():
            for area in areas:
                _fetch(context, record, storage, area)

    with _renewed(record, storage, renew):
        yield storage


def _renewed(
    record: WorkspaceRecord, storage: Storage, renew: Callable[[], None], wait_s: float = FETCH_WAIT_S
) -> contextlib.AbstractContextManager[None]:
    what = f"the copy of workspace {record.label}'s files"
    return locks.renewed(storage.generation.fetch_lock, what, renew, wait_s=wait_s)


def _look_into_stopped(context: Context, record: WorkspaceRecord) -> None:
    """Start a stopped guest for as long as it takes to copy what it has, if that was not done since it stopped.

    The caller holds the workspace's lock. To everybody else it stays stopped: nothing of its own runs.
    """
    storage = storage_of(context, record)
    if storage.generation.asleep.exists():
        return
    if record.instance is not None:  # it ended by itself
        lifecycle.kill(context, record, record.instance)
        record = lifecycle.stopped(record)
    awake = lifecycle.launch(context, record)

    def renew() -> None:
        for area in ALL:
            _fetch(context, awake, storage, area)

    try:
        with _renewed(record, storage, renew):
            storage.generation.asleep.touch(mode=0o600)
    finally:
        lifecycle.end(context, awake, grace=True)
        context.store.save(record)


def keep(context: Context, record: WorkspaceRecord, fetch: Fetch) -> None:
    """Copy what a guest has changed, whose processes have just ended, if it is little; see ``lifecycle.end``.

    The caller holds the workspace's lock. Raises SandlotError: a later look starts the guest once more.
    """
    storage = storage_of(context, record)

    def renew() -> None:
        for area in ALL:
            _replace(record, storage, area, fetch, KEPT)

    with _renewed(record, storage, renew, KEEP_WAIT_S):
        storage.generation.asleep.touch(mode=0o600)


def _fetch(context: Context, record: WorkspaceRecord, storage: Storage, area: str) -> None:
    """Put a fresh copy of an area's changes in the place of the old one."""
    if record.instance is None:
        raise CommandInterrupted(f"workspace {record.label} was stopped while its files were fetched")
    fetch = functools.partial(context.runtime(record.runtime).fetch, record.instance, socket_of(context, record))
    _replace(record, storage, area, fetch)


def _bounds(record: WorkspaceRecord, storage: Storage) -> Bounds:
    from sandlot.runtimes.disks import bounds_of

    return bounds_of(record.limits, storage.generation.disk)


def _replace(record: WorkspaceRecord, storage: Storage, area: str, fetch: Fetch, bounds: Bounds | None = None) -> None:
    from sandlot.bases.trees import remove_tree

    folder = storage.generation.area(area)
    fresh = folder / f"fetched-{os.urandom(6).hex()}"
    try:
        fetch(AREA_TARGETS[area], fresh, bounds or _bounds(record, storage))
        with contextlib.suppress(FileNotFoundError):  # somebody was killed right here: then there is none
            os.rename(folder / "upper", fresh.with_name(fresh.name + ".old"))
        os.rename(fresh, folder / "upper")
    except FileNotFoundError as error:
        raise CommandInterrupted(f"workspace {record.label} was reset or deleted while it was looked at") from error
    except OSError as error:
        raise StateUnwritable(f"cannot keep the workspace's files: {error.strerror}") from error
    finally:
        with contextlib.suppress(StateUnwritable):
            for left in folder.glob("fetched-*"):  # the old copy, and what is left of who was killed: we are alone
                remove_tree(left)
