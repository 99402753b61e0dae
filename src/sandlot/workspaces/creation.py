"""How a workspace is made: a seed, a record, a folder, a first start; or nothing at all."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sandlot import process
from sandlot.bases.progress import Report
from sandlot.errors import LimitReached, NameTaken, StateUnwritable, WorkspaceNotFound
from sandlot.model.base import Origin, OriginKind
from sandlot.model.isolation import IsolationLevel
from sandlot.model.limits import Limits
from sandlot.model.network import Network
from sandlot.model.workspace import Lifetime, WorkspaceRecord
from sandlot.paths import WorkspacePaths
from sandlot.workspaces import locks
from sandlot.workspaces.context import Context
from sandlot.workspaces.environments import choose
from sandlot.workspaces.isolating import chosen_runtime
from sandlot.workspaces.lifecycle import discard, launch, remove, storage_of
from sandlot.workspaces.limits import default_limits
from sandlot.workspaces.naming import check_labels, check_name
from sandlot.workspaces.store import now

if TYPE_CHECKING:
    from sandlot.bases.source import Source
    from sandlot.model.base import Base
    from sandlot.workspaces.secrets.sources import Given

__all__ = ["bring_up", "check_room", "create"]

NO_NETWORK = Network()


def create(
    context: Context,
    source: Source,
    *,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    lifetime: Lifetime | None = None,
    runtime: str | None = None,
    min_isolation: IsolationLevel = IsolationLevel.NONE,
    toolchains: tuple[str, ...] = (),
    secrets: Sequence[Given] = (),
    network: Network = NO_NETWORK,
    limits: Limits | None = None,
    environment: str | None = None,
    building: bool = False,
    one_shot: bool = False,
    progress: Report | None = None,
) -> tuple[WorkspaceRecord, Base]:
    """Make a workspace from a source and start it; nothing of it stays behind when that fails.

    ``runtime`` None is the user's setting; see ``isolating.chosen_runtime``. ``environment`` None is the user's
    default; see ``environments.choose``. ``building``: a setup is to change it. A ``one_shot`` workspace ends with the
    calling process, however that dies.
    """
    if name is not None:
        check_name(name, "workspace")
    draft = _draft(context, name, check_labels(labels or {}), lifetime, runtime, min_isolation, toolchains)
    draft = replace(draft, network=network, limits=limits or default_limits(context))
    if one_shot:
        identity = process.identify(os.getpid())
        draft = replace(draft, owner=(identity.pid, identity.start_time, identity.boot) if identity else None)
    check_room(context, [name])
    with context.bases.in_use():
        chosen = choose(context, environment, toolchains)  # before a long seed
        base = context.bases.obtain(source, progress)
        origin = base.origin if source.kind is not OriginKind.BASE else replace(base.origin, kind=OriginKind.BASE)
        record = replace(
            draft,
            origin=origin,
            baseline=base.layers,
            layers=base.layers,
            environment=chosen,
            building=building,
        )
        return bring_up(context, record, functools.partial(_equip, context, secrets), progress), base


def _draft(
    context: Context,
    name: str | None,
    labels: dict[str, str],
    lifetime: Lifetime | None,
    asked: str | None,
    min_isolation: IsolationLevel,
    toolchains: tuple[str, ...],
) -> WorkspaceRecord:
    runtime, report = chosen_runtime(context, asked, min_isolation)
    created = now()
    return WorkspaceRecord(
        id="ws-" + os.urandom(8).hex(),
        name=name,
        labels=labels,
        origin=Origin(OriginKind.NOTHING),
        baseline=(),
        layers=(),
        generation=1,
        storage=report.storage,
        runtime=runtime,
        isolation=report.isolation,
        lifetime=lifetime or Lifetime(context.settings.idle_timeout, context.settings.retention),
        created_at=created,
        active_at=created,
        toolchains=toolchains,
    )


def check_room(context: Context, names: Sequence[str | None]) -> None:
    """Fail early, before a long seed: the limit and the names. The database has the last word on both."""
    count = context.store.count()
    if count + len(names) > context.settings.max_workspaces:
        raise LimitReached(
            f"{count} of {context.settings.max_workspaces} workspaces exist already",
            hint="sandlot workspace delete ID, or raise SANDLOT_MAX_WORKSPACES",
        )
    for name in names:
        if name is not None:
            with contextlib.suppress(WorkspaceNotFound):
                context.store.find(name)
                raise NameTaken(f"a workspace named {name!r} exists already", hint="choose another name, or delete it")


def _equip(context: Context, secrets: Sequence[Given], record: WorkspaceRecord) -> WorkspaceRecord:
    if not secrets:
        return record
    from sandlot.workspaces.secrets.keeping import equip

    return equip(context.paths.workspace(record.id), record, secrets)


def bring_up(
    context: Context,
    record: WorkspaceRecord,
    equip: Callable[[WorkspaceRecord], WorkspaceRecord] | None = None,
    progress: Report | None = None,
) -> WorkspaceRecord:
    """Folder, record in phase ``creating``, generation, start, record in phase ``ready``: or nothing at all.

    ``equip`` puts down what has to be in the folder before the start, and answers with the record that knows of it.
    """
    own = context.paths.workspace(record.id)
    with _new_folder(own):
        try:
            context.store.add(record, context.settings.max_workspaces)
        except BaseException:
            discard(context, own)
            raise
        try:
            own.commands.mkdir(mode=0o700)
            own.patches.mkdir(mode=0o700)
            if equip is not None:
                record = equip(record)
            storage_of(context, record).prepare()
            return launch(context, record, progress)
        except BaseException:
            remove(context, record)
            raise


@contextlib.contextmanager
def _new_folder(own: WorkspacePaths) -> Iterator[None]:
    """The folder of a new workspace, locked; again when a repair took it for a leftover before it was."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                own.root.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise StateUnwritable(f"cannot make {own.root}: {error.strerror}") from error
            with contextlib.suppress(WorkspaceNotFound):
                stack.enter_context(locks.exclusive(own.lock, "the new workspace"))
                break
        yield
