"""Which mode and folder a trial gets: every rule, in YAML and by the real command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandlot.errors import UsageError
from sandlot.evals.cases import WorkspaceMode
from sandlot.evals.load import load_suites
from sandlot.evals.resolve import WorkspaceOptions
from tests.evals.suites.conftest import TEST, Suites


def test_nothing_said_means_pooled(suites: Suites) -> None:
    plan = suites.load(TEST).tests[0].workspace
    assert (plan.mode, plan.path, plan.provenance) == (WorkspaceMode.POOLED, None, {"mode": "default"})
    assert suites.explained(TEST) == {"mode": ("pooled", "default")}


@pytest.mark.parametrize("mode", ["pooled", "temp"])
def test_a_mode_is_taken_as_it_is_written(suites: Suites, mode: str) -> None:
    text = f"workspace:\n  mode: {mode}\n{TEST}"
    assert suites.load(text).tests[0].workspace.mode == mode
    assert suites.explained(text) == {"mode": (mode, "s.eval.yaml:2:3")}


def test_a_path_without_a_mode_means_static(suites: Suites) -> None:
    text = f"workspace:\n  path: {suites.folder}/work\n{TEST}"
    assert suites.explained(text) == {
        "mode": ("static", "s.eval.yaml:2:3 (a path means static)"),
        "path": (f"{suites.folder}/work", "s.eval.yaml:2:3"),
    }


def test_static_with_a_path_is_static(suites: Suites) -> None:
    plan = suites.plan(f"{{mode: static, path: {suites.folder}}}")
    assert (plan.mode, plan.path) == (WorkspaceMode.STATIC, str(suites.folder))


@pytest.mark.parametrize("empty", ["''", "'  '", "${{ NOT_SET_ANYWHERE }}"])
def test_an_empty_path_says_nothing(suites: Suites, empty: str) -> None:
    assert suites.plan(f"{{path: {empty if empty[0] == chr(39) else repr(empty)}}}").mode is WorkspaceMode.POOLED


def test_a_relative_path_is_relative_to_the_file_that_says_it(suites: Suites) -> None:
    plan = suites.load(f"workspace: {{path: ../work}}\n{TEST}", name="deep/s.eval.yaml").tests[0].workspace
    assert plan.path == str(suites.folder / "work")


@pytest.mark.parametrize("path", ["", "  path: ''\n"])
def test_static_needs_a_path(suites: Suites, path: str) -> None:
    text = f"workspace:\n  mode: static\n{path}{TEST}"
    error = suites.both_refuse(text)
    assert "s.eval.yaml:2:3: workspace.mode: static needs workspace.path" in error


@pytest.mark.parametrize("mode", ["temp", "pooled"])
def test_a_path_needs_static(suites: Suites, mode: str) -> None:
    error = suites.both_refuse(f"workspace:\n  mode: {mode}\n  path: /somewhere\n{TEST}")
    assert f"s.eval.yaml:3:3: workspace.path needs workspace.mode: static, not {mode}" in error


def test_a_path_with_another_mode_is_wrong_even_if_the_command_line_outranks_it(suites: Suites) -> None:
    error = suites.refused(f"workspace: {{mode: temp, path: /x}}\n{TEST}", path=str(suites.folder))
    assert "needs workspace.mode: static" in error.message


def test_a_mode_that_does_not_exist_is_an_error_with_its_place(suites: Suites) -> None:
    error = suites.both_refuse(f"workspace:\n  mode: pool\n{TEST}")
    assert "s.eval.yaml:2:3: workspace.mode: 'pool' is not one of pooled, temp or static" in error
    assert "did you mean 'pooled'?" in error


def test_a_path_that_is_a_file_is_an_error(suites: Suites) -> None:
    suites.write("file", "")
    assert "is not a folder" in suites.both_refuse(f"workspace: {{path: ./file}}\n{TEST}")


# -- the command line ------------------------------------------------------------------------------------------------


def test_the_workspace_path_option_means_static(suites: Suites) -> None:
    assert suites.explained(f"workspace: {{mode: temp}}\n{TEST}", "--workspace-path", "here") == {
        "mode": ("static", "--workspace-path (means static)"),
        "path": (f"{suites.folder}/here", "--workspace-path"),
    }


def test_the_workspace_path_option_goes_with_static(suites: Suites) -> None:
    found = suites.explained(TEST, "--workspace-path", "/x", "--workspace-mode", "static")
    assert found == {"mode": ("static", "--workspace-mode"), "path": ("/x", "--workspace-path")}


@pytest.mark.parametrize("mode", ["temp", "pooled"])
def test_the_workspace_path_option_refuses_every_other_mode(suites: Suites, mode: str) -> None:
    error = suites.both_refuse(TEST, "--workspace-path", "/x", "--workspace-mode", mode)
    assert f"--workspace-path needs --workspace-mode static, not {mode}" in error


def test_an_empty_workspace_path_option_is_an_error(suites: Suites) -> None:
    assert "--workspace-path is empty" in suites.both_refuse(TEST, "--workspace-path", "")


def test_a_workspace_path_option_that_is_a_file_is_an_error(suites: Suites) -> None:
    assert "is not a folder" in suites.both_refuse(TEST, "--workspace-path", "s.eval.yaml")


def test_the_static_option_needs_a_folder_from_somewhere(suites: Suites) -> None:
    assert "--workspace-mode static needs a folder" in suites.both_refuse(TEST, "--workspace-mode", "static")
    text = f"workspace: {{path: ./own}}\n{TEST}"
    assert suites.explained(text, "--workspace-mode", "static")["path"] == (f"{suites.folder}/own", "s.eval.yaml:1:13")


def test_a_mode_option_that_does_not_exist_is_an_error(suites: Suites) -> None:
    suites.write("s.eval.yaml", TEST)
    for command in (("validate",), ("run", "--dry-run")):
        ran = suites.run(command[0], "s.eval.yaml", *command[1:], "--workspace-mode", "bogus")
        assert ran.returncode == 2
        assert "bogus" in ran.stderr
    with pytest.raises(UsageError, match=r"is not one of"):
        WorkspaceOptions("polled")


def test_the_mode_option_outranks_the_suite(suites: Suites) -> None:
    text = f"workspace: {{mode: pooled}}\n{TEST}"
    assert suites.explained(text, "--workspace-mode", "temp") == {"mode": ("temp", "--workspace-mode")}


def test_the_mode_option_outranks_a_static_suite_and_leaves_its_folder_alone(suites: Suites) -> None:
    plan = suites.plan("{mode: static, path: /mine}", mode="temp")
    assert (plan.mode, plan.path) == (WorkspaceMode.TEMP, None)
    assert plan.provenance["path"] == "none: --workspace-mode temp outranks s.eval.yaml:1:27"


def test_the_mode_option_rescues_a_static_suite_without_a_path(suites: Suites) -> None:
    assert suites.plan("{mode: static}", mode="pooled").mode is WorkspaceMode.POOLED
    assert suites.plan("{mode: static}", path="/x").path == "/x"


def test_the_path_option_outranks_the_path_of_the_suite(suites: Suites) -> None:
    plan = suites.plan("{path: /theirs}", path="/mine")
    assert (plan.path, plan.provenance["path"]) == ("/mine", "--workspace-path")


GONE = (
    "--keep-workspaces",
    "--cleanup-workspaces",
    "--retain-on-success",
    "--retain-on-failure",
    "--pool-workspaces",
    "--no-pool",
)


@pytest.mark.parametrize("option", GONE)
def test_options_that_are_gone_are_refused_and_the_answer_says_what_there_is(suites: Suites, option: str) -> None:
    ran = suites.run("run", "s.eval.yaml", option)
    assert ran.returncode == 2
    assert f"there is no option {option}" in ran.stderr
    assert "--workspace-mode pooled|temp|static" in ran.stderr


# -- one plan per test -----------------------------------------------------------------------------------------------

TWO = """
    workspace:
      path: {suite}
      hooks:
        before_each: {{command: [suite], timeout_ms: 1000}}
    tests:
      - id: one
        input: x
        criteria: x
        workspace: {one}
      - id: two
        input: x
        criteria: x
