"""The benchmark runs to its end on a small tree, says what it should, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.report import Part, part_lines
from benchmarks.timing import Contender, Contest, Goal, Outcome, Plan, Series, run_contest
from benchmarks.trees import grow

CHECKOUT = Path(__file__).parents[2]


def test_a_small_run_measures_everything_and_leaves_nothing(state_dir: Path) -> None:
    made = state_dir / "made"
    made.mkdir()
    answer = state_dir / "times.json"
    arguments = ["--rounds", "1", "--files", "20", "--dir", os.fspath(made), "--json", os.fspath(answer)]
    path = os.pathsep.join([os.fspath(CHECKOUT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "goals (medians)" in done.stdout
    assert "load average before" in done.stdout
    report = json.loads(answer.read_text())
    measured = {(result["state"], result["operation"]) for result in report["results"]}
    for state, operation in (
        ("cold", "first create ever, git checkout"),
        ("warm", "create base:ID"),
        ("warm", "exec true"),
        ("warm", "file read"),
        ("warm", "diff, ten changed files"),
        ("warm", "snapshot, ten changed files"),
        ("warm", "reset"),
        ("warm", "fork, ten changed files"),
        ("warm", "delete"),
        ("warm", "list of 50"),
        ("warm", "repair, 50 healthy workspaces"),
        ("warm", "sandlot workspace exec ID -- true"),
        ("warm", "sandlot --version"),
    ):
        assert (state, operation) in measured
    assert all(each["count"] >= 1 for result in report["results"] for each in result["contenders"])
    assert report["skipped"] == []
    assert report["memory"]["peak_rss"]
    assert not re.search(r"/(root|home|tmp|usr|var|opt)\b", json.dumps(report["machine"]))  # what we publish
    assert list(made.iterdir()) == []


def test_contenders_take_turns_and_only_go_is_timed() -> None:
    seen: list[str] = []

    def one(name: str) -> Contender:
        return Contender(
            name, lambda given: seen.append(f"{given}go"), lambda: f"{name}-", lambda _: seen.append(f"{name}.")
        )

    outcome = run_contest(Contest("turns", (one("a"), one("b"))), Plan(rounds=2, contender_s=60))
    assert seen == ["a-go", "a.", "b-go", "b."] * 3
    assert [len(each.times_ms) for each in outcome.series] == [2, 2]


def test_who_has_used_up_his_time_takes_no_further_part() -> None:
    contest = Contest("slow", (Contender("a", lambda _: None),))
    outcome = run_contest(contest, Plan(rounds=9, contender_s=0))
    assert len(outcome.ours.times_ms) == 1


def test_nothing_goes_on_after_the_end() -> None:
    outcome = run_contest(Contest("late", (Contender("a", lambda _: None),)), Plan(rounds=9, contender_s=60, end=0))
    assert len(outcome.ours.times_ms) == 1


def test_a_goal_above_another_contender_is_judged_without_its_time() -> None:
    outcome = Outcome("x", (Series("ours", (50.0,)), Series("bare", (12.0,))), Goal(40, 20, above="bare"))
    assert outcome.judged_ms == 38.0
    lines = "\n".join(part_lines(Part(200, "warm", (outcome,))))
    assert "1.9 x the floor of 20" in lines
    assert "0.2 x ours" in lines


@pytest.mark.parametrize("count", [20, 60])
def test_the_tree_is_the_same_every_time(state_dir: Path, count: int) -> None:
    first, second = grow(state_dir / "a", count), grow(state_dir / "b", count)
    assert first.files == second.files
    assert len(first.files) + 1 == count
    heads = [(project.root / ".git/packed-refs").read_text() for project in (first, second)]
    assert heads[0] == heads[1]
    assert all(1500 < (first.root / name).stat().st_size < 4500 for name in first.files)
