"""Inputs of several messages: handed on as they are, in a way that is written down, or refused."""

from __future__ import annotations

import pytest

from tests.evals.suites.conftest import Suites

TEST = "tests: [{id: a, criteria: x, input: INPUT}]\n"


def test_turns_before_the_last_one_say_who_spoke(suites: Suites) -> None:
    suite = suites.load(
        TEST.replace(
            "INPUT",
            "[{role: system, content: be brief}, {role: user, content: 2+2?}, {role: assistant, content: '4'}, "
            "{role: user, content: and 3+3?}]",
        )
    )
    (test,) = suite.tests
    assert [each.role for each in test.input] == ["system", "user", "assistant", "user"]
    assert test.prompt == "system: be brief\n\nuser: 2+2?\n\nassistant: 4\n\nuser: and 3+3?"


def test_where_only_the_user_speaks_nobody_is_named(suites: Suites) -> None:
    suite = suites.load("input: Answer in English.\n" + TEST.replace("INPUT", "Hallo"))
    assert suite.tests[0].prompt == "Answer in English.\n\nHallo"


def test_an_input_that_ends_with_an_answer_is_refused(suites: Suites) -> None:
    error = suites.refused(TEST.replace("INPUT", "[{role: user, content: hi}, {role: assistant, content: ho}]"))
    assert "s.eval.yaml:1:" in error.message
    assert "the input of the test 'a' ends with an answer" in error.message


@pytest.mark.parametrize("written", ["turns: [{input: hi}]", "mode: conversation"])
def test_turns_to_be_played_are_refused_with_what_to_write(suites: Suites, written: str) -> None:
    error = suites.refused(f"tests: [{{id: a, criteria: x, input: hi, {written}}}]\n")
    assert "tests[0]." in error.message
    assert "input messages" in error.message + str(error.hint)


@pytest.mark.parametrize("aggregator", ["code_judge", "{type: llm-judge, prompt: x}"])
def test_an_aggregator_that_is_a_program_or_a_model_is_refused_with_the_reason(suites: Suites, aggregator: str) -> None:
    composite = f"{{type: composite, assert: [{{type: is-json}}], aggregator: {aggregator}}}"
    error = suites.refused(f"tests:\n  - id: a\n    input: x\n    assert: [{composite}]\n")
    assert "s.eval.yaml:4:" in error.message
    assert "no program and no model puts members together" in error.message
