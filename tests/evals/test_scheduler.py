"""Sessions of runs with a stand-in: workers, budgets, fail-fast, interruption, resuming."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sandlot.errors import HookFailed, RunBusy, StateUnwritable, UsageError
from sandlot.evals import run as scheduler
from sandlot.evals.cases import TestCase, WorkspaceMode
from sandlot.evals.options import Budgets, Shard
from sandlot.evals.outcomes import Outcome, Stage, TargetAnswer, Trial
from sandlot.evals.run import Ending, Watch
from sandlot.evals.session import resumed
from sandlot.workspaces.cancellation import Cancellation
from tests.evals.standins import DEADLINE_S, TARGET, StandIn, a_case, hangs, passes, plan_of, session_of, suite

TESTS = tuple(a_case(f"t{number}") for number in range(6))


def outcomes(session: object) -> dict[str, Outcome]:
    return {key.split("/")[1]: result.outcome for key, result in session.results.items()}  # type: ignore[attr-defined]  # a Session


def test_every_trial_of_every_test_is_run_and_kept(tmp_path: Path) -> None:
    machinery = StandIn()
    session = session_of(plan_of(suite(*TESTS, trials=3), workers=4), tmp_path / "run", machinery)
    assert session.run() is Ending.COMPLETE
    assert len(session.results) == 18
    assert session.folder.results(session.trials).keys() == session.results.keys()
    assert machinery.events.count("prepare") == machinery.events.count("after_all") == 1


def test_workers_run_trials_at_the_same_time(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=DEADLINE_S)

    def target(case: TestCase, trial: Trial, cancellation: Cancellation) -> TargetAnswer:
        both.wait()
        return passes(case, trial, cancellation)

    session = session_of(plan_of(suite(*TESTS[:2]), workers=2), tmp_path / "run", StandIn(target))
    assert session.run() is Ending.COMPLETE


def test_trials_in_a_static_workspace_never_meet(tmp_path: Path) -> None:
    machinery = StandIn()
    tests = [a_case(f"t{number}", WorkspaceMode.STATIC) for number in range(8)]
    assert session_of(plan_of(suite(*tests), workers=4), tmp_path / "run", machinery).run() is Ending.COMPLETE
    assert machinery.most_at_once == 1


def test_tests_with_different_workspaces_are_prepared_apart(tmp_path: Path) -> None:
    machinery = StandIn()
    tests = [a_case("a"), a_case("b", WorkspaceMode.TEMP), a_case("c")]
    session_of(plan_of(suite(*tests), workers=2), tmp_path / "run", machinery).run()
    assert machinery.events.count("prepare") == machinery.events.count("after_all") == 2


def test_a_failed_before_all_makes_every_trial_an_error_and_is_tried_once(tmp_path: Path) -> None:
    machinery = StandIn(broken={"prepare": HookFailed("before_all exited with 1")})
    session = session_of(plan_of(suite(*TESTS), workers=2), tmp_path / "run", machinery)
    assert session.run() is Ending.COMPLETE
    assert set(outcomes(session).values()) == {Outcome.ERROR}
    assert {result.stage for result in session.results.values()} == {Stage.HOOK}
    assert machinery.events.count("prepare") == 1


def test_a_bug_in_preparing_makes_errors_of_its_trials_alone(tmp_path: Path) -> None:
    machinery = StandIn(broken={"prepare": OSError("no such device")})
    session = session_of(plan_of(suite(*TESTS), workers=2), tmp_path / "run", machinery)
    assert session.run() is Ending.COMPLETE
    assert {result.reason for result in session.results.values()} == {"unexpected OSError: no such device"}
    again = session_of(session.plan, tmp_path / "again", StandIn(broken={"after_all": OSError("no such device")}))
    assert again.run() is Ending.COMPLETE
    assert set(outcomes(again).values()) == {Outcome.PASS}
    assert "no such device" in again.warnings[0]


def test_a_failed_after_all_is_a_warning_of_the_run(tmp_path: Path) -> None:
    machinery = StandIn(broken={"after_all": HookFailed("after_all exited with 1")})
    session = session_of(plan_of(suite(*TESTS)), tmp_path / "run", machinery)
    assert session.run() is Ending.COMPLETE
    assert set(outcomes(session).values()) == {Outcome.PASS}
    (kept,) = session.folder.sessions()
    assert kept.end is not None
    assert kept.end["warnings"] == ["after_all exited with 1"]


def test_fail_fast_dispatches_nothing_after_the_first_that_did_not_pass(tmp_path: Path) -> None:
    def target(case: TestCase, trial: Trial, cancellation: Cancellation) -> TargetAnswer:
        return passes(case, trial, cancellation) if case.id == "t0" else TargetAnswer("wrong", 1)

    session = session_of(plan_of(suite(*TESTS), fail_fast=True, workers=1), tmp_path / "run", StandIn(target))
    assert session.run() is Ending.FAIL_FAST
    assert outcomes(session) == {"t0": Outcome.PASS, "t1": Outcome.FAIL}


def test_a_used_up_budget_stops_dispatch(tmp_path: Path) -> None:
    options = {"budgets": Budgets(usd=0.9), "workers": 1}  # each trial says 0.5
    session = session_of(plan_of(suite(*TESTS), **options), tmp_path / "run", StandIn())
    session.watch = Watch()
    assert session.run() is Ending.BUDGET
    assert 2 <= len(session.results) < len(TESTS)
    assert "0.9 USD" in session.reason


def test_a_used_up_budget_ends_what_is_in_flight(tmp_path: Path) -> None:
    hanging = threading.Event()

    def target(case: TestCase, trial: Trial, cancellation: Cancellation) -> TargetAnswer:
        if case.id == "t0":
            hanging.set()
            return hangs(case, trial, cancellation)
        assert hanging.wait(DEADLINE_S)
        return passes(case, trial, cancellation)

    machinery = StandIn(target)
    plan = plan_of(suite(*TESTS[:2]), budgets=Budgets(tokens=10), workers=2)
    session = session_of(plan, tmp_path / "run", machinery)
    assert session.run() is Ending.BUDGET
    assert outcomes(session) == {"t1": Outcome.PASS}
    assert machinery.events.count("after_each") == 2


def test_the_budget_of_a_suite_stops_that_suite_alone(tmp_path: Path) -> None:
    poor, rich = suite(*TESTS, name="poor", budget_usd=0.4), suite(*TESTS, name="rich")
    session = session_of(plan_of(poor, rich, workers=1), tmp_path / "run", StandIn())
    assert session.run() is Ending.BUDGET
    assert sum(key.startswith("rich/") for key in session.results) == len(TESTS)
    assert sum(key.startswith("poor/") for key in session.results) < len(TESTS)


def test_a_budget_that_is_reached_with_the_last_trial_was_enough(tmp_path: Path) -> None:
    session = session_of(plan_of(suite(*TESTS[:1]), budgets=Budgets(usd=0.5)), tmp_path / "run", StandIn())
    assert session.run() is Ending.COMPLETE


def test_what_was_used_before_a_resume_counts(tmp_path: Path) -> None:
    plan = plan_of(suite(*TESTS), budgets=Budgets(usd=0.9), workers=1)
    first = session_of(plan, tmp_path / "run", StandIn())
    first.run()
    second = session_of(plan, tmp_path / "run", StandIn())
    assert second.run() is Ending.BUDGET
    assert len(second.results) == len(first.results)  # it was used up before


def test_a_target_that_ignores_its_timeout_is_ended_by_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LATE_S", 0.0)
    plan = plan_of(suite(*TESTS[:1]), timeout_s=0.01)
    session = session_of(plan, tmp_path / "run", StandIn(hangs))
    assert session.run() is Ending.COMPLETE
    assert outcomes(session) == {"t0": Outcome.TIMEOUT}


def test_hooks_before_the_target_take_nothing_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LATE_S", 0.0)
    looked = threading.Semaphore(0)

    class Slow(StandIn):
        def step(self, name: str) -> None:
            super().step(name)
            for _ in range(3 if name == "before_each" else 0):
                assert looked.acquire(timeout=DEADLINE_S)

    plan = plan_of(suite(*TESTS[:1]), timeout_s=0.01)
    session = session_of(plan, tmp_path / "run", Slow(), Watch(tick=looked.release))
    assert session.run() is Ending.COMPLETE
    assert outcomes(session) == {"t0": Outcome.PASS}


def test_ctrl_c_ends_what_is_in_flight_keeps_what_is_done_and_sweeps(tmp_path: Path) -> None:
    def target(case: TestCase, trial: Trial, cancellation: Cancellation) -> TargetAnswer:
        return hangs(case, trial, cancellation) if case.id == "t3" else passes(case, trial, cancellation)

    machinery = StandIn(target)
    session = session_of(plan_of(suite(*TESTS), workers=1), tmp_path / "run", machinery)

    def tick() -> None:
        if len(session.results) == 3:
            raise KeyboardInterrupt

    session.watch = Watch(tick=tick)
    with pytest.raises(KeyboardInterrupt):
        session.run()
    assert sorted(outcomes(session)) == ["t0", "t1", "t2"]
    assert machinery.events.count("after_each") == 4
    assert machinery.events[-1] == "sweep"
    (kept,) = session.folder.sessions()
    assert kept.end is not None
    assert kept.end["ending"] == "interrupted"

    again = session_of(session.plan, tmp_path / "run", StandIn())
    assert [job.test.id for job in again.left] == ["t3", "t4", "t5"]
    assert again.run() is Ending.COMPLETE
    assert all(session.folder.attempts(trial) == 1 for trial in session.trials)


def test_a_result_that_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(plan_of(suite(*TESTS), workers=2), tmp_path / "run", StandIn())

    def full(*_: object, **__: object) -> None:
        raise StateUnwritable("no space left on device")

    monkeypatch.setattr(session.folder, "save", full)
    with pytest.raises(StateUnwritable):
        session.run()


def test_errors_are_tried_once_more_when_asked_and_both_attempts_are_kept(tmp_path: Path) -> None:
    seen: list[str] = []

    def target(case: TestCase, trial: Trial, cancellation: Cancellation) -> TargetAnswer:
        seen.append(case.id)
        flaky = (case.id == "t1" and seen.count("t1") == 1) or case.id == "t2"
        return TargetAnswer("", 1, error="529") if flaky else passes(case, trial, cancellation)

    plan = plan_of(suite(*TESTS[:3]), retry_errors=True, workers=1)
    session = session_of(plan, tmp_path / "run", StandIn(target))
    assert session.run() is Ending.COMPLETE
    assert outcomes(session) == {"t0": Outcome.PASS, "t1": Outcome.PASS, "t2": Outcome.ERROR}
    assert [session.folder.attempts(trial) for trial in session.trials] == [1, 2, 2]

    later = session_of(plan, tmp_path / "run", StandIn())
    later.run()
    assert outcomes(later)["t2"] is Outcome.PASS
    assert [session.folder.attempts(trial) for trial in session.trials] == [1, 2, 3]


def test_two_processes_never_run_the_same_run(tmp_path: Path) -> None:
    session = session_of(plan_of(suite(*TESTS)), tmp_path / "run", StandIn())
    with session.folder.lock():
        assert session.folder.busy
        with pytest.raises(RunBusy), session.folder.lock():
            pass
    assert not session.folder.busy


def test_a_resume_refuses_tests_that_have_changed_since(tmp_path: Path) -> None:
    plan = plan_of(suite(*TESTS))
    folder = session_of(plan, tmp_path / "run", StandIn()).folder
    known = {TARGET.name: TARGET}
    same = resumed(folder, lambda options: options, lambda _options: [suite(*TESTS)], lambda _folder: known)
    assert len(same.jobs) == len(TESTS)
    changed = suite(*TESTS[1:], a_case("t0", criteria="another"))
    with pytest.raises(UsageError, match=r"t0.* has changed"):
        resumed(folder, lambda options: options, lambda _options: [changed], lambda _folder: known)
    with pytest.raises(UsageError, match="no more"):
        resumed(folder, lambda options: options, lambda _options: [suite(*TESTS[1:])], lambda _folder: known)


def test_shards_are_disjoint_and_together_the_whole() -> None:
    whole = [job.trial.key for job in plan_of(suite(*TESTS, trials=2)).jobs]
    parts = [plan_of(suite(*TESTS, trials=2), shard=Shard(number, 5)).jobs for number in range(1, 6)]
    assert sorted(job.trial.key for part in parts for job in part) == sorted(whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
