"""Environments that are made by running something in them: setups, and the configuring of packages.

It is run in a workspace that exists for it alone, isolated as every other: on the parent's root, with the changes kept
apart; as a root that has no capability, cannot reach the host, and owns every file there is. What it has changed
becomes a new root, by content. A setup on the same parent with the same files is run once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sandlot.bases.building import build_lock
from sandlot.bases.environments.changes import put_on_top
from sandlot.bases.environments.definitions import DEFINITIONS, Definition
from sandlot.bases.environments.rootfs import RootTree
from sandlot.bases.environments.store import EnvironmentStore, check_environment_name
from sandlot.bases.progress import Progress, Report
from sandlot.bases.source import Source
from sandlot.bases.workshop import fingerprint
from sandlot.errors import BuildFailed, EnvironmentNotFound, UsageError
from sandlot.model.base import OriginKind
from sandlot.model.command import CommandRecord
from sandlot.model.environment import HOST, Environment, EnvironmentKind, label_of
from sandlot.model.isolation import RuntimeChoice
from sandlot.model.network import Network
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import StorageKind
from sandlot.runtimes.qemu.places import Places
from sandlot.runtimes.qemu.upkeep import remove_orphans
from sandlot.workspaces import commands, creation, lifecycle, reaper
from sandlot.workspaces.context import Context
from sandlot.workspaces.environments import store_of

__all__ = ["Setup", "build_packages", "build_setup", "packages_key"]

RECIPE = "1"
"""Part of every key: another one when the same words come to mean something else."""
CONFIGURE_S = 7200.0
"""A minute and a half with namespaces, twenty times that in an emulated guest."""
DETAIL_BYTES = 4096
OFF = Network()
NOTHING = Source(OriginKind.NOTHING)

_VARIABLES = {
    "APT_CONFIG": "/tmp/.sandlot-apt.conf",  # noqa: S108  inside
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
    "LOGNAME": "root",
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "USER": "root",
}
_PRELUDE = """\
printf 'APT::Sandbox::User "root";\\nAPT::Install-Recommends "false";\\nDPkg::Use-Pty "0";\\n' > "$APT_CONFIG"
mkdir -p /root
"""
"""There is one user: apt cannot fetch as another one."""

Output = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Setup:
    """What to run, on what."""

    parent: str
    commands: tuple[str, ...]
    source: Source = NOTHING
    """What the commands find in /workspace."""
    network: Network = OFF
    timeout_s: float | None = None


def build_setup(
    context: Context,
    name: str,
    setup: Setup,
    *,
    fresh: bool = False,
    progress: Report | None = None,
    output: Output | None = None,
) -> tuple[Environment, bool]:
    """(the environment of a setup, whether it was known already), called ``name`` from now on.

    Raises UsageError, EnvironmentNotFound (the parent), BuildFailed with what the command printed last.
    """
    check_environment_name(name)
    if not setup.commands:
        raise UsageError("there is no setup to run", hint=f"sandlot env build {name} --from ENV --setup COMMAND")
    if setup.parent in ("", HOST):
        raise UsageError(
            "a setup needs an environment to change; the host's own is not ours to change",
            hint=f"sandlot env build {name} --from debian:12 --setup COMMAND",
        )
    store = store_of(context)
    with context.bases.in_use(), store.workshop() as shop:
        parent_name, parent = store.find(setup.parent)
        store.touch(parent.digest)
        base = context.bases.obtain(setup.source, progress)
        key = fingerprint("setup", RECIPE, parent.digest, base.id, *setup.commands)
        with build_lock(context.paths, key):
            known = None if fresh else store.known(key)
            if known is None:
                seeded = replace(setup, source=Source(OriginKind.BASE, base.id))
                draft = _draft(EnvironmentKind.SETUP, label_of(parent_name, parent.digest), parent)
                draft = replace(draft, parent=parent.digest, setup=(*parent.setup, *setup.commands))
                made = _run(context, store, parent, seeded, draft, shop, output, progress)
                store.remember(key, made, shop)
            store.name(name, known or made, shop)
            return (known, True) if known else (made, False)


def build_packages(
    context: Context,
    name: str,
    *,
    fresh: bool = False,
    progress: Report | None = None,
    output: Output | None = None,
) -> tuple[Environment, bool]:
    """(the environment of a definition, whether it was there already). Raises EnvironmentNotFound, BuildFailed."""
    from sandlot.bases.environments import packages

    definition = DEFINITIONS.get(name)
    if definition is None:
        raise EnvironmentNotFound(
            f"nobody has said how to build {name!r}",
            hint="known: " + ", ".join(DEFINITIONS) + "; others by --from ENV --setup COMMAND, or sandlot env import",
        )
    store = store_of(context)
    report = Progress(progress)
    with context.bases.in_use(), store.workshop() as shop:
        key = packages_key(definition)
        with build_lock(context.paths, key):
            known = None if fresh else store.named(name)
            if known is not None:
                return known, True
            fetched = packages.fetch(context.paths, definition, report)
            folder = shop / "unpacked"
            (folder / "tree").mkdir(parents=True)
            with RootTree(folder / "tree", keep_links=True) as tree:
                packages.unpack(tree, fetched, shop, report)
                raw = store.publish(folder, tree, _draft(EnvironmentKind.PACKAGES, f"{name} (not configured)"))
            try:
                report("configuring")
                setup = Setup("", (packages.configuring(),), timeout_s=CONFIGURE_S)
                made = _run(context, store, raw, setup, _draft(EnvironmentKind.PACKAGES, name), shop, output, progress)
            finally:
                store.discard(raw.digest)
                remove_orphans(Places.of(context.paths))  # what a guest has kept of it
            store.remember(key, made, shop)
            store.name(name, made, shop)
            return made, False


def packages_key(definition: Definition) -> str:
    """Under which the environment of a definition, as it is said today, is remembered."""
    return fingerprint("packages", RECIPE, definition.name, definition.release, *definition.packages)


def _draft(kind: EnvironmentKind, source: str, like: Environment | None = None) -> Environment:
    variables, workdir = (like.variables, like.workdir) if like else ({}, "")
    return Environment("", kind, source, "", 0, 0, variables=variables, workdir=workdir)


def _run(
    context: Context,
    store: EnvironmentStore,
    parent: Environment,
    setup: Setup,
    draft: Environment,
    shop: Path,
    output: Output | None,
    progress: Report | None,
) -> Environment:
    record, _ = creation.create(
        context,
        setup.source,
        environment=parent.digest,
        building=True,
        runtime=_runtime(context),
        network=setup.network,
        one_shot=True,
        progress=progress,
    )
    try:
        for command in (_PRELUDE, *setup.commands):
            _execute(context, record, command, setup.timeout_s, output)
        if record.storage == StorageKind.GUEST:
            _fetch(context, record)
        else:
            record = lifecycle.stop(context, record.id)
        return _collect(context, store, parent, record, draft, shop)
    finally:
        lifecycle.delete(context, record.id)
        reaper.empty_trash(context)


def _runtime(context: Context) -> str:
    """Where setups run: the cheapest that isolates enough, whichever runs workspaces of it, for a root is a root."""
    asked = context.settings.runtime
    return asked if asked == RuntimeChoice.QEMU else RuntimeChoice.AUTO


def _fetch(context: Context, record: WorkspaceRecord) -> None:
    """What the setup has changed, off the guest's disk."""
    from sandlot.runtimes.disks import bounds_of

    generation = context.paths.workspace(record.id).generation(record.generation)
    if record.instance is None:
        raise BuildFailed("the setup's workspace has ended")
    bounds = bounds_of(record.limits, generation.disk)
    target = generation.area("root") / "upper"
    context.runtime(record.runtime).fetch(record.instance, generation.socket, "/", target, bounds)


