from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import UsageError
from sandlot.evals.cases import Message, Part, Placement
from sandlot.evals.targets import check_target, run_target
from sandlot.sdk import Workspace
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.evals.subjects import case, target

NASTY = 'it\'s $HOME `id` "quoted" \\ %s\n-- second line; rm -rf /\n\n'


def test_what_a_command_prints_is_its_answer(workspace: Workspace) -> None:
    found = run_target(target("cli", command="echo hello; echo aside >&2"), case(), workspace)
    assert (found.text, found.error, found.timed_out) == ("hello", "", False)
    assert "aside" in found.log


def test_a_prompt_arrives_as_it_is_whatever_it_holds(workspace: Workspace) -> None:
    spec = target("cli", command="printf %s {PROMPT} >{OUTPUT_FILE}; cmp {PROMPT_FILE} {OUTPUT_FILE}")
    found = run_target(spec, case(NASTY), workspace)
    assert found.error == ""
    assert found.text == NASTY


def test_a_list_of_words_is_a_command_too(workspace: Workspace) -> None:
    found = run_target(target("cli", command=["printf", "%s|%s", "{PROMPT}", "a b"]), case(NASTY), workspace)
    assert found.text == (NASTY + "|a b")


def test_a_prompt_of_any_size_is_in_no_argument_vector(workspace: Workspace) -> None:
    large = "x" * 3_000_000
    found = run_target(
        target("cli", command="wc -c <{PROMPT_FILE}; cat /proc/$$/cmdline | wc -c"), case(large), workspace
    )
    size, words = found.text.split()
    assert size == "3000000"
    assert int(words) < 2000
    assert all("xxxx" not in word for each in workspace.logs().commands for word in each.argv)


def test_placeholders_say_where_and_what(workspace: Workspace) -> None:
    spec = target("cli", command="echo {WORKSPACE} {EVAL_ID} {ATTEMPT}; pwd")
    found = run_target(spec, case(id="a b'c"), workspace, attempt=3)
    assert found.text.split("\n") == ["/workspace a b'c 3", "/workspace"]


def test_files_of_the_input_are_there(workspace: Workspace) -> None:
    message = Message("user", (Part("see:"), Part("content 1", "docs/a.md"), Part("content 2", "b c.md")))
    spec = target("cli", command="cat {FILES}", files_format="{path}")
    assert run_target(spec, case(input=(message,)), workspace).text == "content 1content 2"


def test_nothing_of_the_scaffolding_is_a_change(workspace: Workspace) -> None:
    run_target(target("cli", command="echo x >{OUTPUT_FILE}; echo new >made.txt"), case(), workspace)
    assert [each.path for each in workspace.diff().files] == ["made.txt"]


def test_a_command_has_nothing_on_standard_input(workspace: Workspace) -> None:
    assert run_target(target("cli", command="cat; echo end"), case(), workspace).text == "end"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo trouble >&2; exit 3", "exit status 3: trouble"),
        ("no-such-program", "exit status 127"),
        ("kill -9 $$", "exit status 137"),
        ("true {OUTPUT_FILE}", "left no output file that can be used"),
    ],
)
def test_a_command_that_fails_is_an_error_and_no_answer(workspace: Workspace, command: str, why: str) -> None:
    found = run_target(target("cli", command=command), case(), workspace)
    assert why in found.error
    assert not found.timed_out


def test_time_that_is_up_ends_the_tree_and_says_so(workspace: Workspace) -> None:
    found = run_target(target("cli", command="echo begun; sleep 600"), case(), workspace, timeout_s=0.5)
    assert found.timed_out
    assert "begun" in found.log


def test_a_cancelled_target_is_ended(workspace: Workspace) -> None:
    cancellation = Cancellation()
    heard = threading.Event()

    def on_line(stream: str, line: str) -> None:
        heard.set()
        cancellation.cancel()

    with pytest.raises(Cancelled):
        run_target(
            target("cli", command="echo begun; sleep 600"),
            case(),
            workspace,
            cancellation=cancellation,
            on_line=on_line,
        )
    assert heard.is_set()


def test_lines_are_heard_as_they_come(workspace: Workspace) -> None:
    heard: list[tuple[str, str]] = []
    run_target(
        target("cli", command="printf 'one\\ntw'; printf 'o\\nlast'; echo e >&2"), case(), workspace,
        on_line=lambda *line: heard.append(line),
    )  # fmt: skip
    assert [line for stream, line in heard if stream == "stdout"] == ["one", "two", "last"]
    assert ("stderr", "e") in heard