"""


def test_a_test_changes_its_own_workspace_and_no_other(suites: Suites) -> None:
    one, two = suites.load(TWO.format(suite="/suite", one="{mode: temp}")).tests
    assert (one.workspace.mode, one.workspace.path) == (WorkspaceMode.TEMP, None)
    assert one.workspace.provenance["mode"] == "s.eval.yaml:10:17"
    assert (two.workspace.mode, two.workspace.path) == (WorkspaceMode.STATIC, "/suite")


def test_the_order_and_number_of_tests_change_nothing(suites: Suites) -> None:
    lines = TWO.format(suite="/suite", one="{mode: temp}")
    swapped = lines.replace("id: one", "id: swap").replace("id: two", "id: one").replace("id: swap", "id: two")
    assert [test.workspace.mode for test in suites.load(swapped).tests] == ["temp", "static"]


def test_hooks_of_a_test_are_merged_field_by_field(suites: Suites) -> None:
    one, two = suites.load(TWO.format(suite="/suite", one="{hooks: {before_each: {timeout_ms: 5}}}")).tests
    (mine,), (theirs,) = one.workspace.hooks.values(), two.workspace.hooks.values()
    assert (mine.command, mine.timeout_s) == (("suite",), 0.005)
    assert (theirs.command, theirs.timeout_s) == (("suite",), 1.0)


def test_a_test_may_name_another_folder(suites: Suites) -> None:
    one, two = suites.load(TWO.format(suite="/suite", one="{path: /own}")).tests
    assert (one.workspace.path, two.workspace.path) == ("/own", "/suite")


def test_the_command_line_outranks_a_test_too(suites: Suites) -> None:
    text = TWO.format(suite="/suite", one="{mode: temp}")
    assert {test.workspace.path for test in suites.load(text, path="/mine").tests} == {"/mine"}
    assert {test.workspace.mode.value for test in suites.load(text, mode="pooled").tests} == {"pooled"}


def test_a_mistake_in_a_tests_workspace_has_its_own_place(suites: Suites) -> None:
    error = suites.both_refuse(TWO.format(suite="/suite", one="{mode: temp, path: /x}"))
    assert "s.eval.yaml:10:29: workspace.path needs workspace.mode: static" in error


# -- names that are gone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ("static: true", "write mode: static, with path"),
        ("static_path: /x", "write mode: static, with path"),
        ("pool: false", "write mode: pooled, or mode: temp"),
    ],
)
def test_fields_that_are_gone_are_refused_by_name(suites: Suites, field: str, instead: str) -> None:
    error = suites.both_refuse(f"workspace:\n  {field}\n{TEST}")
    assert f"s.eval.yaml:2:3: workspace.{field.partition(':')[0]} is not a field" in error
    assert instead in error


def test_a_targets_workspace_template_is_refused_by_name(suites: Suites) -> None:
    suites.write(".sandlot/targets.yaml", "targets:\n  - name: mock\n    kind: mock\n    workspace_template: ./x\n")
    error = suites.both_refuse(TEST)
    assert "targets.yaml:4:5: workspace_template is not a field of the target 'mock'" in error
    assert "write workspace: {template: ...} in the suite" in error


@pytest.mark.parametrize("field", ["templat", "modes", "paths", "repo", "retain", "keep"])
def test_unknown_fields_are_errors_with_their_place(suites: Suites, field: str) -> None:
    error = suites.refused(f"workspace:\n  mode: temp\n  {field}: x\n{TEST}")
    assert error.message == f"s.eval.yaml:3:3: unknown field workspace.{field}"
    assert error.hint


def test_a_misspelt_field_is_recognised(suites: Suites) -> None:
    assert "did you mean 'template'?" in suites.both_refuse(f"workspace: {{templat: x}}\n{TEST}")


def test_sharing_one_workspace_among_tests_is_refused_and_its_opposite_changes_nothing(suites: Suites) -> None:
    assert suites.plan("{isolation: per_test}").mode is WorkspaceMode.POOLED
    assert "isolation" in suites.refused(f"workspace: {{isolation: shared}}\n{TEST}").message


# -- a workspace in a file of its own ----------------------------------------------------------------------------------


def test_a_workspace_file_says_the_same_and_its_paths_are_relative_to_it(suites: Suites) -> None:
    (suites.folder / "shared" / "template").mkdir(parents=True)
    suites.write("shared/w.yaml", "mode: temp\ntemplate: ./template\nhooks:\n  before_all: {command: [./go.sh]}\n")
    plan = suites.load(f"workspace: ../shared/w.yaml\n{TEST}", name="evals/s.eval.yaml").tests[0].workspace
    (hook,) = plan.hooks.values()
    assert plan.template == str(suites.folder / "shared" / "template")
    assert hook.folder == hook.cwd == str(suites.folder / "shared")
    assert plan.provenance["mode"] == "shared/w.yaml:1:1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "s.eval.yaml:1:1: the workspace file './w.yaml' does not exist"),
        ("mode: bogus\n", "w.yaml:1:1: mode: 'bogus' is not one of"),
        ("- a\n", "w.yaml:1:1: the file: a list is not a mapping"),
        ("workspace: {mode: temp}\n", "w.yaml:1:1: a workspace file holds the workspace itself"),
        ("mode: [\n", "no valid YAML"),
        ("pool: true\n", "w.yaml:1:1: pool is not a field"),
    ],
)
def test_mistakes_in_a_workspace_file_are_errors(suites: Suites, content: str | None, message: str) -> None:
    if content is not None:
        suites.write("w.yaml", content)
    assert message in suites.refused(f"workspace: ./w.yaml\n{TEST}").message


def test_a_test_may_take_its_workspace_from_a_file(suites: Suites) -> None:
    suites.write("w.yaml", "mode: temp\n")
    one, two = suites.load(TWO.format(suite="/suite", one="./w.yaml")).tests
    assert (one.workspace.mode, two.workspace.mode) == (WorkspaceMode.TEMP, WorkspaceMode.STATIC)


def test_all_mistakes_of_all_suites_are_said_at_once(suites: Suites) -> None:
    suites.write("a.eval.yaml", f"workspace: {{mode: bogus, pool: 1}}\n{TEST}")
    suites.write("b.eval.yaml", f"nmae: x\n{TEST}")
    with pytest.raises(UsageError) as caught:
        load_suites([Path()])
    text = "\n".join((caught.value.message, *caught.value.details))
    assert all(part in text for part in ("a.eval.yaml:1:13", "a.eval.yaml:1:26", "b.eval.yaml:1:1"))
