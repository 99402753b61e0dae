from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandlot.errors import UsageError
from sandlot.evals.targets import check_target, run_target
from sandlot.sdk import Workspace
from tests.evals.subjects import case, target

STREAMS = Path(__file__).parent / "streams"
PATCH = "--- /dev/null\n+++ b/p.txt\n@@ -0,0 +1 @@\n+patched\n"


def test_a_record_is_answered_again_with_its_edits(workspace: Workspace, tmp_path: Path) -> None:
    record = {"test": "t1", "text": "recorded", "patch": PATCH, "usage": {"input_tokens": 4}, "duration_ms": 70}
    (tmp_path / "runs.jsonl").write_text(json.dumps({"test": "t0", "text": "x"}) + "\n" + json.dumps(record) + "\n")
    found = run_target(target("replay", tmp_path, transcript="runs.jsonl"), case(), workspace)
    assert (found.text, found.usage.input_tokens, found.duration_ms) == ("recorded", 4, 70)
    assert [each.path for each in workspace.diff().files] == ["p.txt"]


def test_a_folder_has_a_file_for_each_test(tmp_path: Path) -> None:
    (tmp_path / "t1.json").write_text('{"text": "one"}')
    assert run_target(target("replay", tmp_path, transcript="."), case(), None).text == "one"


def test_a_recorded_stream_of_an_agent_is_read_as_that_agent(tmp_path: Path) -> None:
    (tmp_path / "t1.jsonl").write_text((STREAMS / "claude.jsonl").read_text())
    found = run_target(target("replay", tmp_path, transcript=".", stream="claude-code"), case(), None)
    assert (found.text, found.error, len(found.tool_calls)) == ("all calls are done", "", 1)
    assert found.usage.cost_usd == pytest.approx(0.00028)


def test_what_was_not_recorded_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_text('{"t9": {"text": "x"}}')
    assert (
        "no record of the test 't1'"
        in run_target(target("replay", tmp_path, transcript="runs.json"), case(), None).error
    )
    with pytest.raises(UsageError, match="does not exist"):
        check_target(target("replay", tmp_path, transcript="none.json"))
