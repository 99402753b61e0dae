"""A run's folder: what it tells, and what becomes of it when something or somebody damages it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import StateCorrupt, StateUnwritable, UsageError
from sandlot.evals.budget import Budget
from sandlot.evals.cases import Repo
from sandlot.evals.explain import explain
from sandlot.evals.gate import Status, judge
from sandlot.evals.merge import merge
from sandlot.evals.options import Budgets, Shard
from sandlot.evals.outcomes import Outcome, TargetAnswer, Trial, TrialResult, Usage
from sandlot.evals.report import Run, as_json
from sandlot.evals.run import Ending, Watch
from sandlot.evals.run_folder import RunFolder
from sandlot.evals.runs import list_runs
from sandlot.evals.session import begin
from tests.evals.standins import StandIn, a_case, plan_of, session_of, suite

TESTS = tuple(a_case(f"t{number}") for number in range(4))
KEY = Trial("suite", "t0", "mock", 1)


def a_run(root: Path) -> RunFolder:
    return begin(plan_of(suite(*TESTS)), root, "run-1")


def shards(folder: Path, count: int, *suites: Any) -> list[RunFolder]:
    """Run, each by a session of its own."""
    for number in range(1, count + 1):
        plan = plan_of(*(suites or (suite(*TESTS),)), shard=Shard(number, count))
        session_of(plan, folder / str(number), StandIn()).run()
    return [RunFolder.open(folder / str(number)) for number in range(1, count + 1)]


# -- what becomes known ----------------------------------------------------------------------------------------------


def test_the_manifest_learns_what_was_prepared_and_how_trials_were_isolated(tmp_path: Path) -> None:
    plan = plan_of(suite(*TESTS), workers=2)
    session = session_of(plan, tmp_path / "run", StandIn())
    before = session.folder.manifest
    assert (before.workspaces, before.isolation) == ((), ())
    session.run()
    after = session.folder.manifest
    assert after.workspaces == ({"plan": before.trials[0].plan, "suite": "suite", "fingerprint": "f"},)
    assert after.isolation == ("kernel",)
    assert dataclasses.replace(after, workspaces=(), isolation=()) == before
    report = as_json(Run.read(session.folder))
    assert report["isolation"] == {"weakest": "kernel", "levels": ["kernel"]}
    assert report["workspaces"] == [*after.workspaces]


def test_a_level_is_in_the_manifest_before_the_first_result_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(plan_of(suite(*TESTS[:1])), tmp_path / "run", StandIn())

    def killed(*_: object, **__: object) -> None:
        raise StateUnwritable("killed here")

    monkeypatch.setattr(session.folder, "save", killed)
    with pytest.raises(StateUnwritable):
        session.run()
    assert session.folder.manifest.isolation == ("kernel",)


def test_what_could_not_be_saved_is_told_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[TrialResult] = []
    session = session_of(plan_of(suite(*TESTS)), tmp_path / "run", StandIn(), Watch(finished=told.append))

    def full(*_: object, **__: object) -> None:
        raise StateUnwritable("no space left on device")

    monkeypatch.setattr(session.folder, "save", full)
    with pytest.raises(StateUnwritable):
        session.run()
    assert told == []


def test_no_password_and_no_value_of_the_environment_is_in_the_manifest(tmp_path: Path) -> None:
    place = TESTS[0].place
    repo = Repo("repo", "https://ana:hunter2@example.com/repo.git?token=hunter2", False, place)
    plan = dataclasses.replace(TESTS[0].workspace, repos=(repo,), env={"API_KEY": "hunter2"})
    made = plan_of(suite(dataclasses.replace(TESTS[0], workspace=plan)))
    folder = begin(made, tmp_path / "run", "run-1")
    written = (folder.root / "run.json").read_text()
    assert "hunter2" not in written + json.dumps(explain(made))
    assert "https://example.com/repo.git" in written
    assert "API_KEY" in written


def test_a_run_inside_of_its_template_is_refused_but_in_the_place_of_runs(tmp_path: Path) -> None:
    plan = dataclasses.replace(TESTS[0].workspace, template=str(tmp_path))
    made = plan_of(suite(dataclasses.replace(TESTS[0], workspace=plan)))
    with pytest.raises(UsageError, match="lies in the template"):
        begin(made, tmp_path / "out", "run-1")
    begin(made, tmp_path / ".sandlot" / "runs" / "run-1", "run-1")


# -- damage ----------------------------------------------------------------------------------------------------------


def test_what_a_killed_attempt_wrote_is_not_taken_for_the_next_ones(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    answer = TargetAnswer("right", 1, messages=({"role": "user", "content": "x"},), log="said")
    folder.save(TrialResult(KEY, Outcome.PASS, 1.0, answer=answer), patch=b"diff")
    place = folder.place_of(KEY)
    (place / "1.json").unlink()  # as if it had been killed just before
    (place / ".1.json.draft").write_bytes(b"{")
    folder.save(TrialResult(KEY, Outcome.FAIL, 0.0))
    assert [path.name for path in place.iterdir()] == ["1.json"]


def test_no_attempt_is_ever_written_over(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    for _ in range(3):
        folder.save(TrialResult(KEY, Outcome.ERROR, None))
    (folder.place_of(KEY) / "2.json").unlink()
    folder.save(TrialResult(KEY, Outcome.PASS, 1.0))
    assert sorted(path.name for path in folder.place_of(KEY).iterdir()) == ["1.json", "3.json", "4.json"]


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"warnings": 5}', "[" * 100_000])
def test_a_torn_end_of_a_session_costs_neither_the_report_nor_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    runs = tmp_path / ".sandlot" / "runs"
    session = session_of(plan_of(suite(*TESTS)), runs / "run-1", StandIn())
    session.run()
    (runs / "run-1" / "sessions" / "1.end.json").write_text(content)
    assert Run.read(session.folder).numbers.passed == len(TESTS)
    (runs / "bad").mkdir()
    (runs / "bad" / "run.json").write_text(content)
    assert [(each.id, each.state) for each in list_runs(tmp_path)] == [("run-1", "complete"), ("bad", "unreadable")]
    assert session_of(session.plan, runs / "run-1", StandIn()).run() is Ending.COMPLETE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trials", "many"),
        ("workers", [1]),
        ("filters", "abc"),
        ("paths", [1]),
        ("timeout_s", "x"),
        ("min_pass_rate", {}),
        ("baseline", 5),
        ("budgets", {"usd": "x", "tokens": None, "minutes": None}),
        ("budgets", []),
        ("shard", {"number": 4, "count": 3}),
    ],
)
def test_options_that_somebody_has_written_by_hand_are_checked(tmp_path: Path, name: str, value: object) -> None:
    folder = a_run(tmp_path / "run")
    record = json.loads((folder.root / "run.json").read_bytes())
    record["options"][name] = value
    (folder.root / "run.json").write_text(json.dumps(record))
    with pytest.raises(StateCorrupt):
        _ = folder.manifest


def test_a_result_whose_cost_is_no_number_is_no_result(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    folder.save(TrialResult(KEY, Outcome.PASS, 1.0, answer=TargetAnswer("right", 1, usage=Usage(1, 1, 0.5))))
    file = folder.place_of(KEY) / "1.json"
    file.write_bytes(file.read_bytes().replace(b'"cost_usd":0.5', b'"cost_usd":"cheap"'))
    assert folder.result(KEY) is None


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1000.0])
def test_no_trial_can_lift_the_budget_of_the_others(cost: float) -> None:
    budget = Budget(Budgets(usd=1.0, tokens=100))
    budget.use(Usage(-(10**9), 60, cost))
    budget.use(Usage(60, None, 0.5))
    assert budget.exceeded
    assert budget.usd == 0.5


# -- shards ----------------------------------------------------------------------------------------------------------


def test_merged_shards_know_what_each_of_them_has_learned(tmp_path: Path) -> None:
    parts = shards(tmp_path, 3)
    made = merge(parts, tmp_path / "merged", "merged")
    assert made.manifest.workspaces == parts[0].manifest.workspaces
    assert made.manifest.isolation == ("kernel",)
    assert [each.trial.test for each in made.manifest.trials] == [each.id for each in TESTS]


def test_shards_of_before_and_after_an_edit_are_refused(tmp_path: Path) -> None:
    first = shards(tmp_path / "a", 2)
    second = shards(tmp_path / "b", 2, suite(*TESTS[:3], a_case("t3", criteria="another")))
    with pytest.raises(UsageError, match="the suite 'suite' is not the same"):
        merge([first[0], second[1]], tmp_path / "merged", "merged")
    assert not (tmp_path / "merged").exists()


def test_a_shard_without_trials_passes_and_is_merged(tmp_path: Path) -> None:
    parts = shards(tmp_path, len(TESTS) + 1)
    empty = Run.read(parts[-1])
    assert empty.numbers.total == 0
    assert judge(empty.numbers, empty.manifest.options, Ending.COMPLETE).status is Status.PASSED
    assert Run.read(merge(parts, tmp_path / "merged", "merged")).numbers.passed == len(TESTS)
