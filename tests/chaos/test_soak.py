"""Shells and services in parallel over several workspaces, with mixed work: nothing piles up.

``SANDLOT_SOAK_S`` chooses how long the slow one goes on (10 minutes unless told otherwise).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandlot.model.command import CommandState
from sandlot.model.service import ServiceState
from sandlot.sdk import Sandlot, Workspace
from tests.chaos.leaks import find_leaks
from tests.chaos.test_kill import playground

SOAK_S = float(os.environ.get("SANDLOT_SOAK_S", "600"))
SERVER = ["python3", "-m", "http.server", "--bind", "127.0.0.1"]
FIRST_PORT = 8100


@dataclass(frozen=True)
class Measure:
    """What could pile up."""

    processes: int
    """Inside all workspaces."""
    agent_descriptors: int
    agent_kib: int
    """Resident memory of all agents."""
    own_descriptors: int
    own_threads: int


def measure(sandlot: Sandlot) -> Measure:
    pids = [each.instance.agent_pid for each in sandlot._context.store.everything() if each.instance is not None]
    namespaces = {os.readlink(f"/proc/{pid}/ns/pid") for pid in pids}
    processes = sum(_namespace(name) in namespaces for name in os.listdir("/proc") if name.isdigit())
    return Measure(
        processes,
        sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids) if os.getuid() == 0 else 0,
        sum(_resident_kib(pid) for pid in pids),
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
    )


def _namespace(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


class Resident:
    """One workspace with its shells and services, and somebody who works with them."""

    def __init__(self, workspace: Workspace, number: int, each: int, seed: int) -> None:
        self.workspace = workspace
        self.random = random.Random(seed)
        self.turns = 0
        self.shells = [workspace.shells.open(["/bin/sh"]) for _ in range(each)]
        self.services = []
        for index in range(each):
            name, port = f"web-{index}", FIRST_PORT + number * each + index
            started = workspace.services.start(name, [*SERVER, str(port)], ready_tcp=str(port))
            assert started.service.state is ServiceState.READY, started
            self.services.append((name, port))

    def turn(self) -> None:
        """One piece of work, checked."""
        self.turns += 1
        work: list[Callable[[], None]] = [self.type, self.ask, self.run, self.edit, self.restart, self.background]
        self.random.choice(work)()

    def type(self) -> None:
        shell, mark = self.random.choice(self.shells), f"mark{self.turns}"
        cursor = shell.read(max_bytes=1).next_cursor
        shell.write(f"echo {mark[:2]}''{mark[2:]}", enter=True)
        text = ""
        for _ in range(50):
            answer = shell.read(cursor, wait=10)
            text += answer.text
            cursor = answer.next_cursor
            if mark in text:
                return
        raise AssertionError(f"{mark} is not in {text!r}")

    def ask(self) -> None:
        _, port = self.random.choice(self.services)
        code = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/').status)"
        assert self.workspace.exec(["python3", "-c", code]).stdout.text == "200\n"

    def run(self) -> None:
        assert self.workspace.exec(f"seq {self.turns} | tail -1").stdout.text == f"{self.turns}\n"

    def edit(self) -> None:
        self.workspace.files.write("notes", f"{self.turns}\n")
        assert self.workspace.files.read("notes").content == f"{self.turns}\n"
        assert self.workspace.diff(stat=True).files

    def restart(self) -> None:
        index = self.random.randrange(len(self.services))
        name, port = self.services[index]
        assert self.workspace.services.stop(name).service.state is ServiceState.STOPPED
        again = self.workspace.services.start(name, [*SERVER, str(port)], ready_tcp=str(port))
        assert again.service.state is ServiceState.READY, again
        self.shells[index % len(self.shells)].close()
        self.shells[index % len(self.shells)] = self.workspace.shells.open(["/bin/sh"])

    def background(self) -> None:
        number = self.workspace.exec("sleep 1000", background=True).command.number
        self.workspace.kill(number)
        assert self.workspace.wait(number, timeout=60).command.state is CommandState.KILLED


def soak(workspaces: int, each: int, seconds: float) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"\nseed {seed}")
    with playground() as (state, _), Sandlot(state) as sandlot, ThreadPoolExecutor(workspaces) as pool:
        made = [sandlot.create() for _ in range(workspaces)]
        residents = list(pool.map(lambda pair: Resident(pair[1], pair[0], each, seed + pair[0]), enumerate(made)))

        def work(resident: Resident, until: float) -> None:
            while time.monotonic() < until:
                resident.turn()

        for resident in residents:  # once each, so that what is loaded at first use is loaded
            for step in (resident.type, resident.ask, resident.run, resident.edit, resident.restart):
                resident.turns += 1
                step()
        before = measure(sandlot)
        started = time.monotonic()
        list(pool.map(lambda resident: work(resident, started + seconds), residents))
        after = measure(sandlot)
        turns = sum(resident.turns for resident in residents)
        print(f"{workspaces * each} shells, {workspaces * each} services, {workspaces} workspaces, {turns} pieces of "
              f"work in {time.monotonic() - started:.0f} s\nbefore {before}\nafter  {after}")  # fmt: skip
        assert after.processes <= before.processes + workspaces  # one may just be ending in each
        assert after.agent_descriptors <= before.agent_descriptors + workspaces
        assert after.agent_kib <= before.agent_kib * 1.25 + 1024
        assert after.own_descriptors <= before.own_descriptors + 4
        assert after.own_threads <= before.own_threads + 2
        for workspace in made:
            workspace.stop()
            assert all(each.state.over for each in workspace.services.list())
            workspace.delete()
        sandlot.repair()
        assert not find_leaks(state)


def test_shells_and_services_in_parallel_leave_nothing_behind() -> None:
    soak(workspaces=2, each=2, seconds=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_shells_and_twenty_services_for_a_long_time_leave_nothing_behind() -> None:
    soak(workspaces=10, each=2, seconds=SOAK_S)
