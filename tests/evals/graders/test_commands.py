from __future__ import annotations

import os
from typing import Any

import pytest

from sandlot.errors import UsageError
from sandlot.evals.graders import check_grader
from sandlot.evals.graders.code import verdict_of
from sandlot.evals.graders.subject import GraderFailed
from sandlot.evals.outcomes import ToolCall
from tests.evals.subjects import Stage, answer, grader


def test_a_command_grades_what_the_target_changed_elsewhere(stage: Stage) -> None:
    stage.write({"a.txt": "old\n"})
    subject = stage.subject(lambda place: place.exec("echo new >a.txt; echo x >/tmp/left; echo y >~/left; sleep 600 &"))
    assert stage.grade("command", subject, command="grep -q new a.txt").passed
    gone = stage.grade("command", subject, command="test -e /tmp/left -o -e ~/left || ! pgrep sleep")
    assert gone.passed
    found = stage.grade("command", subject, command=["false"])
    assert (found.passed, found.error, found.details["exit_code"]) == (False, "", 1)
    assert stage.grade("command", subject, command=["false"], exit_code=1).passed


def test_a_command_that_cannot_run_is_an_error_and_one_that_hangs_a_failure(stage: Stage) -> None:
    subject = stage.subject()
    assert "could not run" in stage.grade("command", subject, command=["no-such-program"]).error
    hung = stage.grade("command", subject, command="sleep 600", timeout_ms=200)
    assert (hung.error, hung.passed) == ("", False)
    assert "time was up" in hung.reasoning


def test_each_command_has_a_place_of_its_own(stage: Stage) -> None:
    subject = stage.subject()
    assert stage.grade("command", subject, command="echo x >/workspace/mark").passed
    assert stage.grade("command", subject, command="test ! -e /workspace/mark").passed


def test_hidden_files_come_last_over_whatever_is_there(stage: Stage) -> None:
    stage.write({"tests/test_a": "visible\n", "keep/x": "1\n"})
    stage.write({"hidden/test_a": "hidden\n", "hidden/sub/run.sh": "#!/bin/sh\nexit 0\n"}, stage.suite)
    (stage.suite / "hidden/sub/run.sh").chmod(0o755)
    tricks = {
        "the file": "echo mine >tests/test_a",
        "a link": "rm tests/test_a; ln -s /dev/null tests/test_a",
        "a link for the folder": "rm -r tests; ln -s keep tests",
        "a file for the folder": "rm -r tests; echo x >tests",
        "a folder for the file": "rm tests/test_a; mkdir -p tests/test_a/b; echo x >tests/test_a/b/c",
        "no folder": "rm -r tests",
    }
    for trick in tricks.values():
        subject = stage.subject(lambda place, trick=trick: place.exec(trick))  # type: ignore[misc]
        found = stage.grade(
            "command", subject, command='test "$(cat tests/test_a)" = hidden && ./tests/sub/run.sh && test ! -L tests',
            files={"hidden": "tests"},
        )  # fmt: skip
        assert found.passed, (trick, found)


def test_files_exist_and_hold_what_they_should(stage: Stage) -> None:
    subject = stage.subject(lambda place: place.exec("mkdir d; echo hello >d/a.txt; ln -s /etc/passwd d/l"))
    assert stage.grade("file-exists", subject, path="d/a.txt").passed
    assert stage.grade("file-exists", subject, path=["d", "none"]).score == 0.5
    assert stage.grade("file-exists", subject, path="d/a.txt", contains=["hel", "lo"]).passed
    assert not stage.grade("file-exists", subject, path="d/a.txt", contains="bye").passed
    assert not stage.grade("file-exists", subject, path="d", contains="x").passed
    assert stage.grade("file-exists", subject, path="none", negate=True).passed


