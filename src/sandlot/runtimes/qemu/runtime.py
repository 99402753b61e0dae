"""Starting and ending a workspace in a guest.

What only a start needs is imported by it: whether a workspace lives is asked by every command.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sandlot import process
from sandlot.errors import SandlotError, StartFailed, UsageError, WorkspaceFailure
from sandlot.model.limits import Limits
from sandlot.model.workspace import Instance
from sandlot.paths import Paths
from sandlot.runtimes.base import Bounds, Fetch, LaunchRequest, ProbeReport
from sandlot.runtimes.channel import Channel
from sandlot.wire import bridge as wire
from sandlot.wire import messages

if TYPE_CHECKING:
    from sandlot.runtimes.qemu.keeping import Kept
    from sandlot.runtimes.qemu.probe import Prober
    from sandlot.runtimes.qemu.template import Recipe, Template

__all__ = ["QemuRuntime"]

PARTING_S = 60.0
"""How long a guest that is stopped may take to end its processes and to send what they have changed: it is hostile, and
whoever stops it wants it gone."""
START_S = 60.0
"""How long an agent may take to answer its first ping."""
LOOK_MS = 15
"""What a look at limits is taken to cost where the processor is emulated, before there was one: the first command need
not wait for it."""
AGENT_FILES = 4096
"""Open files of the agent, which has more of them than a command that is limited to few."""
AGENT_PROCESSES = 64
"""What the agent itself may need beside what its commands may have."""
KERNELS = 320 << 20
"""Bytes of a guest's memory that its commands never get, or its kernel would end processes of its own choice."""
ROOM = 512 << 20
"""Bytes that a guest's kernel and its caches need beside a workspace's memory limit."""


