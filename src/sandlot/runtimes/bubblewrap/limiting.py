"""Holding one instance to its limits: what the host can do, and what the agent's watcher is told to do.

Three means, each for what it can: control groups where we may make them, resource limits and the set of processors of
the agent (everything inside descends from it and cannot raise them again), and the watcher for the rest.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sandlot import process
from sandlot.model.limits import Enforcement, Limits
from sandlot.model.workspace import Instance
from sandlot.runtimes.base import LaunchRequest
from sandlot.runtimes.bubblewrap import cgroups
from sandlot.runtimes.bubblewrap.plan import Plan

__all__ = ["Held", "gaps", "prepare", "tmp_bytes", "trial"]

TRIAL = Limits(1 << 30, 0.5, 64, 1024, 1 << 30, 1 << 20, 1 << 20, 60.0)

AGENT_FILES = 4096
"""Open files of the agent, which has more of them than a command that is limited to few."""


def tmp_bytes(limits: Limits) -> int:
    """Size of /tmp and of /dev/shm: they are memory, so together they take no more than all memory there is."""
    return limits.tmp if limits.memory is None else max(1 << 20, min(limits.tmp, limits.memory // 2))


def prepare(state: Path, token: str, request: LaunchRequest) -> Held:
    """What is to be done for a new instance; made here is only what must be there before it starts."""
    groups = cgroups.make(state, token, request.limits)
    pinned: frozenset[int] = frozenset()
    cpus = request.limits.cpus
    if cpus is not None and "cpus" not in groups.enforced:
        there = sorted(os.sched_getaffinity(0))
        count = math.ceil(cpus)
        if count < len(there):
            pinned = frozenset(random.sample(there, count))  # spreads the load
    return Held(groups, request.limits, pinned)


@dataclass(slots=True)
class Held:
    """The means by which one instance is limited."""

    groups: cgroups.Groups
    limits: Limits
    processors: frozenset[int]
    _joined: threading.Thread | None = None
    _applied: bool = field(default=False)

    @property
    def pinned(self) -> bool:
        """Whether its processors may not be changed inside."""
        return bool(self.processors)

    def told(self, plan: Plan, request: LaunchRequest, pass_on: Callable[[int], int]) -> str:
        """The agent's limits, as watch.py reads them; makes the plan show what it measures."""
        limits = self.limits
        values: dict[str, object] = {"memory": limits.memory, "processes": limits.processes}
        values["refused"] = 1 if "processes" in self.groups.enforced or self._counted() else None
        values |= {"files": limits.open_files, "disk": limits.disk, "inodes": limits.inodes}
        if limits.disk is not None or limits.inodes is not None:
            root = [request.building] if request.building is not None and request.building.overlay else []
            areas = [*request.areas, *root]
            values["changes"] = ":".join(plan.changes(area) for area in areas)
            values["fresh"] = 1 if all(area.overlay and _is_empty(area.upper) for area in areas) else None
        # Two files of the kernel that only count; the agent alone has them, and nobody can look into it.
        values |= {name: pass_on(descriptor) for name, descriptor in self.groups.events.items()}
        self.groups.close()
        return ",".join(f"{name}={value}" for name, value in values.items() if value is not None)

    def begin(self, monitor: int) -> None:
        """Start putting it into its groups while it starts itself.

        The first move in a while waits for all processors (10 ms and more); what follows is quick. So the monitor goes
        first, from a thread, and the agent when it has answered, before anything else can run inside.
        """
        if self.groups.folders:
            self._joined = threading.Thread(target=self.groups.enter, args=(monitor,), name="cgroups")
            self._joined.start()

    def apply(self, instance: Instance) -> Instance:
        """Limit the agent, which has just answered and runs nothing yet; the instance says what works."""
        if self._joined is not None:
            self._joined.join()
        if self.groups.folders:
            self.groups.enter(instance.agent_pid)
        by_kernel = {"tmp", *self.groups.enforced, *self._resources(instance.agent_pid)}
        if self.processors:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(instance.agent_pid, self.processors)
                if self.limits.cpus == len(self.processors):  # a part of one cannot be had this way
                    by_kernel.add("cpus")
        self._applied = True
        folders = tuple(map(str, self.groups.folders))
        return replace(instance, enforcement=self._enforcement(by_kernel), cgroups=folders)

    def _resources(self, agent: int) -> set[str]:
        """Set what prlimit(2) can; returns the limits that are held by it."""
        done = set()
        # A core would hold what was in memory. 0 keeps it out of files alone: 1 byte is too little for a file as well,
        # and the one value at which the kernel calls no crash handler of the host either (fs/coredump.c).
        _lower(agent, resource.RLIMIT_CORE, 1)
        if self.limits.open_files is not None and _lower(
            agent, resource.RLIMIT_NOFILE, max(AGENT_FILES, self.limits.open_files)
        ):
            done.add("open_files")
        if self.limits.processes is not None and self._counted():
            most = cgroups.ceiling("processes", self.limits.processes)
            if _lower(agent, resource.RLIMIT_NPROC, most):
                done.add("processes")
        return done

    def _counted(self) -> bool:
        """Whether RLIMIT_NPROC holds: the kernel exempts root (fork(2), EAGAIN)."""
        return os.geteuid() != 0 and _counts_by_namespace(os.uname().release)

    def _enforcement(self, by_kernel: set[str]) -> dict[str, str]:
        found = {}
        for name in ("memory", "cpus", "processes", "open_files", "disk", "inodes", "tmp"):
            if getattr(self.limits, name) is not None:
                word = Enforcement.NONE if name in ("cpus", "open_files") else Enforcement.POLLED
                found[name] = str(Enforcement.KERNEL if name in by_kernel else word)
        if self.limits.max_duration_s is not None:
            found["max_duration"] = str(Enforcement.POLLED)
        return found

    def abandon(self) -> None:
        """The start has failed: leave nothing behind. After ``apply`` the instance owns the groups."""
        if self._joined is not None:
            self._joined.join()
        self.groups.close()
        if not self._applied:
            self.groups.give_up()


