"""Which graders are asked at all: nobody needs the key of one that could change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandlot.evals.cases import GraderSpec, TargetSpec
from sandlot.evals.graders import Subject, grade_all
from sandlot.evals.outcomes import Outcome, Verdict
from sandlot.evals.place import Changes
from sandlot.evals.scoring import score_verdicts
from tests.evals.subjects import answer, case, grader, no_grading, target

MODEL: dict[str, Any] = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "api_key_env": "SURELY_NOT_SET"}


def graded(*specs: GraderSpec, text: str = "good") -> tuple[Verdict, ...]:
    def llm(name: str | None) -> TargetSpec:
        return target("llm", "/", **MODEL)

    return grade_all(specs, Subject(case(), answer(text), Changes(b"", ()), no_grading, llm))


def contains(**more: Any) -> GraderSpec:
    return grader("contains", "/", value="good", **more)


JUDGE = grader("llm-grader", "/", criteria="be good", required=0.8)


@pytest.mark.parametrize(
    "model",
    [JUDGE, grader("composite", "/", graders=[{"type": "contains", "value": "x"}, {"type": "llm-grader"}])],
)
def test_after_a_required_miss_no_model_is_asked(model: GraderSpec) -> None:
    asked, missed, other = graded(model, contains(required=1.0), contains(), text="bad")  # though it comes first
    assert (asked.skipped, asked.error) == (True, "")
    assert asked.reasoning == "not asked: 'contains' is required, and failed"
    assert (missed.score, other.score) == (0.0, 0.0)
    scored = score_verdicts((asked, missed, other), 0.8)
    assert (scored.outcome, scored.score) == (Outcome.FAIL, 0.0)


def test_a_miss_that_only_counts_by_weight_leaves_the_model_its_say() -> None:
    judged, _ = graded(JUDGE, contains(), text="bad")
    assert "SURELY_NOT_SET" in judged.error


def test_a_model_is_asked_when_all_that_is_required_is_there() -> None:
    (judged, _) = graded(JUDGE, contains(required=1.0))
    assert "SURELY_NOT_SET" in judged.error


def test_members_of_a_composite_are_as_careful() -> None:
    members = [{"type": "llm-grader"}, {"type": "contains", "value": "good", "required": 1.0}]
    (found,) = graded(grader("composite", "/", graders=members), text="bad")
    assert (found.score, found.error, found.reasoning) == (0.0, "", "contains is required")


def test_a_file_that_cannot_be_read_is_said_before_anything_runs(tmp_path: Path) -> None:
    from sandlot.errors import UsageError
    from sandlot.evals.graders import check_grader

    (tmp_path / "p.md").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="a file of it cannot be read"):
        check_grader(grader("llm-grader", tmp_path, prompt="p.md"))
