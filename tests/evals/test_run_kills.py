"""Runs that end in the middle: kill -9, ctrl-C, shards on several machines."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.evals.projects import (
    DEADLINE_S,
    many,
    marker,
    outcomes,
    processes_with,
    project,
    results,
    runs,
    started,
    wait_for,
)

SHORT, SHORT_POINTS = 12, 3
LONG, LONG_POINTS = 200, 20


def kill_and_resume(cli: Cli, state_dir: Path, home: Path, count: int, point: int) -> None:
    """Kill a run once ``point`` trials are on disk; one resume finishes it, and re-runs nothing."""
    before = len(runs(home))
    with started(state_dir, home, "run", "evals/", "--target", "command", "--workers", "2") as process:
        run = wait_for(lambda: runs(home)[before:], process)[0]
        wait_for(lambda: len(results(run)) >= point)
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)
    done = results(run)
    listed = json.loads(cli("eval", "list", "--json", cwd=home).stdout)["runs"][0]
    assert listed["state"] == ("killed" if len(done) < count else "complete")

    resumed = cli("eval", "resume", "latest", cwd=home, timeout=DEADLINE_S * 2)
    assert resumed.returncode == 0, resumed.stderr
    after = results(run)
    assert {path: after[path] for path in done} == done, "what had been completed was touched"
    assert len(after) == count
    assert all(path.endswith("/1.json") for path in after), "a trial was run twice"
    assert set(outcomes(run).values()) == {"pass"}
    assert len(list(run.glob("trials/*/1.patch"))) == count
    assert not list(run.rglob(".*")), "drafts are left"
    left = json.loads(cli("workspace", "list", "--json").stdout)["workspaces"]
    assert [each["labels"]["sandlot.eval.kind"] for each in left] == ["pool"]
    assert not [each for each in left if each["state"] == "running"]


def test_a_killed_run_is_finished_by_one_resume(cli: Cli, state_dir: Path, tmp_path: Path) -> None:
    home = project(tmp_path / "project", many(SHORT))
    for point in (0, SHORT // 3, SHORT - 1)[:SHORT_POINTS]:
        kill_and_resume(cli, state_dir, home, SHORT, point)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_long_run_is_finished_by_one_resume_wherever_it_was_killed(cli: Cli, state_dir: Path, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    home = project(tmp_path / "project", many(LONG))
    for point in sorted(random.Random(seed).sample(range(LONG), LONG_POINTS)):
        kill_and_resume(cli, state_dir, home, LONG, point)


def test_ctrl_c_ends_the_agents_and_the_run_can_be_resumed(cli: Cli, state_dir: Path, tmp_path: Path) -> None:
    home = project(tmp_path / "project")
    with started(state_dir, home, "run", "evals/", "--target", "slow", "--workers", "2") as process:
        wait_for(lambda: len(processes_with(marker(home))) >= 2, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, err
    assert b"sandlot eval resume" in err
    assert b"Traceback" not in err + out
    assert not processes_with(marker(home))
    (run,) = runs(home)
    assert results(run) == {}
    left = json.loads(cli("workspace", "list", "--json").stdout)["workspaces"]
    assert [each["labels"]["sandlot.eval.kind"] for each in left] == ["pool"]
    assert json.loads(cli("eval", "list", "--json", cwd=home).stdout)["runs"][0]["state"] == "interrupted"
    assert cli("eval", "resume", run.name, "--budget-minutes", "0.000001", cwd=home).returncode == 4


def test_sigterm_is_as_good_as_ctrl_c(state_dir: Path, cli: Cli, tmp_path: Path) -> None:
    home = project(tmp_path / "project")
    with started(state_dir, home, "run", "evals/", "--target", "slow") as process:
        wait_for(lambda: processes_with(marker(home)), process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert not processes_with(marker(home))


def test_a_budget_of_time_ends_the_agents_in_flight(state_dir: Path, cli: Cli, tmp_path: Path) -> None:
    home = project(tmp_path / "project")
    with started(state_dir, home, "run", "evals/", "--target", "slow", "--budget-minutes", "0.05") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 4, err
    assert b"0.05 minutes, is up" in out
    assert not processes_with(marker(home))
    (run,) = runs(home)
    assert results(run) == {}
    left = json.loads(cli("workspace", "list", "--json").stdout)["workspaces"]
    assert [each["labels"]["sandlot.eval.kind"] for each in left] == ["pool"]


def test_a_run_that_is_being_run_is_not_run_twice(state_dir: Path, cli: Cli, tmp_path: Path) -> None:
    home = project(tmp_path / "project")
    with started(state_dir, home, "run", "evals/", "--target", "slow") as process:
        wait_for(lambda: processes_with(marker(home)), process)
        done = cli("eval", "resume", "latest", cwd=home)
        assert done.returncode == 2
        assert b"being run by another process" in done.stderr
        assert json.loads(cli("eval", "list", "--json", cwd=home).stdout)["runs"][0]["state"] == "running"


HELD = """
name: held
workspace:
  template: ../template
  hooks:
    before_all: {command: 'echo installed > /workspace/installed'}
    before_each:
      command: 'until test -e GATES/{{test_id}} -o -e GATES/open; do sleep 0.05; done'
      placement: host
      timeout_ms: 120000
