"""Making sure that a workspace of some environment will start at once: build what is missing, and try everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from enum import StrEnum

from sandlot.bases.environments.definitions import DEFINITIONS
from sandlot.bases.environments.store import EnvironmentStore
from sandlot.bases.progress import Report
from sandlot.bases.source import Source
from sandlot.errors import EnvironmentNotFound, IsolationUnavailable, StartFailed
from sandlot.model.base import OriginKind
from sandlot.model.environment import HOST, Environment, EnvironmentKind, split_label
from sandlot.model.isolation import RuntimeChoice
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import Finding
from sandlot.workspaces import commands, creation, lifecycle, reaper, states
from sandlot.workspaces.context import Context
from sandlot.workspaces.environments import environment_of, store_of
from sandlot.workspaces.isolating import chosen_runtime

__all__ = ["Prepared", "Readiness", "Step", "findings", "prepare", "readiness"]

TRIAL_S = 120.0


class Readiness(StrEnum):
    """How soon a workspace of an environment can start."""

    WARM = "warm"
    """At once."""
    COLD = "cold"
    """Something is to be built or copied first."""
    STALE = "stale"
    """At once; but what it was made from means something else by now."""


def findings(context: Context) -> list[Finding]:
    """Lines of doctor: every environment that is here, and those that settings name and that are not."""
    store = store_of(context)
    settings = context.settings
    wanted = [getattr(settings, each.name) for each in fields(settings) if each.name.startswith("environment")]
    names = dict.fromkeys([*(name for name in wanted if name not in (HOST, "default")), *store.names()])
    found = []
    for name in names:
        try:
            environment = store.find(name)[1]
            state = readiness(context, name, environment)
        except EnvironmentNotFound as error:
            found.append(
                Finding(f"environment.{name}", False, "cold: a setting names it, and it is not here", error.hint, False)
            )
            continue
        fix = f"sandlot prepare {name}" if state is Readiness.COLD else f"build or import {name} again"
        found.append(Finding(f"environment.{name}", state is Readiness.WARM, _MEANINGS[state], fix, required=False))
        found += _guest_findings(context, name, environment)
    return found


def _guest_findings(context: Context, name: str, environment: Environment) -> list[Finding]:
    """How soon a guest of an environment can start: for those that have been in one, or would be."""
    state = _guest_readiness(context, environment)
    if state is None or (state is Readiness.COLD and context.settings.runtime != RuntimeChoice.QEMU):
        return []
    fix = "" if state is Readiness.WARM else f"sandlot prepare {name} --runtime qemu"
    return [Finding(f"qemu.template.{name}", state is Readiness.WARM, _GUESTS[state], fix, required=False)]


def _guest_readiness(context: Context, environment: Environment | None) -> Readiness | None:
    """None: there is no QEMU that could tell."""
    from sandlot.runtimes.qemu.probe import Prober

    prober = Prober(context.paths)
    try:
        if environment is None:
            return Readiness(prober.standing())
        return Readiness(prober.standing(environment.digest, store_of(context).root(environment.digest)))
    except IsolationUnavailable:
        return None


_GUESTS = {
    Readiness.WARM: "warm: a guest of it starts at once, from its template",
    Readiness.COLD: "cold: the first guest of it has to pack its files and boot first",
    Readiness.STALE: "stale: sandlot, QEMU or the kernel have changed: the next guest of it boots first",
}
_MEANINGS = {
    Readiness.WARM: "warm: a workspace of it starts at once",
    Readiness.COLD: "cold: its first workspace has to make something first",
    Readiness.STALE: "stale: what it was made from means something else by now",
}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done, or proved."""

    name: str
    ms: int
    detail: str = ""


def readiness(context: Context, name: str, environment: Environment | None) -> Readiness:
    """How an environment stands; None: it has not been built."""
    from sandlot.runtimes.relocated import is_ready
    from sandlot.workspaces.setups import packages_key

    if name == HOST:
        return Readiness.WARM
    if environment is None or not is_ready(context.paths):
        return Readiness.COLD
    store = store_of(context)
    definition = DEFINITIONS.get(name)
    if environment.kind is EnvironmentKind.PACKAGES and definition is not None:
        known = store.known(packages_key(definition))
        return Readiness.WARM if known is not None and known.digest == environment.digest else Readiness.STALE
    return Readiness.STALE if _parent_moved(store, environment) else Readiness.WARM