def _execute(
    context: Context, record: WorkspaceRecord, command: str, timeout_s: float | None, output: Output | None
) -> None:
    done = commands.execute(
        context, record, ["/bin/sh", "-c", command], env=_VARIABLES, timeout_s=timeout_s, sink=output
    )  # fmt: skip
    outcome = done.outcome
    if outcome is None or outcome.exit_code != 0:
        what = "was ended" if outcome is None or outcome.exit_code is None else f"ended with status {outcome.exit_code}"
        first = command.strip().splitlines()[0][:200]
        raise BuildFailed(f"the setup {first!r} {what}", details=_last_words(context, record, done))


def _last_words(context: Context, record: WorkspaceRecord, command: CommandRecord) -> tuple[str, ...]:
    folder = context.paths.workspace(record.id).command(command.number)
    lines: list[str] = []
    for name in ("stdout", "stderr"):
        try:
            with open(folder / name, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - DETAIL_BYTES))
                lines += file.read(DETAIL_BYTES).decode("utf-8", "replace").splitlines()[-10:]
        except OSError:
            continue
    return tuple(line for line in lines if line.strip())


def _collect(
    context: Context,
    store: EnvironmentStore,
    parent: Environment,
    record: WorkspaceRecord,
    draft: Environment,
    shop: Path,
) -> Environment:
    """The root as the setup has left it."""
    root = context.paths.workspace(record.id).generation(record.generation).area("root")
    folder = shop / "result"
    (folder / "tree").mkdir(parents=True)
    with RootTree(folder / "tree") as tree:
        if record.storage != StorageKind.COPY:
            source = os.open(store.root(parent.digest), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                tree.graft(source, store.rows(parent.digest))
            finally:
                os.close(source)
            put_on_top(tree, root / "upper")
        else:
            put_on_top(tree, root / "tree")
        return store.publish(folder, tree, draft)
