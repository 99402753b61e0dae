"""Suites of the AgentV 2.18 shape: all they can say is taken in its plain meaning, or refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from sandlot.evals.cases import HookName, ResetKind
from tests.evals.suites.conftest import TEST, Suites

WHOLE = """
    name: whole
    description: all parts at once
    version: "1.0"
    author: someone
    license: MIT
    tags: [a, b]
    requires: {agentv: ">=2.10"}
    input: [{role: system, content: Be brief.}]
    execution:
      target: mock
      trials: {count: 2, strategy: confidence_interval}
      total_budget_usd: 3
      cache: false
    workspace:
      mode: pooled
      template: ./template
      repos:
        - path: ./app
          source: {type: git, url: "file:///srv/app.git"}
          checkout: {ref: main, resolve: remote, ancestor: 2}
          clone: {depth: 3, filter: "blob:none", sparse: [src]}
        - {path: ./lib, source: {type: local, path: ./template}}
      hooks:
        enabled: true
        before_all: {script: [sh, ./setup.sh, "{{workspace_path}}"], timeout_ms: 120000, cwd: ./hooks}
        after_each: {reset: strict}
    assert: [{type: llm_judge, prompt: ok?, name: judge}]
    tests:
      - id: one
        criteria: works
        input:
          - role: user
            content: [{type: text, value: "Fix ${{ WHAT }}"}, {type: file, value: ./notes.md}]
        expected_output: [{role: assistant, content: done, tool_calls: [{tool: edit, input: {a: 1}}]}]
        metadata: {level: 3}
        conversation_id: c1
        rubrics: [short, {id: r, outcome: polite, weight: 2, required: true}]
        workspace: {hooks: {before_all: {timeout_ms: 5}}}
      - id: two
        input: {question: 1}
        expected_output: {answer: 2}
        execution: {skip_defaults: true, evaluators: [{type: field_accuracy, fields: [{path: answer, match: exact}]}]}
