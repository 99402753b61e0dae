"""``make bench-evals``: what the eval runner costs, as processes, beside what does the same work.

That is a bare script, and inspect-ai with its local sandbox (``inspect_task.py``), which copies the tree and isolates
nothing; sandlot's trials are isolated, and graded in a second workspace.

CPU is that of the process and of everything it started: this process adopts orphans, so the agents of workspaces, which
outlive nobody, are counted as well.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sandlot as package
from benchmarks.machine import Machine
from benchmarks.trees import grow
from sandlot import process

__all__ = ["main"]

PR_SET_CHILD_SUBREAPER = 36
TRIALS, QUICK_TRIALS = 100, 3
LARGE, QUICK_LARGE = 20_000, 200
SMALL = 200
WORD = "measured"
PATIENCE_S = 600.0
BARE_SCRIPT = """
import pathlib, shutil, subprocess, sys, tempfile
source, trials = sys.argv[1], int(sys.argv[2])
for number in range(trials):
    with tempfile.TemporaryDirectory(dir=sys.argv[3]) as place:
        shutil.copytree(source, place + "/w", symlinks=True)
        command = ["sh", "-c", "echo measured >> made; echo measured"]
        done = subprocess.run(command, cwd=place + "/w", capture_output=True)
        assert b"measured" in done.stdout
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a process and of everything it started."""

    wall_s: float
    cpu_s: float
    own_mib: float
    """Most memory of the process itself, in MiB."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.evals", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three trials, two hundred files: does it work?")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts [3]")
    parser.add_argument("--inspect-ai", metavar="PYTHON", help="an interpreter that has inspect-ai [leave it out]")
    options = parser.parse_args(argv)
    inspect_ai = version_of(options.inspect_ai)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder = Path(tempfile.mkdtemp(prefix="sl-evals-"))
    try:
        machine = Machine.here(folder)
        print(
            f"{datetime.now(UTC).date()}, sandlot {machine.sandlot}, Python {machine.python}, kernel {machine.kernel}"
        )
        print(f"{machine.processor}, {machine.cores} cores, {machine.file_system}, {inspect_ai or 'no inspect-ai'}")
        if not inspect_ai:
            print("inspect-ai cannot be imported, so its rows are missing: make bench-evals installs it")
        print(flush=True)
        missed = [
            *trials(
                folder,
                QUICK_TRIALS if options.quick else TRIALS,
                options.rounds,
                options.inspect_ai if inspect_ai else "",
            ),
            *large(folder, QUICK_LARGE if options.quick else LARGE, options.rounds),
        ]
    finally:
        process.run(["rm", "-rf", folder])
    for each in missed:
        print(f"missed: {each}")
    return 1 if missed and not options.quick else 0


def version_of(interpreter: str | None) -> str:
    """``inspect-ai 0.3.285``, or nothing when this interpreter does not have it."""
    if interpreter is None:
        return ""
    ask = "import importlib.metadata as m, inspect_ai; print('inspect-ai', m.version('inspect-ai'))"
    try:
        done = process.run([interpreter, "-P", "-c", ask], timeout=120)
    except OSError:
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def trials(folder: Path, count: int, rounds: int, inspect_ai: str) -> list[str]:
    """Trials of one command and one grader in a small workspace."""
    home = project(folder / "small", SMALL, tests=1)
    run = [*words(folder / "state"), "run", "evals/", "--workers", "1"]
    best(run[:-2], home, folder, 1)  # prepares the pool
    start = best([*run, "--dry-run"], home, folder, rounds)
    one = best(run, home, folder, rounds)
    many = best([*run, "--trials", str(count)], home, folder, rounds)
    bare = best([sys.executable, "-c", BARE_SCRIPT, str(home / "tree"), str(count), str(folder)], home, folder, rounds)
    above = (many.cpu_s - one.cpu_s) / (count - 1) - bare.cpu_s / count
    print(f"{count} trials, {SMALL} files, one command, one grader")
    line("bare script (copytree, run, compare)", bare)
    line("sandlot eval run", many)
    line("  of which a run of one trial", one)
    line("  of which loading the suite", start)
    if inspect_ai:
        task = [inspect_ai, "-P", os.fspath(Path(__file__).with_name("inspect_task.py")), os.fspath(home / "tree")]
        logs = os.fspath(folder / "logs")
        theirs = best([*task, str(count), logs], home, folder, rounds)
        line("inspect-ai, local sandbox", theirs)
        line("  of which a run of one sample", best([*task, "1", logs], home, folder, rounds))
        print(f"  inspect-ai in terms of sandlot: {ratios(theirs, many)}")
    print(f"  sandlot in terms of the bare script: {ratios(many, bare)}")
    print(f"  CPU of a trial above the bare script: {above * 1000:.1f} ms; start: {start.cpu_s:.2f} s CPU\n")
    return [
        text
        for text, wrong in (
            (f"{above * 1000:.1f} ms CPU a trial above a bare script, at most 25", above > 0.025),
            (f"{start.cpu_s:.2f} s CPU to start, at most 0.4", start.cpu_s > 0.4),
            (f"{many.own_mib:.0f} MiB, at most 60", many.own_mib > 60),
        )
        if wrong
    ]


