"""Hooks: order, context, failures, time limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandlot.errors import HookFailed, UsageError
from sandlot.evals.cases import HookName, WorkspaceMode, WorkspacePlan
from sandlot.evals.hooks import HookContext, run_hook
from sandlot.evals.prepare import Preparation
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.cancellation import Cancellation
from tests.evals.places import CASE, hook, hooks, nth

BEFORE_ALL, BEFORE_EACH, AFTER_EACH, AFTER_ALL = HookName

CONTEXT = HookContext.of_test("run-7", CASE)


def test_a_hook_is_told_its_context_by_standard_input_placeholders_and_variables(
    workspace: Workspace, tmp_path: Path
) -> None:
    command = ["/bin/sh", "-c", 'cat; env | grep ^SANDLOT_ | LC_ALL=C sort; printf "%s\n" "$@"', "sh",
               "{{test_id}}/{{ eval_run_id }}", "{{unknown}}", "{{case_metadata}}", "{{workspace_path}}"]  # fmt: skip
    report = run_hook(hook(BEFORE_EACH, command, tmp_path), CONTEXT, workspace)
    said, *lines = report.output.splitlines()
    assert json.loads(said) == {
        "workspace_path": "/workspace", "test_id": "fix-it", "eval_run_id": "run-7", "case_input": "fix it",
        "case_metadata": {"level": 3},
    }  # fmt: skip
    assert [line for line in lines if "HOOK_FOLDER" not in line] == [
        "SANDLOT_CASE_INPUT=fix it", 'SANDLOT_CASE_METADATA={"level": 3}', "SANDLOT_EVAL_RUN_ID=run-7",
        "SANDLOT_TEST_ID=fix-it", "SANDLOT_WORKSPACE_PATH=/workspace",
        "fix-it/run-7", "{{unknown}}", '{"level": 3}', "/workspace",
    ]  # fmt: skip
    suite = HookContext.of_suite("run-7", BEFORE_ALL)
    assert suite.fields() | {"x": 1} == {
        "workspace_path": "/workspace", "test_id": "__before_all__", "eval_run_id": "run-7", "case_input": None,
        "case_metadata": None, "x": 1,
    }  # fmt: skip
    assert suite.texts()["case_metadata"] == ""


def test_a_hook_sees_its_folder_read_only_and_the_target_does_not(sandlot: Sandlot, tmp_path: Path) -> None:
    (tmp_path / "hooks/lib").mkdir(parents=True)
    (tmp_path / "hooks/lib/say.sh").write_text("echo said by lib\n")
    (tmp_path / "hooks/answer.txt").write_text("hidden\n")
    command = "pwd | cut -c1-18; . ./say.sh; cat ../answer.txt; echo x > ../answer.txt; rm -f say.sh; ls"
    wanted = hooks(hook(BEFORE_EACH, command, tmp_path / "hooks", cwd=tmp_path / "hooks/lib"))
    with (
        Preparation(sandlot, WorkspacePlan(WorkspaceMode.TEMP, hooks=wanted), "run") as preparation,
        preparation.trial(CASE, nth()) as place,
    ):
        assert place.hook_output["before_each"].splitlines()[:3] == ["/tmp/sandlot-hook-", "said by lib", "hidden"]
        assert "say.sh\n" in place.hook_output["before_each"]
        assert (tmp_path / "hooks/answer.txt").read_text() == "hidden\n"
        assert place.workspace.exec("grep -rs hidden / --include=answer.txt; ls -A /tmp").stdout.text == ""


def test_hooks_run_in_their_order_and_what_before_each_did_is_not_the_targets_change(
    sandlot: Sandlot, tmp_path: Path
) -> None:
    made = [hook(name, f"echo {name.value} >> /workspace/order; cat /workspace/order", tmp_path) for name in HookName]
    with Preparation(sandlot, WorkspacePlan(WorkspaceMode.POOLED, hooks=hooks(*made)), "run") as preparation:
        for number in (1, 2):
            with preparation.trial(CASE, nth(number)) as place:
                place.workspace.exec("echo target > made; ls /tmp")
                assert [change.path for change in place.capture().files] == ["made"]
                with place.grading() as grading:
                    assert grading.exec("cat order made").stdout.text.split() == ["before_all", "before_each", "target"]
            assert place.hook_output["after_each"].split() == ["before_all", "before_each", "after_each"]
    assert preparation.hook_output["after_all"].split() == ["before_all", "after_all"]
    assert preparation.warnings == []


def test_a_failing_before_hook_raises_and_the_after_hooks_run_all_the_same(sandlot: Sandlot, tmp_path: Path) -> None:
    each = hooks(
        hook(BEFORE_EACH, "echo no database >&2; exit 3", tmp_path), hook(AFTER_EACH, "echo cleaned", tmp_path)
    )
    with Preparation(sandlot, WorkspacePlan(WorkspaceMode.TEMP, hooks=each), "run") as preparation:
        failed = pytest.raises(HookFailed, match=r"suite.eval.yaml:3:5: before_each exited with 3")
        with failed as caught, preparation.trial(CASE, nth()):
            raise AssertionError("the target must not run")
        assert caught.value.details == ("no database",)
    every = hooks(hook(BEFORE_ALL, "exit 4", tmp_path), hook(AFTER_ALL, "echo cleaned", tmp_path))
    failing = Preparation(sandlot, WorkspacePlan(WorkspaceMode.POOLED, hooks=every), "run")
    with pytest.raises(HookFailed, match="before_all exited with 4"):
        failing.__enter__()
    assert failing.hook_output["after_all"] == "cleaned\n"
    assert sandlot.list() == []  # and so the next run prepares anew


def test_a_failing_after_hook_is_a_warning(sandlot: Sandlot, tmp_path: Path) -> None:
    made = hooks(hook(AFTER_EACH, "exit 5", tmp_path), hook(AFTER_ALL, ["/no/such/program"], tmp_path))
    with Preparation(sandlot, WorkspacePlan(WorkspaceMode.TEMP, hooks=made), "run") as preparation:
        with preparation.trial(CASE, nth()) as place:
            pass
        assert place.warnings == ["suite.eval.yaml:3:5: after_each exited with 5"]
    assert len(preparation.warnings) == 1
    assert "after_all" in preparation.warnings[0]


@pytest.mark.parametrize("host", [False, True])
def test_a_hooks_time_is_up_for_all_that_it_started(workspace: Workspace, tmp_path: Path, host: bool) -> None:
    command = "echo begun; sleep 300 & sleep 300"
    report = run_hook(hook(BEFORE_EACH, command, tmp_path, timeout_s=0.5, host=host), CONTEXT, workspace)
    assert (report.problem, report.output) == ("took longer than 0.5 s", "begun\n")


@pytest.mark.parametrize("host", [False, True])
def test_a_hook_that_reads_nothing_and_leaves_children_does_no_harm(
    workspace: Workspace, tmp_path: Path, host: bool
) -> None:
    big = HookContext("run", "t", case_input="x" * (1 << 20))
    report = run_hook(hook(BEFORE_EACH, "sleep 300 & echo done", tmp_path, host=host), big, workspace)
    assert (report.problem, report.output) == ("", "done\n")


def test_a_hook_runs_on_the_host_only_when_that_is_written(workspace: Workspace, tmp_path: Path) -> None:
    run_hook(hook(BEFORE_EACH, "echo inside > inside.txt; true", tmp_path), CONTEXT, workspace)
    assert list(tmp_path.iterdir()) == []
    report = run_hook(
        hook(BEFORE_EACH, "cat; echo $SANDLOT_WORKSPACE > outside.txt", tmp_path, host=True), CONTEXT, workspace
    )
    assert json.loads(report.output)["test_id"] == "fix-it"
    assert (tmp_path / "outside.txt").read_text().strip() == workspace.id


def test_disabled_hooks_do_not_run(sandlot: Sandlot, tmp_path: Path) -> None:
    made = hooks(*(hook(name, "exit 1", tmp_path) for name in HookName))
    plan = WorkspacePlan(WorkspaceMode.TEMP, hooks=made, hooks_enabled=False)
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
        assert place.hook_output == {}
    assert preparation.warnings == place.warnings == []


def test_a_hooks_working_folder_is_one_that_it_can_see(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    with pytest.raises(UsageError, match="is not below"):
        run_hook(hook(BEFORE_EACH, "true", tmp_path / "hooks", cwd=tmp_path), CONTEXT, workspace)
    report = run_hook(hook(BEFORE_EACH, "pwd", tmp_path / "hooks", cwd="/workspace"), CONTEXT, workspace)
    assert report.output == "/workspace\n"


def test_what_before_each_leaves_running_is_there_for_the_target_and_for_nobody_else(
    sandlot: Sandlot, tmp_path: Path
) -> None:
    left = "setsid sleep 300 >/dev/null 2>&1 &"
    made = hooks(hook(BEFORE_ALL, left, tmp_path), hook(BEFORE_EACH, left, tmp_path))
    count = "grep -sx sleep /proc/[0-9]*/comm | wc -l"
    with (
        Preparation(sandlot, WorkspacePlan(WorkspaceMode.TEMP, hooks=made), "run") as preparation,
        preparation.trial(CASE, nth()) as place,
    ):
        assert place.workspace.exec(count).stdout.text.strip() == "1"
        with place.grading() as grading:
            assert grading.exec(count).stdout.text.strip() == "0"


def test_a_folder_that_is_too_much_for_a_hook_is_refused_with_a_way_out(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tmp_path / f"file-{number}").write_text("x" * 100)
    for name, most in (("MOST_ENTRIES", 3), ("MOST_BYTES", 300)):
        with monkeypatch.context() as patched:
            patched.setattr(f"sandlot.evals.hook_files.{name}", most)
            with pytest.raises(UsageError, match="is shown to its hooks and") as caught:
                run_hook(hook(BEFORE_EACH, "true", tmp_path), CONTEXT, workspace)
            assert "folder of their own" in caught.value.hint


def test_links_in_a_hooks_folder_show_nothing_of_the_host(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host\n")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/link").symlink_to(tmp_path / "secret")
    (tmp_path / "hooks/folder").symlink_to(tmp_path)
    report = run_hook(hook(BEFORE_EACH, "cat link folder/secret", tmp_path / "hooks"), CONTEXT, workspace)
    assert report.problem == "exited with 1"
    assert "of the host" not in report.output


def test_an_after_hook_is_cut_short_once_the_run_is_cancelled(sandlot: Sandlot, tmp_path: Path) -> None:
    cancellation = Cancellation()
    made = hooks(hook(AFTER_EACH, "echo begun; sleep 300", tmp_path, timeout_s=300))
    plan = WorkspacePlan(WorkspaceMode.TEMP, hooks=made)
    with Preparation(sandlot, plan, "run", cancellation=cancellation) as preparation:
        with preparation.trial(CASE, nth()) as place:
            cancellation.cancel()
        assert place.hook_output == {"after_each": "begun\n"}
        assert place.warnings == ["suite.eval.yaml:3:5: after_each took longer than 1 s: begun"]
    assert sandlot.list() == []
