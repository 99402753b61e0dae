"""Answers that were made to hang, crash or fill whoever grades them. None passes, and none is without an end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandlot.evals.graders import MOST_CHARACTERS, MOST_FOUND
from sandlot.evals.graders.text import DEEPEST
from sandlot.evals.outcomes import ToolCall
from sandlot.evals.place import Changes
from tests.evals.subjects import answer, case, grader, judge, no_grading

SOON = 0.3
"""Seconds that a pattern or a schema may take in these tests."""
SLOW = "a" * 60 + "!"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandlot.evals.graders.text.REGEX_S", SOON)
    monkeypatch.setattr("sandlot.evals.graders.schemas.SCHEMA_S", SOON)


@pytest.mark.parametrize("pattern", ["(a|aa)+b", "^(.|a){1,99}b", "(?=(a+)+b)"])
def test_no_pattern_is_searched_for_without_an_end(pattern: str) -> None:
    assert "took longer" in judge("regex", SLOW, value=pattern).error


def test_nor_in_the_arguments_of_a_tool() -> None:
    made = answer("x", tool_calls=(ToolCall("Bash", {"command": SLOW}),))
    expected = [{"tool": "Bash", "args": {"command": "/(a|aa)+b/"}}]
    assert "took longer" in judge("tool-trajectory", by=made, mode="in_order", expected=expected).error


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "pattern": "^(a|aa)+$"}, json.dumps(SLOW)),
        ({"patternProperties": {"^(a|aa)+$": {}}}, json.dumps({SLOW: 1})),
        ({"uniqueItems": True}, json.dumps([[each] if each % 2 else each for each in range(40_000)])),
    ],
)
def test_nor_is_an_answer_held_against_a_schema_without_an_end(schema: dict[str, Any], text: str) -> None:
    assert "took longer" in judge("json-schema", text, schema=schema).error


def test_schemas_that_may_take_long_judge_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandlot.evals.graders.schemas.SCHEMA_S", 60.0)
    schema = {"$defs": {"name": {"pattern": "^[a-z]+$"}}, "properties": {"n": {"$ref": "#/$defs/name"}}}
    assert judge("json-schema", '{"n": "abc"}', schema=schema).passed
    found = judge("json-schema", '{"n": "ABC"}', schema=schema)
    assert found.misses == ("$.n: 'ABC' does not match '^[a-z]+$'",)


HUGE = "1" + "0" * 400


SAME = {"path": "n", "value": 1}
CLOSE = {**SAME, "match": "numeric_tolerance", "tolerance": 0.5}
DAY = {"path": "n", "value": "2026-01-01", "match": "date"}
BOUNDED = {"properties": {"n": {"multipleOf": 0.1, "maximum": 9}}}


@pytest.mark.parametrize("value", [HUGE, "1e999", "-0.0", '"nan"', "[" * 150 + "]" * 150])
@pytest.mark.parametrize("field", [SAME, CLOSE, DAY])
def test_odd_values_are_misses_and_nobodys_error(field: dict[str, Any], value: str) -> None:
    found = judge("field-accuracy", f'{{"n": {value}}}', of=case(expected_output={}), fields=[field])
    assert (found.passed, found.error) == (False, ""), found


@pytest.mark.parametrize("value", [HUGE, "1e999"])
def test_odd_numbers_fit_no_schema(value: str) -> None:
    found = judge("json-schema", f'{{"n": {value}}}', schema=BOUNDED)
    assert (found.passed, found.error) == (False, ""), found


@pytest.mark.parametrize("depth", [DEEPEST + 1, 900, 5_000, 100_000])
def test_json_without_a_bottom_is_none(depth: int) -> None:
    text = "[" * depth + "]" * depth
    for kind, config in (
        ("is-json", {}),
        ("json-schema", {"schema": {"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}}}),
        ("field-accuracy", {"fields": [{"path": "a", "value": 1}]}),
    ):
        found = judge(kind, text, **config)
        assert (found.score, found.error) == (0.0, ""), kind
        assert "nested" in found.reasoning


def test_what_is_kept_of_a_verdict_is_bounded() -> None:
    wanted = [f"{number}" + "x" * 5000 for number in range(MOST_FOUND + 20)]
    found = judge("contains", "", value=wanted)
    assert len(found.misses) == MOST_FOUND + 1
    assert found.misses[-1] == "and 20 more"
    assert max(map(len, found.misses)) == MOST_CHARACTERS


def test_details_that_would_fill_every_report_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from sandlot.evals.graders.subject import Finding
    from sandlot.evals.graders.text import IsJson

    for size, left in ((100, False), (300_000, True)):
        found = Finding(1.0, details={"output": "x" * size})
        monkeypatch.setattr(IsJson, "find", lambda _self, _subject, found=found: found)
        assert ("left_out" in judge("is-json", "1").details) is left


@pytest.mark.parametrize(
    ("text", "adds"),
    [
        ("+++ b/f\n@@ -0,0 +1 @@\n+++ secret\n", True),  # a line that begins with two signs
        ("+++ b/secret\n@@ -0,0 +1 @@\n+x\n", False),
        ("+++ b/f\n@@ -1 +1 @@\n-x\u2028+secret\n+y\n", False),
        ("+++ b/f\n@@ -1 +1 @@\n-x\r+secret\n+y\n", False),
    ],
)
def test_added_lines_are_those_of_the_diff(text: str, adds: bool) -> None:
    from sandlot.evals.graders import Subject, grade

    patch = f"diff --git a/f b/f\n--- a/f\n{text}".encode()
    subject = Subject(case(), answer(), Changes(patch, ()), no_grading)
    assert grade(grader("file-changes", patch_contains="secret"), subject).passed is adds
