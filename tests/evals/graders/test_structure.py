from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import UsageError
from sandlot.evals.graders import check_grader
from tests.evals.subjects import case, grader, judge

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def test_an_answer_fits_a_schema_or_says_where_not(tmp_path: Path) -> None:
    assert judge("json-schema", '{"n": 1}', schema=SCHEMA).passed
    found = judge("json-schema", '{"n": "x"}', schema=SCHEMA)
    assert not found.passed
    assert "$.n" in found.misses[0]
    assert judge("json-schema", "no", schema=SCHEMA).score == 0.0
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    check_grader(grader("json-schema", tmp_path, schema="s.json"))
    with pytest.raises(UsageError, match="not valid"):
        check_grader(grader("json-schema", schema={"type": "objekt"}))


def test_a_schema_fetches_nothing() -> None:
    found = judge("json-schema", "1", schema={"$ref": "http://127.0.0.1:9/secret.json"})
    assert "not in it" in found.error


FIELDS = [
    {"path": "total", "match": "numeric_tolerance", "tolerance": 0.5},
    {"path": "lines[0].name"},
    {"path": "day", "match": "date"},
]
EXPECTED = {"total": 10, "lines": [{"name": "a"}], "day": "2026-11-21"}


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ({"total": "10.4", "lines": [{"name": "a"}], "day": "21 Nov 2026"}, 1.0),
        ({"total": 10.6, "lines": [{"name": "a"}], "day": "Nov 21, 2026"}, 2 / 3),
        ({"total": 10, "lines": [], "day": "never"}, 1 / 3),
        ({}, 0.0),
    ],
)
def test_fields_are_compared_each_in_its_way(answer: dict[str, Any], score: float) -> None:
    found = judge("field-accuracy", json.dumps(answer), of=case(expected_output=EXPECTED), fields=FIELDS)
    assert found.score == pytest.approx(score)
    everything = judge(
        "field-accuracy",
        json.dumps(answer),
        of=case(expected_output=EXPECTED),
        fields=FIELDS,
        aggregation="all_or_nothing",
    )
    assert everything.score == float(score == 1.0)


def test_what_the_test_does_not_expect_is_the_graders_error() -> None:
    assert "expects nothing" in judge("field-accuracy", "{}", of=case(expected_output={}), fields=[{"path": "x"}]).error


def test_true_is_not_one() -> None:
    assert not judge("field-accuracy", '{"a": 1}', of=case(expected_output={"a": True}), fields=[{"path": "a"}]).passed


def test_fields_that_may_be_missing_do_not_count_unless_all_are() -> None:
    fields = [{"path": "a", "value": 1, "required": False}, {"path": "b", "value": 2, "required": False}]
    assert judge("field-accuracy", '{"a": 1}', fields=fields).score == 1.0
    found = judge("field-accuracy", "{}", fields=fields)
    assert (found.score, found.error, found.skipped) == (0.0, "", False)