def _parent_moved(store: EnvironmentStore, environment: Environment) -> bool:
    """Whether the name of what a setup was run in means something else now."""
    if environment.kind is not EnvironmentKind.SETUP:
        return False
    parent = store.named(split_label(environment.source)[0])
    return parent is not None and parent.digest != environment.parent


@dataclass(frozen=True, slots=True)
class Prepared:
    """What preparing showed."""

    record: WorkspaceRecord
    """Of the workspace that was tried, which is gone."""
    before: Readiness
    """How it stood."""
    steps: tuple[Step, ...]


def prepare(
    context: Context, name: str, *, runtime: str | None, progress: Report, output: Callable[[str, bytes], None] | None
) -> Prepared:
    """Build an environment if it can be built and is not there; then create, exec, reset, delete for real.

    Raises what any of them raises, and before anything is built IsolationUnavailable.
    """
    chosen, _ = chosen_runtime(context, runtime)
    before = _before(context, name, chosen)
    steps: list[Step] = []

    @contextmanager
    def step(what: str) -> Iterator[list[str]]:
        """What is put into the list is told of the step."""
        progress(what, 0, 0)
        start = time.monotonic()
        details: list[str] = []
        yield details
        steps.append(Step(what, round((time.monotonic() - start) * 1000), ", ".join(details)))

    if chosen == RuntimeChoice.QEMU:
        with step("kernel") as details:
            details += _renewed_kernel(context)
    if name != HOST:
        with step("build"):
            _ensure(context, name, progress, output)
    with step("create"):
        record, _ = creation.create(
            context, Source(OriginKind.NOTHING), environment=name, runtime=chosen, one_shot=True, progress=progress
        )
    try:
        with step("exec"):
            _try(context, record)
        with step("reset"):
            record = states.reset(context, record.id)
        with step("exec after reset"):
            _try(context, record)
    finally:
        with step("delete"):
            lifecycle.delete(context, record.id)
            reaper.empty_trash(context)
    return Prepared(record, before, tuple(steps))


def _renewed_kernel(context: Context) -> list[str]:
    """Which one guests have from now on."""
    from sandlot.runtimes.qemu import kernel
    from sandlot.runtimes.qemu.places import Places

    found, trouble = kernel.renew(Places.of(context.paths))
    return [found.release, *([f"no newer one: {trouble}"] if trouble else [])]


def _before(context: Context, name: str, runtime: str) -> Readiness:
    """How it stands with this runtime."""
    environment = None
    if name != HOST:
        with suppress(EnvironmentNotFound):
            environment = store_of(context).find(name)[1]
    own = readiness(context, name, environment)
    if own is Readiness.COLD or runtime != RuntimeChoice.QEMU:
        return own
    guest = _guest_readiness(context, environment) or Readiness.COLD
    return own if guest is Readiness.WARM else guest


def _ensure(context: Context, name: str, progress: Report, output: Callable[[str, bytes], None] | None) -> None:
    try:
        store_of(context).find(name)
    except EnvironmentNotFound:
        if name not in DEFINITIONS:
            raise
        from sandlot.workspaces.setups import build_packages

        build_packages(context, name, progress=progress, output=output)


def _try(context: Context, record: WorkspaceRecord) -> None:
    """A command that needs nothing but what every environment has; one without a shell is only asked for an answer."""
    environment = environment_of(context, record)
    if environment is not None and not environment.shell:
        if not commands.responsive(context, record):
            raise StartFailed("the workspace's agent does not answer")
        return
    done = commands.execute(
        context, record, ["/bin/sh", "-c", "echo ready > probe && read a < probe"], timeout_s=TRIAL_S
    )
    if done.outcome is None or done.outcome.exit_code != 0:
        raise StartFailed("a command in a workspace of this environment failed", hint="sandlot doctor --deep")
