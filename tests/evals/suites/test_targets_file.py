"""targets.yaml: which file counts, what its targets are, and what is refused by name."""

from __future__ import annotations

import pytest

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Placement
from sandlot.evals.targets_file import load_targets
from tests.evals.suites.conftest import TEST, Suites


def refused(suites: Suites, text: str) -> SuiteInvalid:
    suites.write(".sandlot/targets.yaml", text)
    with pytest.raises(SuiteInvalid) as caught:
        load_targets(suites.folder, environ={})
    return caught.value


def test_a_target_is_a_name_a_kind_and_the_kinds_own_fields(suites: Suites) -> None:
    suites.write(
        ".sandlot/targets.yaml",
        "targets:\n  - name: a\n    provider: cli\n    command: [x, '{PROMPT}']\n    placement: host\n"
        "    timeout_seconds: 9\n    judge_target: big\n    env: {KEY: '${{ KEY }}'}\n",
    )
    target = load_targets(suites.folder, environ={"KEY": "value"})["a"]
    assert (target.kind, target.placement, target.timeout_s) == ("cli", Placement.HOST, 9)
    assert target.config == {"command": ["x", "{PROMPT}"], "env": {"KEY": "value"}}
    assert (str(target.place), target.folder) == (".sandlot/targets.yaml:2:5", str(suites.folder / ".sandlot"))


def test_the_nearest_file_upward_counts_alone(suites: Suites) -> None:
    suites.write("a/.agentv/targets.yaml", "targets: [{name: near, provider: mock}]\n")
    (suites.folder / "a" / "b" / "c").mkdir(parents=True)
    assert list(load_targets(suites.folder / "a" / "b" / "c")) == ["near"]
    assert list(load_targets(suites.folder)) == ["mock"]
    suites.write("a/.sandlot/targets.yaml", "targets: [{name: ours, kind: mock}]\n")
    assert list(load_targets(suites.folder / "a")) == ["ours"]


@pytest.mark.parametrize(
    ("written", "kind"), [("claude", "claude-code"), ("copilot", "copilot-cli"), ("codex", "codex"), ("mock", "mock")]
)
def test_kinds_may_have_the_names_that_other_tools_give_them(suites: Suites, written: str, kind: str) -> None:
    suites.write(".sandlot/targets.yaml", f"targets: [{{name: a, provider: {written}}}]\n")
    assert load_targets(suites.folder)["a"].kind == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("targets: [{name: a, kind: mock, workspace_template: x}]\n", "workspace_template is not a field"),
        ("targets: [{name: a, kind: mock, hooks: {}}]\n", "hooks is not a field"),
        ("targets: [{name: a}]\n", "the kind of the target 'a' is missing"),
        ("targets: [{kind: mock}]\n", "targets[0].name is missing"),
        ("targets: [{name: a, kind: mock}, {name: a, kind: mock}]\n", "the target 'a' is there twice"),
        ("targets: [{name: a, kind: mock, placement: laptop}]\n", "placement"),
        ("targets: [{name: a, kind: mock, timeout_s: 0}]\n", "timeout_s"),
        ("targets: [a]\n", "targets[0] is not a mapping"),
        ("targets: {}\n", "a targets file is a mapping with a list"),
        ("targets: []\ntarget: x\n", "unknown field target"),
        ("", "a targets file is a mapping with a list"),
    ],
)
def test_a_targets_file_that_is_wrong_is_an_error_with_its_place(suites: Suites, text: str, message: str) -> None:
    error = refused(suites, text)
    assert message in error.message
    assert error.message.startswith(".sandlot/targets.yaml")


def test_validate_and_run_refuse_the_same_about_targets(suites: Suites) -> None:
    for name, message in (("mokc", "no target 'mokc'"), ("llama", "no target 'llama'")):
        assert message in suites.both_refuse(f"target: {name}\n{TEST}")
    suites.write(".sandlot/targets.yaml", "targets: [{name: mock, kind: mock, respnse: x}]\n")
    assert "unknown field 'respnse'" in suites.both_refuse(TEST)
    suites.write(".sandlot/targets.yaml", "targets: [{name: mock, kind: mokc}]\n")
    assert "unknown kind 'mokc'" in suites.both_refuse(TEST)
    (suites.folder / ".sandlot/targets.yaml").unlink()
    assert "there is no target" in suites.both_refuse(TEST)


def test_a_target_that_is_not_used_may_lack_what_it_needs(suites: Suites) -> None:
    suites.write(
        ".sandlot/targets.yaml",
        "targets: [{name: theirs, provider: pi-cli, tools: x}, "
        "{name: mock, kind: mock}, {name: big, kind: llm, model: '${{ NO_MODEL }}'}]\n",
    )
    suites.write("s.eval.yaml", f"target: mock\n{TEST}")
    assert suites.run("validate", "s.eval.yaml").returncode == 0
