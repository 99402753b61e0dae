"""The shape of suites: what existing ones may say, what it becomes, and what is refused with the reason."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import GraderSpec
from sandlot.evals.load import load_suites
from tests.evals.suites.conftest import TEST, Suites

FULL = """
    name: shop
    description: all that a suite may say
    version: "1.0"
    author: someone
    license: MIT
    requires: {agentv: ">=2"}
    tags: [nightly]
    input: Be brief.
    execution:
      targets: [mock, other]
      workers: 3
      trials: {count: 4, strategy: pass_at_k}
      total_budget_usd: 2.5
      budget_tokens: 1000
      budget_minutes: 5
      timeout_seconds: 30
      fail_fast: true
      fail_on_error: false
      threshold: 0.5
      cache: false
    assert:
      - {type: is_json, weight: 2}
    tests:
      - id: one
        criteria: does it
        expected_output: {sum: 3}
        input:
          - role: system
            content: You add.
          - role: user
            content:
              - {type: text, value: Add these.}
              - {type: file, value: numbers.txt}
        assert:
          - {name: has, type: contains, value: sum, required: true, negate: true}
          - {type: regex, value: "^3", required: 0.6}
        metadata: {difficulty: easy}
        tags: slow
        execution: {target: other, timeout_seconds: 5}
      - id: two
        input: {a: 1}
        expected_output: x
        execution: {skip_defaults: true}