def large(folder: Path, files: int, rounds: int) -> list[str]:
    """Five tests in a large workspace."""
    home = project(folder / "large", files, tests=5)
    run = [*words(folder / "state"), "run", "evals/"]
    cold = best([*run, "--output", str(folder / "cold")], home, folder, 1)
    warm = best(run, home, folder, rounds)
    first = best([*run, "--filter", "t0"], home, folder, rounds)
    temp = best([*run, "--workspace-mode", "temp"], home, folder, 1)
    copy = best(["cp", "-a", str(home / "tree"), str(folder / "copy")], home, folder, 1)
    print(f"five tests, {files} files")
    line("pooled, nothing prepared", cold)
    line("pooled, warm", warm)
    line("pooled, warm, one test", first)
    line("temp", temp)
    line("one cp -a of the tree", copy)
    print()
    return [
        text
        for text, wrong in (
            (f"pooled warm {warm.wall_s:.2f} s, at most 1.0", warm.wall_s > 1.0),
            (f"first test {first.wall_s:.2f} s, at most 0.6", first.wall_s > 0.6),
        )
        if wrong
    ]


def project(home: Path, files: int, *, tests: int) -> Path:
    """A suite on a generated tree."""
    (home / ".sandlot").mkdir(parents=True)
    (home / "evals").mkdir()
    grow(home / "tree", files)
    process.run(["rm", "-rf", home / "tree" / ".git"])
    command = "echo measured >> /workspace/made; echo measured"
    (home / ".sandlot" / "targets.yaml").write_text(
        json.dumps({"targets": [{"name": "default", "kind": "cli", "command": command}]})
    )
    suite = {
        "workspace": {"template": "../tree"},
        "tests": [{"id": f"t{number}", "input": "go"} for number in range(tests)],
        "assert": [{"type": "contains", "value": WORD}],
    }
    (home / "evals" / "bench.eval.yaml").write_text(json.dumps(suite))
    return home


def words(state: Path) -> list[str]:
    """``sandlot eval`` of this source tree, with a state of its own."""
    os.environ["SANDLOT_STATE_DIR"] = os.fspath(state)
    os.environ["PYTHONPATH"] = os.fspath(Path(str(package.__file__)).parent.parent)
    return [sys.executable, "-m", "sandlot", "eval"]


def best(argv: Sequence[str], cwd: Path, folder: Path, rounds: int) -> Cost:
    """The round with the least CPU."""
    return min((measure(argv, cwd, folder, os.environ) for _ in range(rounds)), key=lambda cost: cost.cpu_s)


def measure(argv: Sequence[str], cwd: Path, folder: Path, environment: Mapping[str, str]) -> Cost:
    """Run it to its end, and wait for every process that it left. Raises RuntimeError when it fails."""
    log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    began = time.monotonic()
    actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    here = os.getcwd()
    os.chdir(cwd)
    try:
        pid = os.posix_spawnp(argv[0], list(argv), environment, file_actions=actions)
    finally:
        os.chdir(here)
        os.close(log)
    wall, cpu, own, end = 0.0, 0.0, 0.0, began + PATIENCE_S
    while time.monotonic() < end:
        try:
            gone, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu += usage.ru_utime + usage.ru_stime
        if gone == pid:
            wall, own = time.monotonic() - began, usage.ru_maxrss / 1024
            if status:
                raise RuntimeError(f"{' '.join(argv)}: {(folder / 'log').read_text()[-2000:]}")
    return Cost(wall, cpu, own)


def ratios(one: Cost, other: Cost) -> str:
    """How much more, of each kind."""
    wall, cpu, own = one.wall_s / other.wall_s, one.cpu_s / other.cpu_s, one.own_mib / other.own_mib
    return f"{wall:.1f} x the time, {cpu:.1f} x the CPU, {own:.1f} x the memory"


def line(name: str, cost: Cost) -> None:
    """One row."""
    print(f"  {name:<40}{cost.wall_s:8.2f} s {cost.cpu_s:8.2f} s CPU {cost.own_mib:7.0f} MiB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