"""


def test_a_whole_suite_keeps_its_meaning(suites: Suites) -> None:
    suites.write("template/x", "")
    suites.write("hooks/x", "")
    suites.write("notes.md", "notes")
    suite = suites.load(WHOLE, environ={"WHAT": "it"})
    one, two = suite.tests
    assert (suite.execution.trials, suite.execution.budget_usd) == (2, 3)
    assert [each.text for each in one.input] == ["Be brief.", "Fix it\nnotes"]
    assert [(each.name, each.type) for each in one.graders] == [("llm-grader", "llm-grader"), ("judge", "llm-grader")]
    assert one.graders[0].config["rubrics"] == [
        {"outcome": "short"}, {"id": "r", "outcome": "polite", "weight": 2.0, "required": True}
    ]  # fmt: skip
    assert one.metadata == {"level": 3, "conversation_id": "c1"}
    assert [(each.type, len(two.input)) for each in two.graders] == [("field-accuracy", 1)]
    app, lib = two.workspace.repos
    assert (app.path, app.ref, app.ancestor, app.clone.depth, lib.local) == ("app", "main", 2, 3, True)
    hooks = two.workspace.hooks
    assert hooks[HookName.BEFORE_ALL].command == ("sh", "./setup.sh", "{{workspace_path}}")
    assert hooks[HookName.BEFORE_ALL].cwd == f"{suites.folder}/hooks"
    assert (hooks[HookName.BEFORE_ALL].timeout_s, hooks[HookName.AFTER_EACH].reset) == (120, ResetKind.STRICT)
    assert one.workspace.hooks[HookName.BEFORE_ALL].timeout_s == 0.005  # merged field by field
    assert one.workspace.hooks[HookName.BEFORE_ALL].command == hooks[HookName.BEFORE_ALL].command


TAKEN: list[tuple[str, dict[str, Any]]] = [
    ("{isolation: per_test}", {"mode": "pooled"}),
    ("{mode: temp}", {"mode": "temp"}),
    ("{path: '${{ NOT_SET }}'}", {"mode": "pooled"}),  # as with a variable that is set to nothing
    ("{hooks: {enabled: false, before_all: {command: [nothing]}}}", {"hooks_enabled": False}),
    ("./shared.yaml", {"mode": "temp"}),
]


@pytest.mark.parametrize(("written", "wanted"), TAKEN)
def test_a_workspace_is_taken_in_its_plain_meaning(suites: Suites, written: str, wanted: dict[str, Any]) -> None:
    suites.write("shared.yaml", "mode: temp\n")
    plan = suites.plan(written)
    assert {name: getattr(plan, name) for name in wanted} == wanted


GRADERS = [
    "contains, value: x", "contains-any, value: [a]", "contains_all, value: [a]", "icontains, value: a",
    "icontains-any, value: [a]", "icontains-all, value: [a]", "starts-with, value: a", "ends-with, value: a",
    "regex, value: a, flags: i", "is-json", "equals, value: a", "code-judge, command: [a], cwd: .",
    "code_judge, script: [a]",
    "llm-judge, prompt: ok?", "llm-judge, rubrics: [{id: a, score_ranges: [{score_range: [0, 10], outcome: x}]}]",
    "rubrics, criteria: [{id: a, outcome: x, required_min_score: 7}]",
    "composite, assert: [{name: a, type: is-json}], aggregator: {type: weighted_average, weights: {a: 2}}",
    "composite, evaluators: [{type: is-json}], aggregator: {type: threshold, threshold: 0.5}",
    *(f"tool-trajectory, mode: {mode}, expected: [{{tool: a, args: any}}]"
      for mode in ("in_order", "exact", "subset", "superset")),
    "tool-trajectory, mode: any_order, minimums: {a: 1}", "latency, threshold: 5", "cost, budget: 5",
    "field-accuracy, fields: [{path: a, match: numeric_tolerance, tolerance: 1}], aggregation: all_or_nothing",
    "field-accuracy, fields: [{path: a, match: date}], aggregation: weighted_average",
    "token-usage, max_total: 5, max_input: 4, max_output: 3",
    "execution-metrics, max_tool_calls: 1, max_llm_calls: 1, max_tokens: 1, max_cost_usd: 1, max_duration_ms: 1,"
    " target_exploration_ratio: 0.5, exploration_tolerance: 0.1",
]  # fmt: skip


@pytest.mark.parametrize("written", GRADERS)
def test_every_grader_there_is_is_taken_with_its_common_fields(suites: Suites, written: str) -> None:
    common = "name: n, weight: 2, required: true, negate: true"
    (grader,) = suites.load(f"tests: [{{id: a, input: x, assert: [{{type: {written}, {common}}}]}}]\n").tests[0].graders
    assert (grader.name, grader.weight, grader.required, grader.negate) == ("n", 2, 0.8, True)


REFUSED = [
    ("workspace: {template: ./a.code-workspace}", "name the folder it describes"),
    ("workspace: {isolation: shared}", "a folder with mode: static is what tests can share"),
    ("workspace: {mode: ephemeral}", "'ephemeral' is not one of pooled, temp or static"),
    ("workspace: {mode: static, path: '${{ NOT_SET }}'}", "static needs workspace.path"),
    ("workspace: {repos: [{path: r}]}", "source is missing"),
    ("workspace: {repos: [{path: ../../../escape, source: {type: git, url: 'https://e.org/x'}}]}", "does not stay"),
    ("workspace: {hooks: {before_all: {command: [true]}}}", "true is not text"),
    ("workspace: {hooks: {before_all: {command: [a], timeoutMs: 5}}}", "did you mean 'timeout_ms'?"),
    ("workspace: {hooks: {before_all_tests: {command: [a]}}}", "write before_all"),
    ("workspace: {hooks: {on_finish: {command: [a]}}}", "write after_all"),
    ("workspace: {hooks: {after_all: {command: [a], clean: always}}}", "unknown field workspace.hooks.after_all.clean"),
    ("workspace: {env: {required_commands: [git]}}", "in a before_all hook"),
    ("workspace: ./none.yaml", "does not exist"),
    ("workspace_template: ./x", "write workspace: {template: ...}"),
    ("execution: {cache: true}", "an answer of another run is no trial"),
    ("execution: {cache_path: x}", "an answer of another run is no trial"),
    ("execution: {fail_on_error: true}", "execution.fail_on_error: true is not false (write fail_fast: true)"),
    ("execution: {fail_on_error: 0.3}", "write fail_fast: true"),
    ("execution: {trials: {count: 2, cost_limit_usd: 1}}", "write execution.budget_usd"),
    ("execution: {pool_slots: 3}", "trials never wait for a slot"),
    ("assert: [{type: agent-judge, max_steps: 4}]", "write a code-grader or an llm-grader"),
    ("assert: [{type: code-judge, command: [a], target: {max_calls: 3}}]", "programs get no model"),
    ("assert: [{type: composite, assert: [{type: is-json}], aggregator: {type: code-judge}}]", "no model"),
    ("assert: [{type: my-own-assertion}]", "there is no grader of type 'my-own-assertion'"),
    ("evalcases: []", "write tests"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "reason"), REFUSED)
def test_what_is_not_run_is_refused_with_place_and_reason(suites: Suites, written: str, reason: str) -> None:
    suites.write("a.code-workspace", "{}")
    error = suites.refused(f"{TEST}{written}\n")
    whole = "\n".join((f"{error.message} ({error.hint})", *error.details))
    assert reason in whole
    assert whole.startswith("s.eval.yaml:")
