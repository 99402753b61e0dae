from __future__ import annotations

from typing import Any

import pytest

from sandlot.errors import UsageError
from sandlot.evals.graders import TYPES, check_grader, grade
from sandlot.evals.graders.text import REGEX_S
from tests.evals.subjects import grader, judge


@pytest.mark.parametrize(
    ("kind", "config", "text", "score"),
    [
        ("contains", {"value": "ab"}, "xaby", 1.0),
        ("contains", {"value": "AB"}, "xaby", 0.0),
        ("contains", {"value": ["a", "b", "q", "r"]}, "ab", 0.5),
        ("contains", {"value": ["a", "q"], "match": "any"}, "ab", 1.0),
        ("contains-any", {"value": ["a", "q"]}, "ab", 1.0),
        ("contains-all", {"value": ["a", "q"]}, "ab", 0.5),
        ("icontains", {"value": "STRASSE"}, "die Straße", 1.0),
        ("icontains-any", {"value": ["Q", "B"]}, "ab", 1.0),
        ("starts-with", {"value": "ab"}, "\n abc", 1.0),
        ("ends-with", {"value": "bc"}, "abc \n", 1.0),
        ("ends-with", {"value": "ab"}, "abc", 0.0),
        ("equals", {"value": "42"}, " 42\n", 1.0),
        ("equals", {"value": 42}, "42", 1.0),
        ("equals", {"value": "42"}, "420", 0.0),
        ("regex", {"value": r"\bfoo\d+$"}, "a foo12", 1.0),
        ("regex", {"value": "FOO", "flags": "i"}, "foo", 1.0),
        ("regex", {"value": "FOO"}, "foo", 0.0),
        ("is-json", {}, '{"a": [1]}', 1.0),
        ("is-json", {}, "{'a': 1}", 0.0),
        ("is-json", {}, "NaN", 0.0),
        ("is-json", {"fenced": True}, "Sure:\n```json\n[1]\n```\n", 1.0),
        ("is-json", {}, "[" * 100_000, 0.0),
    ],
)
def test_an_answer_is_compared(kind: str, config: dict[str, Any], text: str, score: float) -> None:
    found = judge(kind, text, **config)
    assert found.error == ""
    assert found.score == score
    assert found.passed is (score == 1.0)


def test_negation_turns_score_hits_and_misses_around() -> None:
    found = judge("contains", "bad word", value="bad", negate=True)
    assert (found.score, found.passed, found.hits, found.misses) == (0.0, False, (), ("bad",))
    assert judge("contains", "good", value="bad", negate=True).passed


def test_required_is_the_least_score_that_passes() -> None:
    assert judge("contains", "ab", value=["a", "q"], required=0.5).passed
    assert not judge("contains", "ab", value=["a", "q"], required=0.6).passed


def test_a_pattern_that_an_answer_makes_slow_is_a_graders_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandlot.evals.graders.text.REGEX_S", REGEX_S / 20)
    found = judge("regex", "a" * 60 + "!", value="(a+)+$")
    assert "took longer" in found.error


def test_patterns_with_several_repetitions_work_all_the_same() -> None:
    assert judge("regex", "x" * 20_000 + " a1 b2", value=r"(?P<l>a\d).*b\d+").passed
    assert not judge("regex", "aXb", value=r"a\d+b*", flags="i").passed


@pytest.mark.parametrize(
    ("kind", "config", "why"),
    [
        ("contains", {}, "'value' is missing"),
        ("contains", {"value": "a", "vale": 1}, "unknown field 'vale'"),
        ("regex", {"value": "("}, "not a regular expression"),
        ("regex", {"value": "a", "flags": "q"}, "unknown flag"),
        ("containz", {"value": "a"}, "unknown type 'containz'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(kind: str, config: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_grader(grader(kind, **config))
    assert why in refused.value.message
    assert refused.value.message.startswith("evals/a.yaml:3:5: grader")


def test_every_type_is_there() -> None:
    from importlib import import_module

    for path in TYPES.values():
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(f"sandlot.evals.graders.{module}"), name)


def test_a_graders_mistake_is_its_error_and_never_a_verdict() -> None:
    found = grade(grader("regex", value="("), None)  # type: ignore[arg-type]  # never looked at
    assert found.error
    assert not found.passed