"""


def names(graders: tuple[GraderSpec, ...]) -> list[tuple[str, str]]:
    return [(each.name, each.type) for each in graders]


def test_everything_that_a_suite_says_arrives(suites: Suites) -> None:
    suites.write("numbers.txt", "1 2\n")
    suite = suites.load(FULL)
    assert (suite.name, suite.tags, len(suite.tests)) == ("shop", ("nightly",), 2)
    execution = suite.execution
    assert (execution.targets, execution.workers, execution.trials) == (("mock", "other"), 3, 4)
    assert (execution.budget_usd, execution.budget_tokens, execution.budget_minutes) == (2.5, 1000, 5)
    assert (execution.timeout_s, execution.fail_fast, execution.threshold) == (30, True, 0.5)
    one, two = suite.tests
    assert [(each.role, each.text) for each in one.input] == [
        ("user", "Be brief."),
        ("system", "You add."),
        ("user", "Add these.\n1 2\n"),
    ]
    assert one.input[2].parts[1].file == "numbers.txt"
    assert names(one.graders) == [("has", "contains"), ("regex", "regex"), ("is-json", "is-json")]
    assert [(each.weight, each.required, each.negate) for each in one.graders] == [
        (1.0, 0.8, True), (1.0, 0.6, False), (2.0, None, False)
    ]  # fmt: skip
    assert (one.tags, one.targets, one.timeout_s) == (("nightly", "slow"), ("other",), 5)
    assert (one.metadata, one.expected_output, one.criteria) == ({"difficulty": "easy"}, {"sum": 3}, "does it")
    assert two.prompt == json.dumps({"a": 1}, indent=2)
    assert names(two.graders) == [("llm-grader", "llm-grader")]


def test_the_smallest_suite_is_named_like_its_file(suites: Suites) -> None:
    suite = suites.load(TEST, name="checkout.eval.yaml")
    assert (suite.name, suite.execution.trials, suite.execution.threshold) == ("checkout", 1, 0.8)
    assert suites.load(TEST, name="deep/PAY.EVAL.yaml").name == "PAY"
    assert Path(suite.file).is_absolute()


@pytest.mark.parametrize("spelling", ["assertions", "evaluators"])
def test_older_spellings_of_assert_mean_the_same_and_keep_their_places(suites: Suites, spelling: str) -> None:
    suite = suites.load(f"tests:\n  - id: one\n    input: x\n    {spelling}:\n      - {{type: is-json}}\n")
    (grader,) = suite.tests[0].graders
    assert str(grader.place) == "s.eval.yaml:5:9"


def test_two_spellings_of_one_thing_are_an_error(suites: Suites) -> None:
    error = suites.refused("tests: [{id: a, input: x, assert: [{type: is-json}], assertions: [{type: is-json}]}]\n")
    assert error.message == "s.eval.yaml:1:54: tests[0].assertions is written under two names"
    assert error.hint == "write assert alone"


# -- a test is never dropped -----------------------------------------------------------------------------------------


def test_a_test_without_a_measure_is_an_error(suites: Suites) -> None:
    error = suites.both_refuse("tests:\n  - id: lonely\n    input: x\n")
    assert "s.eval.yaml:2:5: the test 'lonely': nothing says what a good answer is" in error
    assert "write criteria, expected_output or assert" in error


@pytest.mark.parametrize("measure", ["assert: []", "criteria: ''", "metadata: {}"])
def test_an_empty_measure_is_none(suites: Suites, measure: str) -> None:
    assert "nothing says" in suites.refused(f"tests: [{{id: a, input: x, {measure}}}]\n").message


def test_skipping_the_suites_graders_can_leave_a_test_without_a_measure(suites: Suites) -> None:
    text = "assert: [{{type: is-json}}]\ntests: [{{id: a, input: x{extra}}}]\n"
    assert names(suites.load(text.format(extra="")).tests[0].graders) == [("is-json", "is-json")]
    assert "nothing says" in suites.refused(text.format(extra=", execution: {skip_defaults: true}")).message


def test_criteria_without_graders_are_judged_by_a_model(suites: Suites) -> None:
    (grader,) = suites.load("tests: [{id: a, input: x, criteria: is polite}]\n").tests[0].graders
    assert (grader.type, grader.config) == ("llm-grader", {"criteria": "is polite"})


def test_criteria_beside_graders_need_no_model(suites: Suites) -> None:
    text = "tests: [{id: a, input: x, criteria: is polite, assert: [{type: is-json}]}]\n"
    assert names(suites.load(text).tests[0].graders) == [("is-json", "is-json")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "s.eval.yaml:1:1: the suite has no tests"),
        ("tests: []\n", "s.eval.yaml:1:1: the suite has no tests"),
        ("tests: [{id: a, criteria: x}]\n", "s.eval.yaml:1:9: the test 'a' has no input"),
        ("tests: [{input: x, criteria: x}]\n", "s.eval.yaml:1:9: tests[0].id is missing"),
        ("tests: [{id: '', input: x, criteria: x}]\n", "s.eval.yaml:1:10: tests[0].id"),
        ("tests: [{id: 3, input: x, criteria: x}]\n", "s.eval.yaml:1:10: tests[0].id: 3 is not text"),
        ("tests: [{id: a, input: x, criteria: x}, {id: a, input: y, criteria: x}]\n",
         "s.eval.yaml:1:42: the id 'a' is used twice"),
        ("tests: [just text]\n", "s.eval.yaml:1:9: tests[0]: 'just text' is not a mapping"),
        ("tests: 3\n", "s.eval.yaml:1:1: tests: 3 is not text or a list"),
        ("- a\n", "a suite is a mapping with tests"),
        ("", "a suite is a mapping with tests"),
    ],
)  # fmt: skip
def test_what_is_no_suite_of_tests_is_refused(suites: Suites, text: str, message: str) -> None:
    assert suites.refused(text).message.startswith(message) or message in suites.refused(text).message


# -- booleans and numbers where text belongs ---------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["true", "false", "3", "1.5", "~"])
def test_what_is_no_text_in_an_argument_list_is_an_error(suites: Suites, word: str) -> None:
    error = suites.refused(f"workspace: {{hooks: {{before_all: {{command: [echo, {word}]}}}}}}\n{TEST}")
    assert error.message.startswith("s.eval.yaml:1:50: workspace.hooks.before_all.command[1]: ")
    assert "is not text" in error.message
    assert error.hint == ("" if word == "~" else f'write it in quotes: "{word}"')


@pytest.mark.parametrize(
    "grader",
    ["type: contains, value: 3", "type: code-grader, command: [true]", "type: contains, value: x, weight: '2'",
     "type: contains, value: x, weight: -1", "type: contains, value: x, required: 2", "type: regex, value: '('",
     "type: regex, value: x, flags: q", "type: contains", "value: x", "type: conains, value: x",
     "type: agent-judge", "type: latency, threshold: -1", "type: composite, assert: []", "type: contains, valeu: x",
     "type: code-grader, command: [x], weigth: 2", "type: is-json, extra: 1"],
)  # fmt: skip
def test_a_grader_that_is_wrong_is_an_error_with_its_place(suites: Suites, grader: str) -> None:
    error = suites.refused(f"tests:\n  - id: a\n    input: x\n    assert:\n      - {{{grader}}}\n")
    assert error.message.startswith("s.eval.yaml:5:")


GRADERS: list[tuple[str, str, dict[str, Any]]] = [
    ("type: contains-any, value: [a, b]", "contains-any", {"value": ["a", "b"]}),
    ("type: starts-with, value: a", "starts-with", {"value": "a"}),
    ("type: tool_trajectory, mode: any_order, minimums: {grep: 1}", "tool-trajectory",
     {"mode": "any_order", "minimums": {"grep": 1}}),
    ("type: token_usage, max_total: 5", "token-usage", {"max_total": 5.0}),
    ("type: code_judge, script: [python3, judge.py], threshold: 3", "code-grader",
     {"command": ["python3", "judge.py"], "config": {"threshold": 3}}),
    ("type: llm_judge, prompt: Is it good?", "llm-grader", {"prompt": "Is it good?"}),
    ("type: rubrics, criteria: [a, {outcome: b, weight: 2}]", "llm-grader",
     {"rubrics": [{"outcome": "a"}, {"outcome": "b", "weight": 2.0}]}),
    ("type: cost, budget: 0.5", "cost", {"budget": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "kind", "config"), GRADERS)
def test_graders_of_existing_suites_keep_their_meaning(
    suites: Suites, written: str, kind: str, config: dict[str, Any]
) -> None:
    (grader,) = suites.load(f"tests: [{{id: a, input: x, assert: [{{{written}}}]}}]\n").tests[0].graders
    assert (grader.type, dict(grader.config)) == (kind, config)


def test_members_of_a_composite_are_graders_of_their_own(suites: Suites) -> None:
    text = "tests: [{id: a, input: x, assert: [{type: composite, assertions: [{type: is-json}, {type: is-json}]}]}]\n"
    (grader,) = suites.load(text).tests[0].graders
    assert names(grader.config["graders"]) == [("is-json", "is-json"), ("is-json-2", "is-json")]


def test_a_prompt_that_names_a_file_needs_the_file(suites: Suites) -> None:
    text = "tests: [{id: a, input: x, assert: [{type: llm-grader, prompt: prompts/judge.md}]}]\n"
    assert "the prompt 'prompts/judge.md' does not exist" in suites.refused(text).message
    suites.write("prompts/judge.md", "Is it good?")
    assert suites.load(text).tests[0].graders[0].type == "llm-grader"


def test_texts_among_graders_are_rubrics_of_one_model_call(suites: Suites) -> None:
    text = "tests: [{id: a, input: x, assert: [polite, {type: is-json}, short]}]\n"
    first, second = suites.load(text).tests[0].graders
    assert first.config == {"rubrics": [{"outcome": "polite"}, {"outcome": "short"}]}
    assert second.type == "is-json"


# -- what other tools can say and is not run ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eval_cases: []\n", "eval_cases is not a field (write tests"),
        ("tests: [{id: a, input: x, expected_outcome: y}]\n", "expected_outcome is not a field (write criteria"),
        ("tests: [{id: a, turns: [], criteria: x}]\n", "several turns are not run"),
        ("tests: [{id: a, input: x, criteria: x, depends_on: [b]}]\n", "every test starts clean and alone"),
        ("tests: [{id: a, criteria: x, input: [{role: user, content: [{type: image, value: x}]}]}]\n",
         "'image' is not one of text or file"),
        ("tests: [{id: a, criteria: x, input: [{role: alien, content: x}]}]\n", "'alien' is not one of"),
        ("tests: [{id: a, criteria: x, input: {role: user, content: x, extra: 1}}]\n", "unknown field"),
        ("tests: [{id: a, criteria: x, input: x, execution: {workers: 3}}]\n", "write it in the suite's execution"),
        (f"execution: {{cache: true}}\n{TEST}", "execution.cache: true is not"),
        (f"execution: {{fail_on_error: true}}\n{TEST}", "execution.fail_on_error: true is not"),
        (f"execution: {{workers: 0}}\n{TEST}", "execution.workers"),
        (f"execution: {{trials: 0}}\n{TEST}", "execution.trials"),
        (f"execution: {{threshold: 2}}\n{TEST}", "execution.threshold"),
        (f"execution: {{workspace_mode: temp}}\n{TEST}", "write workspace.mode"),
        (f"execution: {{target: a, targets: [b]}}\n{TEST}", "target and targets are both written"),
        (f"execution: {{target: a}}\ntarget: b\n{TEST}", "the target is written twice"),
        (f"workspace: {{docker: {{image: x}}}}\n{TEST}", "sandlot's own isolation"),
    ],
)  # fmt: skip
def test_what_is_not_run_is_refused_with_the_reason(suites: Suites, text: str, message: str) -> None:
    error = suites.refused(text)
    assert message in "\n".join((f"{error.message} ({error.hint})", *error.details))


# -- tests elsewhere -------------------------------------------------------------------------------------------------


def test_tests_may_be_in_a_yaml_file(suites: Suites) -> None:
    suites.write("cases/a.yaml", "- {id: a, input: x, criteria: y}\n- {id: b, input: x, criteria: y}\n")
    suite = suites.load("tests: ./cases/a.yaml\n")
    assert [(test.id, str(test.place)) for test in suite.tests] == [
        ("a", "cases/a.yaml:1:4"),
        ("b", "cases/a.yaml:2:4"),
    ]


def test_tests_may_be_in_json_lines(suites: Suites) -> None:
    suites.write(
        "cases.jsonl", '{"id": "a", "input": "x", "criteria": "y"}\n\n{"id": "b", "input": "x", "criteria": 3}\n'
    )
    error = suites.refused("tests: cases.jsonl\n")
    assert error.message == "cases.jsonl:3:1: criteria: 3 is not text"


def test_patterns_of_files_stand_in_the_list(suites: Suites) -> None:
    for name in ("b", "a"):
        suites.write(f"cases/{name}.yaml", f"id: {name}\ninput: x\ncriteria: y\n")
    suite = suites.load("tests:\n  - file://cases/*.yaml\n  - {id: last, input: x, criteria: y}\n")
    assert [test.id for test in suite.tests] == ["a", "b", "last"]


def test_paths_in_a_file_of_tests_are_relative_to_it(suites: Suites) -> None:
    suites.write("cases/data.txt", "content")
    suites.write("cases/a.yaml", "- {id: a, input_files: [data.txt], input: read, criteria: y}\n")
    (message,) = suites.load("tests: cases/a.yaml\n").tests[0].input
    assert [part.text for part in message.parts] == ["content", "read"]


def test_pieces_of_an_expected_output_are_one_text(suites: Suites) -> None:
    suites.write("a.md", "from a file")
    pieces = "[{{role: assistant, content: [{{type: file, value: {name}}}]}}]"
    text = f"tests: [{{{{id: a, input: x, expected_output: {pieces}}}}}]\n"
    expected = suites.load(text.format(name="a.md")).tests[0].expected_output
    assert expected == [{"role": "assistant", "content": "from a file"}]
    assert "the file 'b.md' does not exist" in suites.refused(text.format(name="b.md")).message


@pytest.mark.parametrize("tests", ["./none.yaml", "[file://none/*.yaml]", "./readme.md"])
def test_a_file_of_tests_that_is_not_there_is_an_error(suites: Suites, tests: str) -> None:
    suites.write("readme.md", "")
    assert "s.eval.yaml:1:" in suites.refused(f"tests: {tests}\n").message


def test_a_file_of_json_lines_finds_the_suite_beside_it(suites: Suites) -> None:
    suites.write("d.jsonl", '{"id": "a", "input": "x", "criteria": "y"}\n')
    suites.write("d.eval.yaml", "name: sidecar\nexecution: {target: mock}\n")
    for name in ("d.jsonl", "d.eval.yaml"):
        (suite,) = load_suites([suites.folder / name])
        assert (suite.name, suite.execution.targets, len(suite.tests)) == ("sidecar", ("mock",), 1)


def test_json_lines_alone_are_a_suite(suites: Suites) -> None:
    suites.write("d.jsonl", '{"id": "a", "input": "x", "criteria": "y"}\n')
    (suite,) = load_suites([suites.folder / "d.jsonl"])
    assert (suite.name, [test.id for test in suite.tests]) == ("d", ["a"])


@pytest.mark.parametrize("name", ["x.eval.yaml", "evals.json"])
def test_a_pipe_among_suites_is_an_error_and_nobody_waits_for_it(suites: Suites, name: str) -> None:
    os.mkfifo(suites.folder / name)
    for word in (name, "."):
        done = suites.run("validate", word)
        assert done.returncode == 2
        assert f"{name}: is no regular file" in done.stderr


# -- input files, variables --------------------------------------------------------------------------------------------


def test_a_file_part_is_looked_for_upward_as_far_as_the_repository(suites: Suites) -> None:
    suites.write("project/.git/HEAD", "")
    suites.write("project/data.txt", "found")
    suites.write("outside.txt", "not for a suite in a project")
    text = "tests: [{{id: a, criteria: x, input: [{{role: user, content: [{{type: file, value: {name}}}]}}]}}]\n"
    for name in ("data.txt", "/data.txt"):
        assert suites.load(text.format(name=name), name="project/evals/s.eval.yaml").tests[0].prompt == "found"
    error = suites.refused(text.format(name="outside.txt"), name="project/evals/s.eval.yaml")
    assert "the file 'outside.txt' does not exist" in error.message


def test_what_can_be_no_name_of_a_file_is_none(suites: Suites) -> None:
    error = suites.refused(f"tests: [{{id: a, criteria: x, input_files: [{'x' * 300}], input: y}}]\n")
    assert "does not exist" in error.message


def test_variables_of_the_environment_are_filled_in_everywhere(suites: Suites) -> None:
    suites.write("w.yaml", "path: ${{ PLACE }}\n")
    text = "workspace: ./w.yaml\ntests: [{id: a, input: '${{ WORDS }}', criteria: '${{ GONE }}x'}]\n"
    suite = suites.load(text, environ={"PLACE": "/place", "WORDS": "do it"})
    assert (suite.tests[0].workspace.path, suite.tests[0].prompt) == ("/place", "do it")
    assert suite.unset == ("GONE",)


def test_an_unset_variable_is_a_warning(suites: Suites) -> None:
    suites.write("s.eval.yaml", "tests: [{id: a, input: 'x ${{ SURELY_NOT_SET }}', assert: [{type: is-json}]}]\n")
    ran = suites.run("validate", "s.eval.yaml")
    assert (ran.returncode, ran.stdout) == (0, "ok: s.eval.yaml: 1 test, workspace pooled\n")
    assert "SURELY_NOT_SET is not set" in ran.stderr


# -- which files are suites --------------------------------------------------------------------------------------------


def test_a_folder_gives_the_suites_in_it_and_nothing_else(suites: Suites) -> None:
    for name in ("b/x.EVAL.yaml", "a.yaml", ".hidden/h.eval.yaml", "node_modules/n.eval.yaml"):
        suites.write(name, TEST)
    suites.write("config.yaml", "a: 1\n")
    suites.write("cases.yaml", "- {id: a}\n")
    found = load_suites([suites.folder, suites.folder / "a.yaml"])
    assert [Path(suite.file).name for suite in found] == ["a.yaml", "x.EVAL.yaml"]


def test_a_broken_suite_in_a_folder_is_not_overlooked(suites: Suites) -> None:
    suites.write("good.eval.yaml", TEST)
    suites.write("old.yaml", "eval_cases: []\n")
    suites.write("broken.eval.yaml", "tests: [\n")
    with pytest.raises(SuiteInvalid) as caught:
        load_suites([suites.folder])
    text = "\n".join((caught.value.message, *caught.value.details))
    assert "old.yaml:1:1" in text
    assert "broken.eval.yaml:2:1" in text


@pytest.mark.parametrize("path", ["none.yaml", "empty", "notes.txt"])
def test_a_path_without_a_suite_is_an_error(suites: Suites, path: str) -> None:
    (suites.folder / "empty").mkdir()
    suites.write("notes.txt", "")
    with pytest.raises(SuiteInvalid):
        load_suites([suites.folder / path])
    assert suites.run("validate", path).returncode == 2


def test_a_pattern_that_no_shell_expanded_is_expanded(suites: Suites) -> None:
    suites.write("deep/er/x.eval.yaml", TEST)
    assert len(load_suites(["**/*.eval.yaml"])) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workspace: 3\n", "s.eval.yaml:1:1: workspace: 3 is not text"),
        ("workspace: [a]\n", "s.eval.yaml:1:1: workspace: a list is not text or a mapping"),
        ("tags: 3\n", "s.eval.yaml:1:1: tags: 3 is not text or a list"),
        ("execution: x\n", "s.eval.yaml:1:1: execution: 'x' is not a mapping"),
        ("assert: {type: is-json}\n", "s.eval.yaml:1:1: assert: a mapping is not a list"),
        ("assert: [3]\n", "s.eval.yaml:1:10: assert[0]: 3 is not text"),
        ("assert: [{type: 3}]\n", "s.eval.yaml:1:10: assert[0].type is missing"),
        ("input: true\n", "s.eval.yaml:1:1: input: true is not text"),
        ("description: ~\n", "s.eval.yaml:1:1: description: nothing is not text"),
    ],
)
def test_the_wrong_kind_of_value_is_said_in_words(suites: Suites, text: str, message: str) -> None:
    assert suites.refused(text + TEST).message == message
