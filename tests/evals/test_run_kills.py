"""Runs that end in the middle: kill -9, ctrl-C, shards on several machines."""

from __future__ import annotations

import json
import random
import signal
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


def test_three_shards_one_killed_and_resumed_merge_to_what_one_process_gives(
    cli: Cli, state_dir: Path, tmp_path: Path
) -> None:
    home = project(tmp_path / "project", many(SHORT).replace("id: t3,", "id: bad,"))
    targets = home / ".sandlot" / "targets.yaml"
    targets.write_text(
        "targets:\n  - name: default\n    kind: cli\n    command: 'grep -q . {PROMPT_FILE} && echo right'\n"
    )
    for number in (1, 3):
        assert (
            cli("eval", "run", "evals/", "--shard", f"{number}/3", "--output", f"shard-{number}", cwd=home).returncode
            == 0
        )
    run = home / "shard-2"
    with started(
        state_dir, home, "run", "evals/", "--shard", "2/3", "--output", "shard-2", "--workers", "1"
    ) as process:
        wait_for(lambda: len(results(run)) >= 1, process)
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)
    cut = cli("eval", "merge", "./shard-1", "./shard-2", "./shard-3", "--output", "cut", cwd=home)
    assert cut.returncode == 3, cut.stderr
    assert b"have no result" in cut.stderr
    missing = cli("eval", "merge", "./shard-1", "./shard-3", "--output", "missing", cwd=home)
    assert missing.returncode == 2
    assert b"shard 2/3 is missing" in missing.stderr

    assert cli("eval", "resume", "./shard-2", cwd=home).returncode == 0
    merged = cli("eval", "merge", "./shard-3", "./shard-1", "./shard-2", "--output", "merged", "--json", cwd=home)
    assert merged.returncode == 0, merged.stderr
    whole = cli("eval", "run", "evals/", "--output", "whole", "--json", cwd=home)
    assert comparable(merged.stdout) == comparable(whole.stdout)
    assert results(home / "merged").keys() == results(home / "whole").keys()


def comparable(report: bytes) -> object:
    """A report without what no two runs have in common: ids and durations."""
    found = json.loads(report)
    trials = [(each["trial"], each["outcome"], each["score"], each["verdicts"]) for each in found["trials"]]
    numbers = {name: value for name, value in found["numbers"].items() if name != "duration_ms"}
    return trials, numbers, found["tests"], found["at_k"], found["plans"], found["targets"], found["gate"]
