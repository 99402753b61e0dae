from __future__ import annotations

from typing import Any

import pytest

from sandlot.errors import UsageError
from sandlot.evals.targets import check_target, run_target
from sandlot.sdk import Workspace
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.evals.subjects import case, target


def test_a_script_by_test_id_goes_before_the_common_one(workspace: Workspace) -> None:
    spec = target("mock", response="common", tests={"a": {"response": "own", "files": {"x/y.txt": "new\n"}}})
    assert run_target(spec, case(id="b"), workspace).text == "common"
    assert workspace.diff().files == ()
    assert run_target(spec, case(id="a"), workspace).text == "own"
    assert [each.path for each in workspace.diff().files] == ["x/y.txt"]


def test_files_are_written_and_deleted_and_patches_applied(workspace: Workspace) -> None:
    workspace.files.write("old.txt", "x")
    patch = "--- /dev/null\n+++ b/p.txt\n@@ -0,0 +1 @@\n+patched\n"
    run_target(target("mock", files={"old.txt": None, "n.txt": "n"}, patch=patch), case(), workspace)
    assert sorted(each.path for each in workspace.diff().files) == ["n.txt", "p.txt"]


def test_a_reply_can_have_calls_cost_and_trouble(workspace: Workspace) -> None:
    spec = target("mock", response="r", tool_calls=[{"name": "Bash"}], usage={"input_tokens": 7}, cost_usd=0.25)
    found = run_target(spec, case(), workspace)
    assert [each.name for each in found.tool_calls] == ["Bash"]
    assert (found.usage.input_tokens, found.usage.cost_usd) == (7, 0.25)
    assert run_target(target("mock", error="no luck"), case(), workspace).error == "no luck"


def test_a_delay_longer_than_the_time_is_a_timeout_and_edits_nothing(workspace: Workspace) -> None:
    found = run_target(target("mock", delay_ms=600_000, files={"a": "b"}), case(), workspace, timeout_s=0.05)
    assert found.timed_out
    assert workspace.diff().files == ()


def test_a_cancelled_delay_ends(workspace: Workspace) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        run_target(target("mock", delay_ms=600_000), case(), workspace, cancellation=cancellation)


@pytest.mark.parametrize(
    "config", [{"respones": "x"}, {"files": {"a": 1}}, {"tests": {"a": {"reply": "x"}}}, {"delay_ms": -1}]
)
def test_mistakes_in_a_script_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        check_target(target("mock", **config))
