"""Agent Skills' evals.json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Suite
from sandlot.evals.load import load_suites
from tests.evals.suites.conftest import Suites


def skill(suites: Suites, *evals: dict[str, Any], **more: Any) -> Suite:
    suites.write("pdf/evals/evals.json", json.dumps({"skill_name": "pdf", "evals": list(evals), **more}))
    (suite,) = load_suites([suites.folder / "pdf"])
    return suite


def test_an_eval_is_a_test_with_its_files_and_rubrics(suites: Suites) -> None:
    suites.write("pdf/SKILL.md", "")
    suites.write("pdf/evals/files/in.txt", "content")
    suite = skill(
        suites,
        {"id": 1, "prompt": "do it", "expected_output": "done", "files": ["evals/files/in.txt"], "expectations": ["a"]},
        {"id": 2, "prompt": "more", "expected_output": "done", "assertions": ["b", "c"]},
        {"id": 3, "prompt": "last", "expected_output": "done"},
    )
    one, two, three = suite.tests
    assert (suite.name, one.id, one.expected_output) == ("pdf", "1", "done")
    assert [part.text for part in one.input[0].parts] == ["content", "do it"]
    assert one.graders[0].config == {"rubrics": [{"outcome": "a"}]}
    assert two.graders[0].config == {"rubrics": [{"outcome": "b"}, {"outcome": "c"}]}
    assert (three.graders[0].type, "rubrics" in three.graders[0].config) == ("llm-grader", False)


def test_the_skills_folder_with_its_expectations_is_not_given_to_the_target(suites: Suites) -> None:
    suite = skill(suites, {"id": 1, "prompt": "x", "expected_output": "y"})
    assert suite.tests[0].workspace.template is None


@pytest.mark.parametrize(
    ("evals", "message"),
    [
        ([], "evals"),
        ([{"id": 1, "prompt": "x"}], "evals[0]: nothing says what a good answer is"),
        ([{"id": 1, "prompt": "x", "expected_output": "y", "files": ["none"]}], "the file 'none' does not exist"),
        ([{"id": 1, "expected_output": "y"}], "evals[0].prompt is missing"),
        ([{"id": 1, "prompt": "x", "expected_output": "y"}] * 2, "the id '1' is used twice"),
        ([{"id": 1, "prompt": "x", "expected_output": "y", "expectation": []}], "unknown field evals[0].expectation"),
    ],
)
def test_what_is_wrong_is_an_error(suites: Suites, evals: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(SuiteInvalid) as caught:
        skill(suites, *evals)
    assert message in caught.value.message
