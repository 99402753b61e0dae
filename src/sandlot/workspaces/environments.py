"""What is inside a workspace besides its project: which environment, where its root is, which variables it brings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sandlot.errors import EnvironmentNotFound, UsageError
from sandlot.model.environment import HOST, Environment, label_of, split_label
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import AreaMount, StorageKind
from sandlot.workspaces.context import Context

if TYPE_CHECKING:
    from sandlot.bases.environments.store import EnvironmentStore

__all__ = ["building_mount", "choose", "environment_of", "in_use", "root_of", "store_of", "variables_for"]


def store_of(context: Context) -> EnvironmentStore:
    """The environments of this user."""
    from sandlot.bases.environments.store import EnvironmentStore

    return EnvironmentStore(context.paths)


def choose(context: Context, asked: str | None, toolchains: tuple[str, ...] = ()) -> str:
    """How a new record names the environment that was asked for, or the user's default.

    Hold ``BaseStore.in_use`` until the record is stored. Raises EnvironmentNotFound with what makes it, UsageError.
    """
    text = context.settings.environment if asked is None else asked
    if text == HOST:
        return HOST
    if toolchains:
        raise UsageError(
            "host folders can be shown beside the host's own environment only",
            hint=f"sandlot env build NAME --from {text} --setup COMMAND installs what is missing",
        )
    store = store_of(context)
    name, environment = store.find(text)
    store.touch(environment.digest)
    return label_of(name, environment.digest)


def environment_of(context: Context, record: WorkspaceRecord) -> Environment | None:
    """The environment of a workspace; None: the host's. Raises EnvironmentNotFound."""
    if record.environment == HOST:
        return None
    digest = split_label(record.environment)[1]
    found = context.environments.get(digest)
    if found is None:
        found = store_of(context).read(digest)
        if found is None:
            name = split_label(record.environment)[0]
            raise EnvironmentNotFound(
                f"the environment {record.environment} of workspace {record.label} is gone",
                hint=f"sandlot env list; a workspace made anew finds {name} as it is now",
            )
        context.environments[digest] = found
    return found


def root_of(context: Context, record: WorkspaceRecord) -> Path | None:
    """The root file system of a workspace's environment; None: the host's. Raises EnvironmentNotFound."""
    environment = environment_of(context, record)
    return None if environment is None else store_of(context).root(environment.digest)


def variables_for(context: Context, record: WorkspaceRecord, ours: dict[str, str]) -> dict[str, str]:
    """``ours``, with what the workspace's environment says about PATH, language and programs of its own."""
    environment = environment_of(context, record)
    if environment is None:
        return ours
    own = dict(environment.variables)
    path = own.pop("PATH", "")
    if path:
        own["PATH"] = f"{ours['PATH'].partition(':')[0]}:{path}"  # the home's own folder of programs stays first
    return {**ours, **own, "SHELL": environment.shell or ours["SHELL"]}


def building_mount(context: Context, record: WorkspaceRecord) -> AreaMount:
    """Where the changes go that a setup makes to its environment's root; made here, for one start. Raises
    StateUnwritable."""
    from sandlot.bases.building import unwritable

    folder = context.paths.workspace(record.id).generation(record.generation).area("root")
    with unwritable(context.paths):
        if record.storage == StorageKind.GUEST:  # on the guest's disk, until they are fetched
            folder.mkdir(parents=True)
            return AreaMount("/", folder / "upper")
        if record.storage != StorageKind.OVERLAY:  # no overlay here: the setup changes a copy of its own
            _copy_root(context, record, folder / "tree")
            return AreaMount("/", folder / "tree")
        for name in ("upper", "work"):
            (folder / name).mkdir(parents=True)
        (folder / "upper").chmod(0o755)
    return AreaMount("/", folder / "upper", folder / "work")


def _copy_root(context: Context, record: WorkspaceRecord, target: Path) -> None:
    from sandlot.bases.environments.rootfs import RootTree

    store, digest = store_of(context), split_label(record.environment)[1]
    target.mkdir(parents=True)
    source = os.open(store.root(digest), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with RootTree(target) as tree:
            tree.graft(source, store.rows(digest), share=False)
            tree.settle()
    finally:
        os.close(source)


def in_use(context: Context) -> frozenset[str]:
    """The digests of all environments that workspaces stand on, those half made or half deleted included."""
    labels = {record.environment for record in context.store.everything()}
    return frozenset(split_label(label)[1] for label in labels if label != HOST)
