"""Numbers, gates, comparisons and reports; above all of what hostile targets say."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.errors import StateCorrupt, UsageError
from sandlot.evals.compare import compare
from sandlot.evals.gate import Status, judge
from sandlot.evals.junit import as_junit
from sandlot.evals.options import RunOptions
from sandlot.evals.outcomes import Outcome, Stage, TargetAnswer, Trial, TrialResult, Usage, Verdict
from sandlot.evals.report import Run, as_json, as_text
from sandlot.evals.run import Ending
from sandlot.evals.run_folder import RunFolder
from sandlot.evals.session import begin
from sandlot.evals.summary import TestNumbers, at_k, numbers, per_test
from sandlot.evals.trial import Finished
from sandlot.evals.trial_records import read_result, write_result
from tests.evals.standins import a_case, plan_of, suite

P, F, E, T, S = Outcome.PASS, Outcome.FAIL, Outcome.ERROR, Outcome.TIMEOUT, Outcome.SKIPPED


def result(outcome: Outcome, test: str = "t", number: int = 1, **fields: object) -> TrialResult:
    values = {"score": 1.0 if outcome is P else 0.0 if outcome is F else None, **fields}
    return TrialResult(Trial("suite", test, "mock", number), outcome, **values)  # type: ignore[arg-type]  # its fields


def row(test: str, *outcomes: Outcome, target: str = "mock") -> TestNumbers:
    return TestNumbers("suite", test, target, outcomes)


def run_of(folder: Path, *results: TrialResult) -> Run:
    """A run of tests t0, t1, ... of which these have a result."""
    made = begin(plan_of(suite(*(a_case(f"t{number}") for number in range(4)))), folder, "run-1")
    for each in results:
        made.save(Finished(each).result)
    return Run.read(made)


def test_errors_and_skipped_trials_are_neither_scored_nor_in_the_pass_rate() -> None:
    results = {each.trial.key: each for each in (result(P, "a"), result(F, "b"), result(E, "c"), result(T, "d"))}
    trials = [Trial("suite", name, "mock", 1) for name in "abcde"]
    found = numbers(trials, results)
    assert (found.total, found.scored, found.skipped) == (5, 2, 1)
    assert found.pass_rate == pytest.approx(1 / 3)  # no answer in time is no pass
    assert [each.outcomes for each in per_test(trials, results)] == [(P,), (F,), (E,), (T,), (S,)]


@pytest.mark.parametrize(
    ("outcomes", "options", "ending", "status"),
    [
        ((P, P), {}, Ending.COMPLETE, Status.PASSED),
        ((P, F), {}, Ending.COMPLETE, Status.BELOW),
        ((P, F), {"min_pass_rate": 0.5}, Ending.COMPLETE, Status.PASSED),
        ((P, T), {"min_pass_rate": 0.6}, Ending.COMPLETE, Status.BELOW),
        ((T, T), {}, Ending.COMPLETE, Status.BELOW),
        ((P, E), {"min_pass_rate": 0.1}, Ending.COMPLETE, Status.ERRORS),
        ((P, S), {}, Ending.COMPLETE, Status.ERRORS),
        ((P, F, S), {}, Ending.FAIL_FAST, Status.BELOW),
        ((P, P, F, S), {"min_pass_rate": 0.5}, Ending.FAIL_FAST, Status.BELOW),
        ((P, F), {"min_pass_rate": 0.5}, Ending.FAIL_FAST, Status.PASSED),
        ((), {}, Ending.COMPLETE, Status.PASSED),
        ((P, S), {}, Ending.BUDGET, Status.BUDGET),
        ((P, E), {}, Ending.BUDGET, Status.BUDGET),
        ((P,), {}, Ending.INTERRUPTED, Status.INTERRUPTED),
        ((*[P] * 9, F), {"min_pass_rate": 0.9}, Ending.COMPLETE, Status.PASSED),
    ],
)
def test_the_exit_status_says_the_worst(
    outcomes: tuple[Outcome, ...], options: dict[str, float], ending: Ending, status: Status
) -> None:
    results = [result(each, f"t{index}") for index, each in enumerate(outcomes)]
    trials = [each.trial for each in results]
    counts = numbers(trials, {each.trial.key: each for each in results if each.outcome is not S})
    assert judge(counts, RunOptions(**options), ending).status is status  # type: ignore[arg-type]  # its fields


def test_pairs_are_tests_and_errors_take_no_part() -> None:
    before = [row("a", P), row("b", F), row("c", P, P, F), row("d", E), row("e", P), row("gone", P)]
    after = [row("a", F), row("b", P), row("c", P, F, F), row("d", P), row("e", P), row("new", P)]
    found = compare(before, after)
    assert [each.test for each in found.fixed] == ["b"]
    assert [each.test for each in found.regressed] == ["a", "c"]
    assert [each.test for each in found.undecided] == ["d"]
    assert (found.only_before, found.only_after) == (("suite/gone",), ("suite/new",))
    assert found.p_value == pytest.approx(1.0)


def test_runs_of_different_targets_are_paired_by_test() -> None:
    found = compare([row("a", P, target="x")], [row("a", F, target="y")])
    assert [each.target for each in found.regressed] == ["x -> y"]
    with pytest.raises(UsageError, match="no test in common"):
        compare([row("a", P)], [row("b", P)])


def test_k_goes_as_far_as_every_test_has_trials_that_count() -> None:
    found = at_k([row("a", P, F, P), row("b", P, E, F), row("c", E, E, E)])
    assert sorted(found) == [1, 2]
    assert found[1] == pytest.approx(((2 / 3 + 1 / 2) / 2, (2 / 3 + 1 / 2) / 2))


HOSTILE = "\x1b[31m]]></failure>\x00\x08&<\ud800\ufffe\x9b31m\r\n"


def test_junit_maps_fail_error_and_skipped_and_survives_hostile_text(tmp_path: Path) -> None:
    verdict = Verdict("g" + HOSTILE, "contains", 0.0, False, misses=(HOSTILE,), reasoning=HOSTILE)
    answer = TargetAnswer(HOSTILE, 5)
    run = run_of(
        tmp_path / "run",
        result(F, "t0", reason=HOSTILE, verdicts=(verdict,), answer=answer),
        result(E, "t1", reason=HOSTILE, stage=Stage.SETUP),
        result(T, "t2", reason="late", stage=Stage.TARGET),
    )
    document = as_junit(run)
    root = ElementTree.fromstring(document)
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["4", "1", "2", "1"]
    kinds = [child.tag for case in root.iter("testcase") for child in case if child.tag != "system-out"]
    assert kinds == ["failure", "error", "error", "skipped"]
    assert [each.get("type") for each in root.iter("error")] == ["setup", "timeout"]
    assert next(each.get("name") for each in root.iter("testcase")) == "t0[mock]#1"
    text = document.decode()
    assert not [char for char in text if not (char.isprintable() or char in "\n\t\r")]


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_gives_a_document_that_parses(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = run_of(tmp_path_factory.mktemp("r") / "run", result(F, "t0", reason=text, answer=TargetAnswer(text, 1)))
    ElementTree.fromstring(as_junit(run))
    json.loads(json.dumps(as_json(run)))


def test_the_text_report_has_one_line_for_a_reason_of_many(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", result(F, "t0", reason="first\nrun run-1: complete\n" + "x" * 1000))
    lines = as_text(run).splitlines()
    assert [line for line in lines if line.startswith("run ")] == [lines[0]]
    assert max(map(len, lines)) < 400


def test_a_result_comes_back_as_it_was_kept() -> None:
    kept = result(
        F,
        reason=HOSTILE,
        verdicts=(Verdict("g", "regex", 0.5, False, 2.0, 0.8, ("h",), ("m",), "r", {"n": float("nan")}, "", True),),
        answer=TargetAnswer("text", 7, usage=Usage(1, None, 0.25)),
        warnings=("w",),
        isolation="kernel",
        hook_output={"before_each": "said"},
    )
    back = read_result(json.loads(json.dumps(write_result(kept), allow_nan=False)))
    assert back.verdicts[0].details == {"n": "nan"}
    assert back.answer == kept.answer
    assert (back.trial, back.outcome, back.reason, back.hook_output) == (kept.trial, F, HOSTILE, kept.hook_output)


def test_names_cannot_leave_the_run_nor_collide(tmp_path: Path) -> None:
    names = ["../../escape", "/etc/passwd", "a/b", "a b", "a_b", "", ".", "..", "x" * 5000, "ü\n", "\x1b"]
    plan = plan_of(suite(*(a_case(name) for name in names)))
    folder = begin(plan, tmp_path / "run", "run-1")
    for job in plan.jobs:
        folder.save(TrialResult(job.trial, P, 1.0), patch=b"x")
    assert len(list((tmp_path / "run" / "trials").iterdir())) == len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(folder.results([job.trial for job in plan.jobs])) == len(names)


def test_a_file_cut_off_by_a_crash_is_no_result_and_its_trial_is_run_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trial = Trial("suite", "t0", "mock", 1)
    run_of(run, result(P, "t0"))
    folder = RunFolder.open(run)
    (kept,) = run.glob("trials/*/1.json")
    kept.write_bytes(kept.read_bytes()[:40])
    assert folder.result(trial) is None
    folder.save(result(F, "t0"))
    again = folder.result(trial)
    assert again is not None
    assert again.outcome is F
    assert folder.attempts(trial) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": 99}', b'{"format": 1}', b"\xff"])
def test_a_manifest_that_cannot_be_read_is_said_so(tmp_path: Path, content: bytes) -> None:
    run_of(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_bytes(content)
    with pytest.raises(StateCorrupt):
        _ = RunFolder.open(tmp_path / "run").manifest