class QemuRuntime:
    """The runtime named ``qemu``: isolation level ``vm`` with KVM, ``vm-emulated`` without."""

    name = "qemu"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._kept: dict[str, Kept] = {}

    @cached_property
    def _prober(self) -> Prober:
        from sandlot.runtimes.qemu.probe import Prober

        return Prober(self._paths)

    def probe(self, *, fresh: bool = False) -> ProbeReport:
        """See Runtime.probe."""
        report = self._prober.report(fresh=fresh)
        if not fresh or not report.available:
            return report
        return replace(report, findings=(*report.findings, self._prober.template()))

    def prepare(self, request: LaunchRequest) -> tuple[Recipe, Template]:
        """What a start of ``request`` clones, made when it is not there yet.

        Raises IsolationUnavailable, StartFailed, StateUnwritable, WorkspaceBusy.
        """
        from sandlot.runtimes.qemu import template
        from sandlot.runtimes.qemu.places import Places

        recipe = self.recipe(request)
        return recipe, template.get(Places.of(self._paths), recipe, request.progress)

    def recipe(self, request: LaunchRequest) -> Recipe:
        """What its template is made of. Raises IsolationUnavailable, StateUnwritable."""
        from sandlot.runtimes.qemu import commandline, image, initramfs, kernel
        from sandlot.runtimes.qemu.places import Places
        from sandlot.runtimes.qemu.template import Recipe

        accelerator = self._prober.accelerator
        places = Places.of(self._paths)
        machine = commandline.Machine(
            commandline.find(), accelerator, _processors(accelerator, request.limits), _memory(request.limits)
        )
        system = kernel.get(places)
        root = image.get(self._paths, request.environment, request.root, request.toolchains, request.progress)
        return Recipe(machine, system, initramfs.get(places, system), root, request.warm)

    def launch(self, request: LaunchRequest) -> Instance:
        """See Runtime.launch."""
        from sandlot.runtimes.qemu.keeping import starting
        from sandlot.runtimes.qemu.starter import CLONE_S
        from sandlot.runtimes.qemu.template import plan_of

        if request.disk is None:
            raise UsageError("a guest needs a data disk", hint="")
        with starting(request.socket, request.log) as kept:
            recipe, template = self.prepare(request)
            own = self._make_disk(request, request.disk, template)
            plan = plan_of(
                recipe, template, request.disk, life="clone",
                own=own, hostname=request.hostname, workspace=request.workspace_id,
            )  # fmt: skip
            kept.keep(plan, CLONE_S * 2)
            self._fill(request, own)
            if kept.qemu is None or kept.identity is None:
                raise kept.failed("it ended while it started")
            token = os.urandom(8).hex()
            self._kept[token] = kept
            instance = Instance(
                token, kept.qemu.pid, kept.qemu.start_time, kept.identity.pid, kept.identity.start_time, kept.qemu.boot
            )
        return replace(instance, enforcement=_enforcement(request.limits, self.probe()))

    def _make_disk(self, request: LaunchRequest, disk: Path, template: Template) -> bool:
        """Make the data disk if there is none; whether it is another than the template's. Raises StateUnwritable."""
        from sandlot.runtimes import disks

        if disk.exists():
            return True
        if disks.is_usual(request.limits):
            disks.copy_disk(template.disk, disk)
            return False
        disks.make_disk(disks.blanks_of(self._paths), disk, request.limits, extra=request.cold_bytes)
        return True

    def _fill(self, request: LaunchRequest, own: bool) -> None:
        """Give the guest its files, start its agent, and wait for the first answer."""
        from sandlot.runtimes.guest_storage import GuestStorage, is_standing
        from sandlot.runtimes.qemu import asking

        standing = not own and is_standing(request)
        if not standing:
            with GuestStorage(asking.job(request.socket, b"storage")) as storage:
                storage.install(request, own=own)
        if request.trust is not None:
            from sandlot.runtimes.qemu import certificates

            certificates.send(request.socket, request.trust)
        cost = 0 if self._prober.accelerator == "kvm" else LOOK_MS
        asking.start(request.socket, _start_values(request, new=int(standing), cost=cost))
        with Channel(request.socket) as channel:
            channel.send(messages.STATUS)  # not PING, for which it would look at all processes
            if channel.receive(START_S) is None:
                raise StartFailed("the guest ended while its agent started")

    def release(self, instance: Instance, socket: Path) -> None:
        """See Runtime.release."""
        with Channel(socket) as channel:
            channel.call(messages.RELEASE)
        kept = self._kept.pop(instance.token, None)
        if kept is not None:
            kept.say(b"release")
            kept.control.close()

    def alive(self, instance: Instance) -> bool:
        """See Runtime.alive."""
        return process.ProcessIdentity(instance.agent_pid, instance.agent_start, instance.boot).alive()

    def kill(self, instance: Instance) -> None:
        """See Runtime.kill: QEMU and its keeper; everything inside is gone with them."""
        kept = self._kept.pop(instance.token, None)
        if kept is not None:
            kept.control.close()
        parts = [
            # QEMU first: its keeper's death would kill it, too, but then nobody would wait until all its threads are
            # gone, and with them the lock on its disk.
            process.ProcessIdentity(instance.agent_pid, instance.agent_start, instance.boot),
            process.ProcessIdentity(instance.monitor_pid, instance.monitor_start, instance.boot),
        ]
        if not process.kill_and_wait(parts):
            raise WorkspaceFailure(
                f"process {instance.agent_pid} of the workspace did not end within {process.KILL_WAIT_S:.0f} s",
                hint="sandlot repair",
            )

    def fetch(self, instance: Instance, socket: Path, target: str, folder: Path, bounds: Bounds) -> None:  # noqa: ARG002  the contract's
        """See Runtime.fetch."""
        from sandlot.runtimes.guest_storage import GuestStorage
        from sandlot.runtimes.qemu import asking

        with GuestStorage(asking.job(socket, b"storage")) as storage:
            storage.take(target, folder, bounds)

    @contextlib.contextmanager
    def parting(self, instance: Instance, socket: Path) -> Iterator[Fetch | None]:  # noqa: ARG002  the contract's
        """See Runtime.parting: a job that begins when the agent has ended keeps the guest."""
        from sandlot.runtimes.guest_storage import GuestStorage
        from sandlot.runtimes.qemu import asking

        with contextlib.ExitStack() as stack:
            try:
                storage = stack.enter_context(
                    GuestStorage(asking.job(socket, b"storage", [wire.LAST]), within_s=PARTING_S)
                )
            except SandlotError:  # it is ending already
                yield None
            else:
                yield storage.take

    def show_trust(self, instance: Instance, socket: Path, folder: Path) -> None:  # noqa: ARG002  the contract's
        """See Runtime.show_trust."""
        from sandlot.runtimes.qemu import certificates

        certificates.send(socket, folder)

    def strays(self, known: frozenset[str], *, remove: bool = False) -> int:  # noqa: ARG002  the contract's
        """See Runtime.strays: what killed builders left. Keepers that nobody knows end with their launchers."""
        from sandlot.runtimes.qemu.places import Places, leftovers

        return leftovers(Places.of(self._paths), remove=remove)


