"""``make bench-guests``: what a workspace in a virtual machine costs, beside bubblewrap and a plain boot of QEMU.

The plain boot is one of the same kernel, root file system and machine, up to the moment at which the guest's end of the
channel answers: what each workspace would cost without a template. Everything is made in a folder of the run's own, so
the first lines also tell what the first guest of a machine takes.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import evals
from benchmarks.machine import Machine
from benchmarks.memory import kilobytes
from benchmarks.report import Part, part_lines
from benchmarks.stage import Stage, delete_all, set_up
from benchmarks.timing import Contender, Contest, Goal, Outcome, Plan, run_contest
from sandlot import process
from sandlot.bases.trees import remove_tree
from sandlot.runtimes.base import LaunchRequest
from sandlot.runtimes.disks import blanks_of, make_usual_disk
from sandlot.runtimes.qemu import commandline, template
from sandlot.runtimes.qemu.keeping import starting
from sandlot.runtimes.qemu.runtime import QemuRuntime
from sandlot.runtimes.qemu.starter import BOOT_S
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.storage import WARM_FILES

__all__ = ["main"]

QEMU, BUBBLEWRAP = "qemu", "bubblewrap"
SMALL, LARGE, QUICK_LARGE = 200, 20_000, 2_000
ROUNDS, QUICK_ROUNDS = 9, 2
IDLE, IDLE_S = 3, 10.0
CREATE_MS, RESET_MS, EXEC_MS, IDLE_MB, TRIAL_S = 500, 500, 60, 120, 1.5
"""The goals, of what is in a template: a smaller base is sent to each guest."""
TRIALS = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print as it goes; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.guests", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds, two thousand files: does it work?")
    parser.add_argument("--rounds", type=int, help=f"rounds of each contest [default: {ROUNDS}]")
    options = parser.parse_args(argv)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    large = QUICK_LARGE if options.quick else LARGE
    begun, load = time.monotonic(), os.getloadavg()
    folder = Path(tempfile.mkdtemp(prefix="sl-guests-", dir="/var/tmp" if os.access("/var/tmp", os.W_OK) else None))
    missed: list[str] = []
    try:
        print(f"{datetime.now(UTC).date()}, {Machine.here(folder)}", flush=True)
        with Sandlot(folder / "state") as sandlot:
            try:
                print(f"{_isolation(sandlot)}, QEMU {commandline.find().version}\n", flush=True)
                for files in (SMALL, large):
                    missed += _measure(sandlot, folder, files, Plan(rounds, contender_s=60.0))
                missed += _idle(sandlot)
            finally:
                delete_all(sandlot)
        ctypes.CDLL(None, use_errno=True).prctl(evals.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for files in (SMALL, large):
            missed += _trials(folder, files, 1 if options.quick else 3)
    finally:
        process.run(["rm", "-rf", folder])
        if folder.exists():
            remove_tree(folder)
    before, after = (" ".join(f"{one:.2f}" for one in each) for each in (load, os.getloadavg()))
    print(f"load average before {before}, after {after}; {time.monotonic() - begun:.0f} s")
    print("\n".join(f"MISSED {each}" for each in missed) or "every goal was met")
    return 1 if missed and not options.quick else 0


def _isolation(sandlot: Sandlot) -> str:
    report = sandlot._context.runtime(QEMU).probe()
    if not report.available:
        raise SystemExit(f"guests do not work here: {report.refusal(QEMU)}")
    return f"isolation {report.isolation}"


def _measure(sandlot: Sandlot, folder: Path, files: int, plan: Plan) -> list[str]:
    here = folder / f"{files}"
    here.mkdir()
    stage = set_up(sandlot, here, files)
    for what in ("the first guest", "the second"):
        began = time.monotonic()
        with sandlot.create(f"base:{stage.base}", runtime=QEMU) as workspace:
            workspace.exec(["true"])
        print(f"{what} on a base of {files:,} files, up to its first command: {time.monotonic() - began:.1f} s")
    cases = (_lives,) if _is_warm(stage) else (_empty, _lives, _work)
    outcomes = []
    for case in cases:
        with contextlib.closing(case(stage)) as contests:
            for contest in contests:
                outcomes.append(run_contest(contest, plan))
    part = Part(files, "in the template" if _is_warm(stage) else "sent to each guest", tuple(outcomes))
    verdicts = [_verdict(each, each.goal) for each in outcomes if each.goal is not None]
    print("\n".join([*part_lines(part), *verdicts, ""]), flush=True)
    return [f"{files:,} files: {each.contest}" for each in outcomes if _is_missed(each)]


def _is_warm(stage: Stage) -> bool:
    """Whether guests find the project in their template."""
    return stage.project.count >= WARM_FILES


def _is_missed(outcome: Outcome) -> bool:
    return outcome.goal is not None and outcome.judged_ms > outcome.goal.limit_ms


def _verdict(outcome: Outcome, goal: Goal) -> str:
    word = "MISSED" if _is_missed(outcome) else "met"
    return f"  {word:<6} {outcome.contest}: {outcome.judged_ms:.0f} of {goal.limit_ms:g} ms (median)"


def _both(make: Callable[[str], Contender]) -> tuple[Contender, Contender]:
    """The same in a guest and in namespaces."""
    return make(QEMU), make(BUBBLEWRAP)


def _create(stage: Stage, runtime: str) -> Workspace:
    return stage.sandlot.create(f"base:{stage.base}", runtime=runtime)


def _changed(stage: Stage, runtime: str) -> Workspace:
    made = _create(stage, runtime)
    stage.change(made)
    return made


def _first_command(made: Workspace) -> Workspace:
    done = made.exec(["true"])
    if done.exit_status != 0:
        raise RuntimeError(done.stderr.text)
    return made


def _delete(made: Workspace) -> None:
    made.delete()


def _empty(stage: Stage) -> Generator[Contest, None, None]:
    """What a guest costs by itself."""
    sandlot = stage.sandlot
    created = _both(lambda name: Contender(name, lambda _: _first_command(sandlot.create(runtime=name)), after=_delete))
    yield Contest("create from nothing, up to the first command", (*created, _plain_boot(stage)), Goal(CREATE_MS))
    with sandlot.create(runtime=QEMU) as ours, sandlot.create(runtime=BUBBLEWRAP) as theirs:
        pair = {QEMU: ours, BUBBLEWRAP: theirs}
        contenders = _both(
            lambda name: Contender(name, lambda _: pair[name].reset(), lambda: pair[name].exec("echo new > new.txt"))
        )
        yield Contest("reset of one that began with nothing", contenders, Goal(RESET_MS))


def _lives(stage: Stage) -> Generator[Contest, None, None]:
    """Create, reset, fork, stop and start, delete."""
    yield Contest(
        "create, up to the first command",
        (
            *_both(lambda name: Contender(name, lambda _: _first_command(_create(stage, name)), after=_delete)),
            _plain_boot(stage),
        ),
        Goal(CREATE_MS) if _is_warm(stage) else None,
    )
    with _create(stage, QEMU) as ours, _create(stage, BUBBLEWRAP) as theirs:
        pair = {QEMU: ours, BUBBLEWRAP: theirs}

        def on(go: Callable[[Workspace], object], before: Callable[[Workspace], object]) -> tuple[Contender, Contender]:
            return _both(lambda name: Contender(name, lambda _: go(pair[name]), lambda: before(pair[name])))

        goal = Goal(RESET_MS) if _is_warm(stage) else None
        yield Contest("reset, ten changed files", on(lambda each: each.reset(), stage.change), goal)
        yield Contest("stop", on(lambda each: each.stop(), lambda each: each.start()))
        yield Contest("diff of a stopped one", on(lambda each: each.diff(), lambda each: each.stop()))
        yield Contest("start", on(lambda each: each.start(), lambda each: each.stop()))
        for each in pair.values():
            each.start()
        forks = _both(lambda name: Contender(name, lambda _: pair[name].fork()[0], after=_delete))
        yield Contest("fork, ten changed files", forks)
    deleted = _both(lambda name: Contender(name, _delete, lambda: _changed(stage, name)))
    yield Contest("delete", deleted)


def _work(stage: Stage) -> Generator[Contest, None, None]:
    """What is done in a workspace that runs."""
    numbers = itertools.count()
    with _changed(stage, QEMU) as ours, _changed(stage, BUBBLEWRAP) as theirs:
        pair = {QEMU: ours, BUBBLEWRAP: theirs}
        name = stage.project.ten[-1]

        def on(go: Callable[[Workspace], object]) -> tuple[Contender, Contender]:
            return _both(lambda name: Contender(name, lambda _: go(pair[name])))

        yield Contest("exec true", on(_first_command), Goal(EXEC_MS))
        yield Contest("exec python3 -c pass", on(lambda each: each.exec(["python3", "-c", "pass"])))
        yield Contest("exec git status", on(lambda each: each.exec(["git", "status"])))
        yield Contest("file read", on(lambda each: each.files.read(name)))
        yield Contest("file write", on(lambda each: each.files.write("new.txt", f"{next(numbers)}")))
        yield Contest("diff, ten changed files", on(lambda each: each.diff()))
        yield Contest("snapshot, ten changed files", on(lambda each: each.snapshots.create(f"s{next(numbers)}")))


def _plain_boot(stage: Stage) -> Contender:
    """A boot of the same kernel and root file system by the same machine; timed until its bridge says that it runs."""
    runtime = stage.sandlot._context.runtime(QEMU)
    assert isinstance(runtime, QemuRuntime)

    def go(folder: Path) -> Path:
        folder.mkdir()
        recipe = runtime.recipe(LaunchRequest("boot", (), folder / "socket", folder / "log"))
        made = template.Template("", folder)
        with open(made.ram, "wb") as file:
            file.truncate(recipe.machine.memory)
        make_usual_disk(blanks_of(stage.sandlot._context.paths), made.disk)
        plan = template.plan_of(recipe, made, made.disk, life="boot")
        with starting(folder / "socket", folder / "log") as kept:
            kept.keep(plan, BOOT_S)
        kept.abandon()
        return folder

    # What it has written would be on its way to the disk while the next one's time is taken.
    return Contender("plain boot of QEMU", go, stage.fresh, remove_tree)


def _idle(sandlot: Sandlot) -> list[str]:
    """What a guest takes that does nothing."""
    made = [sandlot.create(runtime=QEMU) for _ in range(IDLE)]
    for each in made:
        _first_command(each)
    found = [sandlot._context.store.find(each.id).instance for each in made]
    pairs = [(each.agent_pid, each.monitor_pid) for each in found if each is not None]
    before = [_cpu_s(pid) for pair in pairs for pid in pair]
    time.sleep(IDLE_S)
    used = (sum(_cpu_s(pid) for pair in pairs for pid in pair) - sum(before)) / IDLE_S / len(pairs)
    sizes = [[kilobytes(f"/proc/{pid}/smaps_rollup", "Pss") / 2**20 for pid in pair] for pair in pairs]
    for each in made:
        each.delete()
    most = max(sum(each) for each in sizes)
    qemu, keeper = max(each[0] for each in sizes), max(each[1] for each in sizes)
    print(f"an idle guest, {IDLE} of them, the largest: {most:.0f} MB (PSS), {qemu:.0f} of them QEMU's and")
    print(f"{keeper:.0f} its keeper's; {used:.2%} of a processor\n", flush=True)
    return [f"an idle guest takes {most:.0f} MB, at most {IDLE_MB}"] if most > IDLE_MB else []


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _reap() -> None:
    """Collect what has ended before: its processor time is nobody's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _trials(folder: Path, files: int, rounds: int) -> list[str]:
    """A trial of a pooled workspace of so many files: one command, one grader."""
    home = evals.project(folder / f"evals-{files}", files, tests=1)
    run = [*evals.words(folder / "state"), "run", "evals/", "--workers", "1"]
    _reap()
    print(f"pooled eval trials, {files:,} files, one at a time")
    taken = {}
    for runtime in (BUBBLEWRAP, QEMU):
        os.environ["SANDLOT_RUNTIME"] = runtime
        evals.line(f"{runtime}, nothing prepared", evals.best(run, home, folder, 1))
        one = evals.best(run, home, folder, rounds)
        many = evals.best([*run, "--trials", str(TRIALS)], home, folder, rounds)
        evals.line(f"{runtime}, a run of one trial", one)
        evals.line(f"{runtime}, a run of {TRIALS}", many)
        taken[runtime] = (many.wall_s - one.wall_s) / (TRIALS - 1)
        print(f"  {runtime}: {taken[runtime]:.2f} s for each further trial")
    print(f"  a guest's trial takes {taken[QEMU] / taken[BUBBLEWRAP]:.1f} times as long\n", flush=True)
    slow = taken[QEMU] > TRIAL_S
    return [f"a trial of {files:,} files takes {taken[QEMU]:.2f} s, at most {TRIAL_S}"] if slow else []


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every finally: no guest is left running
    sys.exit(main())
