"""`kill -9` of any process of ours, at any moment: nothing is lost, and nothing is left over after a repair.

``SANDLOT_CHAOS_KILLS`` and ``SANDLOT_CHAOS_SEED`` choose how many random moments, and which.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from smokes.scene import share_guests

from sandlot.bases.trees import remove_tree
from sandlot.process import ProcessIdentity, identify
from sandlot.sdk import Sandlot
from tests.chaos.leaks import command_line, find_leaks
from tests.chaos.model import Operation, World, look
from tests.conftest import GUESTS, SOURCE, clean_environment

ROOT = Path(__file__).parent.parent.parent
KILLS = int(os.environ.get("SANDLOT_CHAOS_KILLS", "200"))
SEED = int(os.environ.get("SANDLOT_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
VICTIMS = ("driver", "driver", "driver", "monitor", "agent", "worker", "worker", "helper")
SCENARIOS = (
    ("CreateFromFolder", "CreateEmpty", "Exec", "ExecInBackground", "WriteFile"),
    ("CreateFromGit", "Rename", "RunOnce", "Repair", "Prune"),
    ("TakeSnapshot", "DropSnapshot", "Reset", "Fork", "Delete", "StopAndStart"),
)


@contextlib.contextmanager
def playground() -> Iterator[tuple[Path, Path]]:
    """A state folder and a folder for seeds."""
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    state, work = folder / "s", folder / "w"
    state.mkdir()
    work.mkdir()
    if GUESTS:
        share_guests(state)
    try:
        yield state, work
    finally:
        with Sandlot(state) as sandlot:
            sandlot.call("workspace_delete", all=True)
        remove_tree(folder)


def environment(state: Path) -> dict[str, str]:
    return {**clean_environment(state), "PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"}


def kill_points(scenarios: Sequence[str], *options: str) -> None:
    """Run the scenarios of killpoints.py; its complaint is ours."""
    with playground() as (state, work):
        only = [word for name in scenarios for word in ("--only", name)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.killpoints", str(state), str(work), *only, *options],
            env=environment(state), cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("scenarios", SCENARIOS, ids=lambda names: names[0])
def test_dying_right_before_a_change_loses_and_leaks_nothing(scenarios: Sequence[str]) -> None:
    kill_points(scenarios, "--sample", "6", "--seed", str(SEED))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", [name for names in SCENARIOS for name in names])
def test_dying_right_before_each_single_change_loses_and_leaks_nothing(scenario: str) -> None:
    kill_points([scenario])


class Chaos:
    """Driver after driver on the same state folder, one process killed in each."""

    def __init__(self, state: Path, work: Path, seed: int) -> None:
        self.state = state
        self.work = work
        self.random = random.Random(seed)
        self.world = World()
        self.number = 0
        self.killed: Counter[str] = Counter()
        self.during: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def plan(self, length: int) -> list[Operation]:
        """Random operations that would all succeed."""
        ahead = World({name: set(states) for name, states in self.world.states.items()})
        operations: list[Operation] = []
        while len(operations) < length:
            operation = self._choose(ahead)
            ahead.apply(operation, certain=True)
            operations.append(operation)
        return operations

    def _choose(self, ahead: World) -> Operation:
        self.number += 1
        names = ahead.names()
        text = f"text {self.number}"
        if not names or (len(names) < 6 and self.random.random() < 0.25):
            seed = self.random.choice(("empty", "folder", "folder", "git", "git"))
            return {"do": "create", "name": f"w{self.number}", "seed": seed, "text": text, "bulk": 150}
        name = self.random.choice(names)
        state = next(iter(ahead.states[name]))
        assert state is not None
        snapshots = [each for each, _ in state.snapshots]
        do = self.random.choice(["exec", "exec", "write", "snapshot", "reset", "fork", "stop", "delete", "drop"])
        if do == "exec":
            path, junk = self.random.choice(("a", "sub-b", "~")), self.random.choice((0, 0, 200))
            return {"do": do, "name": name, "path": path if path == "~" else f"./{path}", "text": text, "junk": junk}
        if do == "write":
            return {"do": do, "name": name, "path": f"./{self.random.choice('ab')}", "text": text}
        if do == "fork" and len(names) < 6:
            return {"do": do, "name": name, "new": f"w{self.number}"}
        if do == "drop" and snapshots:
            return {"do": do, "name": name, "snapshot": self.random.choice(snapshots)}
        if do == "reset":
            return {"do": do, "name": name, "to": self.random.choice([*snapshots, "baseline"])}
        if do in ("stop", "delete"):
            return {"do": do, "name": name}
        return {"do": "snapshot", "name": name, "snapshot": f"s{self.number}"}

    def round(self) -> None:
        """A driver, a kill, a repair, a look."""
        operations = self.plan(5)
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.driver", str(self.state), str(self.work)],
            env=environment(self.state), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert driver.stdin is not None
        assert driver.stdout is not None
        assert driver.stderr is not None
        with driver, driver.stdin, driver.stdout, driver.stderr:
            driver.stdin.write(json.dumps(operations))
            driver.stdin.close()
            moment = self.random.randrange(len(operations))
            lines = []
            for line in driver.stdout:
                lines.append(line)
                if line == f"begin {moment}\n":
                    break
            time.sleep(self.random.expovariate(1 / 0.02))
            victim = self.kill(driver, operations[moment]["name"])
            lines += driver.stdout.readlines()
            complaint = driver.stderr.read()
        assert driver.returncode in (0, -signal.SIGKILL), f"{victim} was killed:\n{complaint}"
        print(f"killed {victim} during {operations[moment]}; last words: {lines[-1].strip()}")
        self.killed[victim] += 1
        self.during[operations[moment]["do"]] += 1
        self.learn(operations, lines)
        self.check()

    def kill(self, driver: subprocess.Popen[str], name: str) -> str:
        """SIGKILL one process of ours, preferably of the workspace of that name, and say what it was."""
        found = self.processes(driver, name)
        victim = self.random.choice([each for each in VICTIMS if each in found] or ["driver"])
        for process in [self.random.choice(found[victim])] if victim in found else []:
            with contextlib.suppress(ProcessLookupError):
                if process.alive():
                    os.kill(process.pid, signal.SIGKILL)
        return victim

    def processes(self, driver: subprocess.Popen[str], name: str) -> dict[str, list[ProcessIdentity]]:
        """Our processes now, by what they do; of the workspace of that name alone if it has any."""
        found: dict[str, list[int]] = {"driver": [driver.pid], "helper": descendants(driver.pid)}
        with Sandlot(self.state) as sandlot:
            running = [each for each in sandlot._context.store.everything() if each.instance is not None]
        chosen = [each for each in running if each.name == name] or running
        instances = [each.instance for each in chosen if each.instance is not None]
        for instance in instances:
            found.setdefault("agent", []).append(instance.agent_pid)
            found.setdefault("monitor", []).append(instance.monitor_pid)
            found.setdefault("worker", []).extend(children(instance.agent_pid))
        found["helper"] += [int(name) for name in os.listdir("/proc") if name.isdigit() and self._sweeps(int(name))]
        known = {kind: [process for pid in pids if (process := identify(pid))] for kind, pids in found.items()}
        return {kind: processes for kind, processes in known.items() if processes}

    def _sweeps(self, pid: int) -> bool:
        return f"{self.state}/trash" in command_line(pid)

    def learn(self, operations: list[Operation], lines: list[str]) -> None:
        """What the driver acknowledged happened; what it only began may have."""
        ends = {int(number): (word, rest) for word, number, *rest in map(str.split, lines) if word != "begin"}
        for word, number, *_ in map(str.split, lines):
            if word == "begin":
                end, rest = ends.get(int(number), ("cut", []))
                self.world.apply(operations[int(number)], certain=end == "done")
                if end == "failed":
                    self.codes[rest[0].rstrip(":")] += 1

    def check(self) -> None:
        """Repair, then compare everything with what must be."""
        with Sandlot(self.state) as sandlot:
            sandlot.repair()
            problems = find_leaks(self.state)
            if problems and all(problem.endswith("is half-made") for problem in problems):
                # A child of the killed caller was just being born or just ending, with the lock of what was made:
                # nobody may take that away from it. find_leaks waited for its end.
                sandlot.repair()
                problems = find_leaks(self.state)
            for name, found in look(sandlot, self.world.states).items():
                problem = self.world.settle(name, found)
                problems += [problem] if problem else []
            assert not problems, "\n".join(problems)
            self.try_a_snapshot(sandlot)
        self.world.states = {name: states for name, states in self.world.states.items() if states != {None}}

    def try_a_snapshot(self, sandlot: Sandlot) -> None:
        """Some workspace goes back to some saved state: that must still be what it was."""
        names = self.world.names()
        if not names:
            return
        name = self.random.choice(names)
        state = next(iter(self.world.states[name]))
        assert state is not None
        to = self.random.choice([*(each for each, _ in state.snapshots), "baseline"])
        sandlot.get(name).reset(to)
        self.world.apply({"do": "reset", "name": name, "to": to}, certain=True)
        problem = self.world.settle(name, look(sandlot, [name])[name])
        assert problem is None, f"after a reset to {to}: {problem}"


def children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [each for child in found for each in descendants(child)]


def chaos(kills: int) -> None:
    print(f"\nseed {SEED}")
    with playground() as (state, work):
        run = Chaos(state, work, SEED)
        for number in range(kills):
            try:
                run.round()
            except BaseException:
                print(f"round {number} of seed {SEED}")
                raise
    killed, during, codes = (", ".join(f"{what} {count}" for what, count in each.most_common())
                             for each in (run.killed, run.during, run.codes))  # fmt: skip
    print(f"kill -9 at {kills} random moments, nothing lost, nothing leaked; killed: {killed}; during: {during}; "
          f"errors that others saw: {codes or 'none'}")  # fmt: skip


def test_a_kill_at_random_moments_loses_and_leaks_nothing() -> None:
    chaos(12)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_at_many_random_moments_lose_and_leak_nothing() -> None:
    chaos(KILLS)