assert:
  - {type: contains, value: right}
tests:
"""


def test_three_shards_at_once_one_killed_and_resumed_merge_to_what_one_process_gives(
    cli: Cli, state_dir: Path, tmp_path: Path
) -> None:
    """They share state folder, prepared workspace and output folder; each trial waits until its test lets it go."""
    gates = tmp_path / "gates"
    gates.mkdir()
    suite = HELD.replace("GATES", str(gates)) + "".join(
        f"  - {{id: {'bad' if number == 3 else f't{number}'}, input: q{number}}}\n" for number in range(9)
    )
    targets = "targets: [{name: default, kind: cli, command: 'grep -qv 3 {PROMPT_FILE} && echo right >> app; cat app'}]"
    home = project(tmp_path / "project", suite, targets)
    (home / "template").mkdir()
    (home / "template" / "app").write_text("hello\n")

    def shard(number: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
        words = ("--shard", f"{number}/3", "--output", f"out/{number}", "--workers", "1", "--min-pass-rate", "0.6")
        return started(state_dir, home, "run", "evals/", *words)

    out = {number: home / "out" / str(number) for number in (1, 2, 3)}
    with shard(1) as one, shard(2) as two, shard(3) as three:
        for process, number in ((one, 1), (two, 2), (three, 3)):
            wait_for((out[number] / "sessions" / "1.json").exists, process)
        for name in ("t0", "t1", "t2"):
            (gates / name).touch()
        for process, number in ((one, 1), (two, 2), (three, 3)):  # each has one result, and is in its second trial
            wait_for(partial(results, out[number]), process)
        two.send_signal(signal.SIGKILL)
        two.wait(DEADLINE_S)
        (gates / "open").touch()
        for process in (one, three):
            _, err = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, err
    assert [len(results(out[number])) for number in (1, 2, 3)] == [3, 1, 3]

    cut = cli("eval", "merge", "out/1", "out/2", "out/3", "--output", "cut", cwd=home)
    assert cut.returncode == 3, cut.stderr
    assert b"2 of 9 trials have no result" in cut.stderr
    missing = cli("eval", "merge", "out/1", "out/3", "--output", "missing", cwd=home)
    assert missing.returncode == 2
    assert b"shard 2/3 is missing" in missing.stderr

    before = results(out[2])
    assert cli("eval", "resume", "out/2", cwd=home).returncode == 0
    assert {path: results(out[2])[path] for path in before} == before
    merged = cli("eval", "merge", "out/3", "out/1", "out/2", "--output", "merged", "--json", cwd=home)
    assert merged.returncode == 0, merged.stderr
    whole = cli("eval", "run", "evals/", "--output", "whole", "--min-pass-rate", "0.6", "--json", cwd=home)
    assert comparable(merged.stdout) == comparable(whole.stdout)
    assert left_in(home / "merged") == left_in(home / "whole")
    assert set(outcomes(home / "merged").values()) == {"pass", "fail"}
    left = json.loads(cli("workspace", "list", "--json").stdout)["workspaces"]
    assert [each["labels"]["sandlot.eval.kind"] for each in left] == ["pool"]


def left_in(run: Path) -> dict[str, bytes]:
    """What trials left, without what tells one time from another."""
    files = [path for path in run.glob("trials/*/*") if path.suffix != ".json"]
    assert files
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def comparable(report: bytes) -> object:
    """A report without what no two runs have in common: ids and durations."""
    found = json.loads(report)
    trials = [(each["trial"], each["outcome"], each["score"], each["verdicts"]) for each in found["trials"]]
    numbers = {name: value for name, value in found["numbers"].items() if name != "duration_ms"}
    same = ("tests", "at_k", "plans", "workspaces", "isolation", "suites", "targets", "versions", "gate")
    return trials, numbers, {name: found[name] for name in same}
