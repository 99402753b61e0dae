from __future__ import annotations

from typing import Any

import pytest

from sandlot.evals.outcomes import ToolCall, Usage
from tests.evals.subjects import answer, judge

USED = answer(
    "x", duration_ms=1000, usage=Usage(100, 50, 0.2), messages=({"role": "assistant"}, {"role": "assistant"}),
    tool_calls=(
        ToolCall("Read", {"path": "a.py"}), ToolCall("Edit", {"path": "a.py", "n": 1}),
        ToolCall("Read", {"path": "b.py"}),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config", "score"),
    [
        ("latency", {"threshold": 1000}, 1.0),
        ("latency", {"threshold": 999}, 0.0),
        ("cost", {"budget": 0.2}, 1.0),
        ("cost", {"budget": 0.1}, 0.0),
        ("token-usage", {"max_total": 150, "max_input": 99}, 0.5),
        ("execution-metrics", {"max_tool_calls": 3, "max_llm_calls": 2, "max_tokens": 1, "max_cost_usd": 1}, 0.75),
        ("execution-metrics", {"target_exploration_ratio": 0.6, "exploration_tolerance": 0.1}, 1.0),
        ("execution-metrics", {"target_exploration_ratio": 0.1, "exploration_tolerance": 0.1}, 0.0),
    ],
)
def test_limits_that_are_kept(kind: str, config: dict[str, Any], score: float) -> None:
    assert judge(kind, by=USED, **config).score == score


@pytest.mark.parametrize(("kind", "config"), [("cost", {"budget": 1}), ("token-usage", {"max_total": 1})])
def test_what_a_target_does_not_report_is_skipped_and_not_passed(kind: str, config: dict[str, Any]) -> None:
    found = judge(kind, "x", **config)
    assert found.skipped
    assert not found.passed
    assert found.error == ""


def test_a_part_of_the_tokens_keeps_no_limit() -> None:
    half = answer("x", usage=Usage(None, 5, None))
    assert judge("token-usage", by=half, max_total=1000).skipped
    found = judge("token-usage", by=half, max_total=1000, max_output=5)
    assert (found.score, found.reasoning) == (1.0, "the target does not report tokens")


@pytest.mark.parametrize(
    ("config", "score"),
    [
        ({"mode": "any_order", "minimums": {"Read": 2, "Bash": 1}}, 0.5),
        ({"mode": "in_order", "expected": [{"tool": "Read"}, {"tool": "Read"}]}, 1.0),
        ({"mode": "in_order", "expected": [{"tool": "Edit"}, {"tool": "Edit"}]}, 0.5),
        ({"mode": "exact", "expected": [{"tool": "Read"}, {"tool": "Edit"}, {"tool": "Read"}]}, 1.0),
        ({"mode": "exact", "expected": [{"tool": "Read"}, {"tool": "Edit"}]}, 2 / 3),
        ({"mode": "subset", "expected": [{"tool": "Read"}]}, 2 / 3),
        ({"mode": "superset", "expected": [{"tool": "Edit"}, {"tool": "Bash"}]}, 0.5),
        ({"mode": "in_order", "expected": [{"tool": "Read", "args": {"path": "b.py"}}]}, 1.0),
        ({"mode": "in_order", "expected": [{"tool": "Edit", "args": {"path": "a.py"}}]}, 0.0),
        ({"mode": "in_order", "args_match": "superset", "expected": [{"tool": "Edit", "args": {"path": "a.py"}}]}, 1.0),
        ({"mode": "in_order", "args_match": ["n"], "expected": [{"tool": "Edit", "args": {"n": 1}}]}, 1.0),
        ({"mode": "in_order", "expected": [{"tool": "Read", "args": {"path": "/^b/"}}]}, 1.0),
    ],
)
def test_calls_of_tools_are_compared(config: dict[str, Any], score: float) -> None:
    assert judge("tool-trajectory", by=USED, **config).score == pytest.approx(score)


def test_a_composite_is_one_score() -> None:
    members: list[dict[str, Any]] = [
        {"type": "contains", "value": "x", "weight": 3},
        {"type": "contains", "value": "q", "name": "q"},
    ]
    assert judge("composite", "x", graders=members).score == 0.75
    assert (
        judge("composite", "x", graders=members, aggregator={"type": "weighted_average", "weights": {"q": 3}}).score
        == 0.5
    )
    assert judge("composite", "x", graders=members, aggregator={"type": "threshold", "threshold": 0.5}).score == 1.0
    assert judge("composite", "x", graders=members, aggregator="all").score == 0.0
    required = [{**members[0]}, {**members[1], "required": True}]
    assert judge("composite", "x", graders=required).score == 0.0