@pytest.mark.parametrize(
    ("config", "passed"),
    [
        ({"includes": "src/*.py"}, True),
        ({"includes": ["src", "other"]}, False),
        ({"excludes": "tests"}, True),
        ({"excludes": "src"}, False),
        ({"only": ["src/", "*.md"]}, True),
        ({"only": "*.md"}, False),
        ({"max_files": 2, "max_lines": 3}, True),
        ({"max_files": 1}, False),
        ({"max_lines": 2}, False),
        ({"patch_contains": "return 2"}, True),
        ({"patch_contains": "return 1"}, False),
    ],
)
def test_expectations_on_the_changes(stage: Stage, config: dict[str, Any], passed: bool) -> None:
    stage.write({"src/a.py": "return 1\n", "tests/t.py": "t\n"})
    subject = stage.subject(lambda place: place.exec("echo 'return 2' >src/a.py; echo n >n.md"))
    assert stage.grade("file-changes", subject, **config).passed is passed


CODE = """
import json, sys
given = json.load(sys.stdin)
assert given["question"] == "do it" and given["answer"] == "done", given
assert given["workspace_path"] == "/workspace"
assert "+new" in given["file_changes"], given["file_changes"]
assert given["changed_files"] == [{"path": "a.txt", "status": "added"}]
assert given["trace"]["tool_calls"][0]["tool"] == "Bash"
assert given["config"] == {"least": 1}
assert open("/workspace/a.txt").read() == "new\\n"
assert open("data/d.txt").read() == "beside"
print(json.dumps({"score": 0.5, "hits": ["h"], "misses": ["m"], "reasoning": "r", "details": {"k": 1}}))
"""


def test_a_code_grader_reads_json_and_prints_its_verdict(stage: Stage) -> None:
    stage.write({"graders/check.py": CODE, "graders/data/d.txt": "beside"}, stage.suite)
    subject = stage.subject(
        lambda place: place.exec("echo new >a.txt"), answer=answer("done", tool_calls=(ToolCall("Bash"),))
    )
    for kind in ("code-grader", "code-judge"):
        found = stage.grade(kind, subject, command=["python3", "check.py"], cwd="graders", config={"least": 1})
        assert found.error == ""
        assert (found.score, found.hits, found.misses, found.reasoning) == (0.5, ("h",), ("m",), "r")
        assert found.details == {"k": 1}


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", '{"score": 2}', '{"score": true}', '{"score": NaN}', '{"score": 1}{"score": 1}', "{" * 9999],
)
def test_what_is_no_verdict_is_an_error(text: str) -> None:
    with pytest.raises(GraderFailed):
        verdict_of(text)


def test_a_code_grader_without_a_verdict_is_an_error_and_never_a_fail(stage: Stage) -> None:
    subject = stage.subject()
    for program in ("exit 1", "echo '{\"score\": 1}'; exit 3", "no-such-program", "yes | head -c 5000000"):
        assert stage.grade("code-grader", subject, command=program).error, program


def test_a_grader_on_the_host_is_written_as_such(stage: Stage) -> None:
    program = 'read line; echo "{\\"score\\": 1, \\"reasoning\\": \\"$PWD\\"}"'
    found = stage.grade("code-grader", stage.subject(), command=program, placement="host")
    assert found.reasoning == os.path.realpath(stage.suite)


@pytest.mark.parametrize(
    ("kind", "config", "why"),
    [
        ("command", {}, "'command' is missing"),
        ("command", {"command": "x", "files": ["../../etc/passwd"]}, "not below the workspace"),
        ("command", {"command": "x", "files": ["none"]}, "does not exist"),
        ("command", {"command": "x", "cwd": "/etc"}, "below the workspace"),
        ("tests", {"command": "x", "fail_to_pass": ["a"]}, "no report"),
        ("tests", {"command": "x", "junit": "r.xml", "reward": "r.txt"}, "exclude each other"),
        ("code-grader", {"command": "x", "target": True}, "not offered"),
        ("file-changes", {}, "nothing is expected"),
        ("file-exists", {"path": "/etc/passwd"}, "not below"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(stage: Stage, kind: str, config: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check_grader(grader(kind, stage.suite, **config))
