"""One trial: the order of its steps, and that whatever breaks around the target's work is never its failure."""

from __future__ import annotations

import dataclasses

import pytest

from sandlot.errors import HookFailed, StartFailed
from sandlot.evals.cases import Placement
from sandlot.evals.outcomes import Outcome, Stage, TargetAnswer, TrialResult, Verdict
from sandlot.evals.trial import run_trial
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.evals.standins import TARGET, Script, StandIn, a_case, plan_of, suite


def run(machinery: StandIn) -> TrialResult:
    (job,) = plan_of(suite(a_case("t"))).jobs
    with machinery.prepare(job.test.workspace, TARGET, Cancellation()) as prepared:
        return run_trial(job, prepared, machinery, Cancellation()).result


def answers(**fields: object) -> Script:
    return lambda _case, _trial, _cancellation: TargetAnswer(**{"text": "", "duration_ms": 1, **fields})  # type: ignore[arg-type]  # its fields


def test_the_order_is_before_each_target_capture_graders_after_each() -> None:
    machinery = StandIn()
    result = run(machinery)
    assert machinery.events == ["prepare", "before_each", "target", "capture", "grade", "after_each", "after_all"]
    assert (result.outcome, result.score, result.stage) == (Outcome.PASS, 1.0, None)
    assert (result.isolation, result.files_changed) == ("kernel", 1)


def test_what_ran_on_the_host_was_not_isolated() -> None:
    (job,) = plan_of(suite(a_case("t"))).jobs
    job = dataclasses.replace(job, target=dataclasses.replace(TARGET, placement=Placement.HOST))
    machinery = StandIn()
    with machinery.prepare(job.test.workspace, TARGET, Cancellation()) as prepared:
        assert run_trial(job, prepared, machinery, Cancellation()).result.isolation == "none"


def test_a_wrong_answer_is_a_failure_that_says_what_was_missed() -> None:
    result = run(StandIn(answers(text="wrong")))
    assert (result.outcome, result.score) == (Outcome.FAIL, 0.0)
    assert "right" in result.reason


@pytest.mark.parametrize(
    ("step", "error", "stage"),
    [
        ("before_each", StartFailed("no workspace"), Stage.SETUP),
        ("before_each", HookFailed("it said no", details=("tail",)), Stage.HOOK),
        ("before_each", RuntimeError("a bug"), Stage.SETUP),
        ("target", StartFailed("gone"), Stage.TARGET),
        ("capture", StartFailed("gone"), Stage.TARGET),
        ("grade", RuntimeError("a bug"), Stage.GRADER),
    ],
)
def test_what_breaks_before_the_verdict_is_an_error_with_its_stage(step: str, error: Exception, stage: Stage) -> None:
    result = run(StandIn(broken={step: error}))
    assert (result.outcome, result.stage, result.score) == (Outcome.ERROR, stage, None)
    assert str(error) in result.reason


def test_what_a_failed_hook_printed_is_in_the_reason() -> None:
    assert "tail" in run(StandIn(broken={"before_each": HookFailed("no", details=("tail",))})).reason


@pytest.mark.parametrize(("text", "outcome"), [("right", Outcome.PASS), ("wrong", Outcome.FAIL)])
def test_what_breaks_after_the_verdict_is_a_warning_and_takes_nothing_back(text: str, outcome: Outcome) -> None:
    result = run(StandIn(answers(text=text), broken={"after_each": StartFailed("cannot delete")}))
    assert result.outcome is outcome
    assert "cannot delete" in result.warnings[-1]


def test_a_target_that_failed_is_an_error_and_not_graded() -> None:
    machinery = StandIn(answers(error="the model said 529"))
    result = run(machinery)
    assert (result.outcome, result.stage, result.reason) == (Outcome.ERROR, Stage.TARGET, "the model said 529")
    assert "grade" not in machinery.events
    assert "after_each" in machinery.events


def test_a_target_without_an_answer_in_time_is_a_timeout_and_its_changes_are_kept() -> None:
    machinery = StandIn(answers(timed_out=True))
    result = run(machinery)
    assert (result.outcome, result.stage, result.files_changed) == (Outcome.TIMEOUT, Stage.TARGET, 1)
    assert "grade" not in machinery.events


def test_a_grader_that_could_not_work_is_an_error() -> None:
    verdict = Verdict("judge", "llm-grader", 0.0, False, error="no key")
    result = run(StandIn(verdict=lambda _answer: verdict))
    assert (result.outcome, result.stage, result.score) == (Outcome.ERROR, Stage.GRADER, None)
    assert "no key" in result.reason


def test_a_cancelled_trial_has_no_result_but_is_cleaned_up() -> None:
    machinery = StandIn(broken={"target": Cancelled()})
    with pytest.raises(Cancelled):
        run(machinery)
    assert "after_each" in machinery.events