def test_an_answer_in_json_brings_its_transcript(workspace: Workspace) -> None:
    calls = '[{"tool":"Read","input":{"path":"a"}}]'
    reply = f'{{"text":"hi","tool_calls":{calls},"token_usage":{{"input":3,"output":4}},"cost_usd":0.5}}'
    found = run_target(target("cli", command=f"cat >{{OUTPUT_FILE}} <<'END'\n{reply}\nEND"), case(), workspace)
    assert found.text == "hi"
    assert [(each.name, dict(each.arguments)) for each in found.tool_calls] == [("Read", {"path": "a"})]
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.cost_usd) == (3, 4, 0.5)


@pytest.mark.parametrize("claim", ["0", "99999999"])
def test_time_is_measured_whatever_a_target_claims(workspace: Workspace, claim: str) -> None:
    reply = f'{{"text":"hi","duration_ms":{claim}}}'
    found = run_target(target("cli", command=f"echo '{reply}'; sleep 0.01"), case(), workspace)
    assert found.text == "hi"
    assert 10 <= found.duration_ms < 99999999


def test_on_the_host_only_when_it_is_written(tmp_path: Path) -> None:
    spec = target("cli", tmp_path, Placement.HOST, command="pwd; printf %s {PROMPT}")
    assert run_target(spec, case(NASTY), None).text == f"{tmp_path}\n{NASTY}".removesuffix("\n")
    inside = target("cli", tmp_path, command="pwd")
    with pytest.raises(UsageError, match="needs a workspace"):
        run_target(inside, case(), None)


def test_a_host_command_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    spec = target("cli", tmp_path, Placement.HOST, command="sleep 600 & echo begun; wait")
    found = run_target(spec, case(), None, timeout_s=0.5)
    assert found.timed_out
    assert "begun" in found.log


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "'command' is missing"),
        ({"command": ["a", 1]}, "list of texts"),
        ({"command": "x {PROMT}"}, "unknown placeholder {PROMT}"),
        ({"command": "x", "enviroment": {}}, "unknown field 'enviroment'"),
        ({"command": "x", "cwd": "../up"}, "below the workspace"),
        ({"command": "x", "secrets": {"KEY": {"env": "KEY"}}}, "'hosts' is missing"),
        ({"command": "x", "network": "of"}, "must be one of"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(config: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_target(target("cli", **config))
    assert why in refused.value.message
    assert refused.value.message.startswith("evals/a.yaml:3:5: target 'mine'")


def test_what_a_target_needs_is_known_before_its_workspace_is_made(tmp_path: Path) -> None:
    spec = target(
        "cli", tmp_path, command="x", toolchains=["./agent"], allow=["pypi.org"],
        secrets={"KEY": {"env": "MY_KEY", "hosts": ["api.example.com"]}},
    )  # fmt: skip
    needs = check_target(spec)
    assert needs.toolchains == (str(tmp_path / "agent"),)
    assert needs.allow == ("pypi.org", "api.example.com")
    assert needs.secrets["KEY"].env == "MY_KEY"


def test_an_output_file_on_the_host_is_a_regular_file_or_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the operator")
    for left in ("mkfifo {OUTPUT_FILE}", f"ln -s {tmp_path}/secret {{OUTPUT_FILE}}", "mkdir {OUTPUT_FILE}"):
        found = run_target(target("cli", tmp_path, Placement.HOST, command=left), case(), None)
        assert "left no output file that can be used" in found.error, left
        assert found.text == ""


def test_an_answer_that_is_too_large_is_an_error_and_not_cut(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandlot.evals.targets.cli.ANSWER_BYTES", 1000)
    monkeypatch.setattr("sandlot.evals.targets.commandline.KEPT_BYTES", 1000)
    for command in ("head -c 1001 /dev/zero", "head -c 1001 /dev/zero >{OUTPUT_FILE}"):
        assert run_target(target("cli", command=command), case(), workspace).error, command
    for command in ("head -c 1000 /dev/zero", "head -c 1000 /dev/zero >{OUTPUT_FILE}"):
        assert run_target(target("cli", command=command), case(), workspace).error == "", command


def test_several_messages_become_one_prompt_that_says_who_spoke(workspace: Workspace) -> None:
    said = (("user", "2+2?"), ("assistant", "4"), ("user", "and 3+3?"))
    messages = tuple(Message(role, (Part(text),)) for role, text in said)
    found = run_target(target("cli", command="cat {PROMPT_FILE}"), case(input=messages), workspace)
    assert found.text == "user: 2+2?\n\nassistant: 4\n\nuser: and 3+3?"