def _processors(accelerator: str, limits: Limits) -> int:
    from sandlot.runtimes.qemu.probe import processors

    usual = processors(accelerator)
    return usual if limits.cpus is None else min(math.ceil(limits.cpus), len(os.sched_getaffinity(0)))


def _memory(limits: Limits) -> int:
    """Bytes that the guest sees: one of a few sizes, for each has templates of its own.

    Never more than a quarter of the machine's, or than what is usual if that is more: a limit of "75 %" is one of what
    a workspace may take, and no wish for a guest of that size.
    """
    from sandlot.runtimes.qemu.commandline import MEMORY

    size = MEMORY
    while (limits.memory is None or size < limits.memory + ROOM) and size * 2 <= _quarter():
        size *= 2
    return size


def _quarter() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4


def _start_values(request: LaunchRequest, **about: int) -> dict[bytes, bytes]:
    """START; ``about``: what the agent is told besides limits, see its main."""
    from sandlot.runtimes import disks
    from sandlot.runtimes.qemu.commandline import GUEST_MACHINE

    limits = request.limits
    most = limits.tmp if limits.memory is None else max(1 << 20, min(limits.tmp, limits.memory // 2))
    values = {
        wire.IDLE: b"%d" % (request.idle_timeout_s or 0),
        wire.LIMITS: _told(limits, **about).encode(),
        wire.ROOM: b"%d" % disks.room(limits, request.cold_bytes),
    }
    if most != wire.TMP_BYTES:
        values[wire.TMP] = b"%d" % most
    if request.building is not None:
        from sandlot.runtimes import seccomp

        values[wire.BUILDING] = b"1"
        values[wire.FILTER] = seccomp.program(GUEST_MACHINE, as_root=True)
    if limits.processes is not None:  # the watcher, who can say what happened, comes first
        values[wire.PROCESSES] = b"%d" % (limits.processes + AGENT_PROCESSES)
    if limits.open_files is not None:
        values[wire.FILES] = b"%d" % max(AGENT_FILES, limits.open_files)
    return values


def _told(limits: Limits, **about: int) -> str:
    """The limits that the agent's watcher holds, as watch.py reads them; its disk and its kernel hold the others."""
    refused = 1 if limits.processes is not None else None
    room = _memory(limits) - KERNELS
    values = {
        "memory": room if limits.memory is None else min(limits.memory, room),
        "processes": limits.processes,
        "refused": refused,
        "files": limits.open_files,
        **about,
    }
    return ",".join(f"{name}={value}" for name, value in values.items() if value is not None)


def _enforcement(limits: Limits, report: ProbeReport) -> dict[str, str]:
    names = ("memory", "cpus", "processes", "open_files", "disk", "inodes", "tmp")
    found = {name: report.enforcement[name] for name in names if getattr(limits, name) is not None}
    if limits.max_duration_s is not None:
        found["max_duration"] = report.enforcement["max_duration"]
    return found
