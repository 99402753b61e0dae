"""What `eval validate` refuses is exactly what `eval run` refuses, in the same words, and nothing is run then."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.evals.suites.conftest import TARGETS, TEST, Suites
from tests.evals.suites.test_any_suite import BASE, SPOTS, VALUES

ONE = "tests: [{id: a, input: x, %s}]\n"
BAD = [
    "", "- a\n", "tests: [\n", "name: x\n", "tests: []\n", "tests: 3\n", "tests: none.jsonl\n", "a: b\na: c\n",
    "\tx: 1\n",
    "name: 3\n" + TEST, "nmae: x\n" + TEST, "tests: [{id: a}]\n", "!!python/object:os.system {}\n",
    *(f"workspace: {each}\n{TEST}" for each in (
        "3", "[]", "./none.yaml", "{mode: static}", "{mode: bogus}", "{mode: temp, path: x}", "{mode: [temp]}",
        "{mode: Temp}", "{path: 3}", "{path: ./s.eval.yaml}", "{static: true}", "{static_path: x}", "{pool: true}",
        "{template: ./none}", "{template: ./s.eval.yaml}", "{templat: .}", "{docker: {image: x}}", "{repos: {}}",
        "{repos: [x]}", "{repos: [{path: x}]}", "{repos: [{path: ../x, source: {type: git, url: 'https://e.org/x'}}]}",
        "{repos: [{path: x, source: {type: git, url: 'ext::x'}}]}",
        "{repos: [{path: x, source: {type: local, path: ./no}}]}",
        "{hooks: {before_all: {}}}", "{hooks: {before: {command: x}}}", "{hooks: {before_all: {command: [true]}}}",
        "{hooks: {after_all: {command: x, cwd: ..}}}", "{hooks: {enabled: maybe}}", "{isolation: shared}",
    )),
    *(f"execution: {each}\n{TEST}" for each in (
        "{target: nobody}", "{workers: 0}", "{trials: 0}", "{threshold: 2}", "{cache: true}", "{keep_workspaces: true}",
        "{pool_workspaces: true}", "{workspace_mode: temp}", "{fail_on_error: true}", "{target: a, targets: [b]}",
    )),
    *(ONE % each for each in (
        "assert: [{type: nothing}]", "assert: [{type: contains}]", "assert: [{type: regex, value: '('}]", "turns: []",
        "assert: [{type: is-json}], depends_on: b", "criteria: x, workspace: {pool: 1}",
        "criteria: x, mode: conversation",
        "assert: [{type: agent-judge}]", "input_files: [none.txt], criteria: x",
    )),
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_a_bad_suite_is_refused_by_both_in_the_same_words(suites: Suites, text: str) -> None:
    assert suites.both_refuse(text).startswith("error: ")
    assert suites.workspaces() == []


@pytest.mark.parametrize(
    "targets",
    [
        "- x\n", "targets: [{name: mock}]\n", "targets: [{name: mock, kind: nothing}]\n", "targets: [{kind: mock}]\n",
        TARGETS.replace("response", "respnse"), TARGETS.replace("response: hello", "workspace_template: ./x"),
        TARGETS * 2, "targets: [{name: mock, kind: cli}]\n",
        "targets: [{name: mock, kind: cli, command: x, cwd: ..}]\n",
        "targets: [{name: mock, kind: codex, binary: ./none}]\n", "targets: [{name: mock, provider: azure}]\n",
    ],
)  # fmt: skip
def test_bad_targets_are_refused_by_both(suites: Suites, targets: str) -> None:
    suites.write(".sandlot/targets.yaml", targets)
    assert suites.both_refuse(TEST).startswith("error: ")


@pytest.mark.parametrize("folder", [".", ".."])
def test_a_static_folder_that_the_run_would_be_kept_in_is_refused_by_both(suites: Suites, folder: str) -> None:
    """A target could write the results of trials that are still to come."""
    error = suites.both_refuse(f"workspace: {{path: {folder}}}\n{TEST}")
    assert "lies in the static workspace" in error
    for more in ("--dry-run", "--explain"):
        assert suites.run("run", "s.eval.yaml", more).returncode == 2


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SPOTS), VALUES)
def test_whatever_stands_in_a_suite_both_think_the_same_of_it(
    suites: Suites, spot: tuple[Any, ...], value: Any
) -> None:
    suite = copy.deepcopy(BASE)
    inner: Any = suite
    for key in spot[:-1]:
        inner = inner[key]
    inner[spot[-1]] = value
    suites.write("numbers.txt", "1\n")
    suites.write("s.eval.yaml", json.dumps(suite))
    suites.write(".sandlot/targets.yaml", TARGETS.replace("]", ", {name: other, kind: mock, response: x}]"))
    validated = suites.run("validate", "s.eval.yaml")
    planned = suites.run("run", "s.eval.yaml", "--dry-run")
    assert validated.returncode == planned.returncode, (validated, planned)
    assert validated.returncode in (0, 2)
    if validated.returncode:
        assert validated.stderr == planned.stderr