def trial(state: Path) -> dict[str, str]:
    """Limit -> word of ``Enforcement`` on this machine: a process is really put under each, as an instance would be."""
    token = f"trial-{os.urandom(6).hex()}"
    held = prepare(state, token, LaunchRequest("", (), state, state, limits=TRIAL))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        asleep = process.spawn_detached(["/bin/sleep", "60"], env={}, log=null)
    except OSError:
        held.abandon()
        return {}
    finally:
        os.close(null)
    identity = process.identify(asleep.pid)
    try:
        held.begin(asleep.pid)
        done = held.apply(Instance(token, asleep.pid, 0, asleep.pid, 0, ""))
    finally:
        held.groups.close()
        asleep.kill()
        asleep.wait()
        if identity is not None:
            process.reap()
    cgroups.remove(done.cgroups)
    return done.enforcement


def gaps(enforcement: dict[str, str]) -> tuple[str, ...]:
    """What this machine leaves open of the limits, in the words of known gaps."""
    found = [
        "disk and inodes of a workspace's changes are measured, not refused by the kernel: a program that writes fast "
        "overshoots by what it writes in about 0.1 s (more where there are many files), and what is deleted but kept "
        "open by a process that hides what it has open is not seen until the disk is nearly full"
    ]
    if enforcement.get("memory") != Enforcement.KERNEL:
        found.append(
            "memory is watched, not refused by the kernel: a program that allocates fast overshoots by what it takes "
            "in about 50 ms; memory of the kernel itself (pipes, sockets, open files) is not counted"
        )
    if enforcement.get("processes") != Enforcement.KERNEL:
        found.append(
            "processes are counted, not refused by the kernel: a fork bomb overshoots, and one that doubles itself is "
            "faster than the watcher and can fill the process table of the machine or container before it is ended"
        )
    if enforcement.get("cpus") != Enforcement.KERNEL:
        found.append("processors are given as whole ones only: shares of them need control groups")
    return tuple(found)


def _counts_by_namespace(release: str) -> bool:
    """Whether RLIMIT_NPROC counts what runs inside only; before Linux 5.14, all that the user runs on the host."""
    version = re.match(r"(\d+)\.(\d+)", release)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 14)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _lower(pid: int, kind: int, most: int) -> bool:
    """Set a resource limit of a process, never above what it has; returns whether it is that now."""
    try:
        _, hard = resource.prlimit(pid, kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(pid, kind, (value, value))
    except (OSError, ValueError):
        return False
    return True
