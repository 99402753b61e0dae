"""Words on the command line: help, versions, mistakes, and what answers to them."""

from __future__ import annotations

import json
import re

import pytest

import sandlot
from sandlot.cli.groups import EXTRA, GROUPS
from sandlot.operations import catalog
from tests.cli.conftest import Bare

COMMANDS = sorted([*catalog.BY_COMMAND, *EXTRA])


def test_the_version_is_told(bare: Bare) -> None:
    for words in (["--version"], ["-V"]):
        assert bare(*words).stdout.decode() == f"sandlot {sandlot.__version__}\n"
    assert json.loads(bare("--version", "--json").stdout) == {"version": sandlot.__version__}


def test_the_first_contact_is_help_and_no_success(bare: Bare) -> None:
    done = bare()
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"sandlot demo" in done.stderr
    assert b"workspace create" in done.stderr


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_every_group_has_help_with_examples(bare: Bare, group: tuple[str, ...]) -> None:
    done = bare(*group, "--help")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert GROUPS[group] in text.replace("\n", " ")
    assert "\nexamples:\n  sandlot " in text
    for command in COMMANDS:
        if command[: len(group)] == group:
            assert f"  {' '.join(command[len(group) :])} " in text


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_a_usage_line_and_examples(bare: Bare, command: tuple[str, ...]) -> None:
    done = bare(*command, "--help")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.startswith(f"usage: sandlot {' '.join(command)}")
    assert "sandlot" in text.split("\n", 1)[1]


def test_help_is_a_word_as_well_as_an_option(bare: Bare) -> None:
    assert bare("help", "workspace", "exec").stdout == bare("workspace", "exec", "--help").stdout
    assert bare("help").stdout == bare("--help").stdout


@pytest.mark.parametrize("columns", [40, 72, 200])
def test_help_fits_the_terminal(bare: Bare, columns: int) -> None:
    text = bare("workspace", "--help", COLUMNS=str(columns)).stdout.decode()
    described = text.split("\nexamples:")[0].splitlines()
    assert max(map(len, described)) <= max(columns, 46)


MISTAKES = """
workspac                              | 2   | unknown command 'workspac'          | did you mean sandlot workspace?
workspace craete                      | 2   | unknown command 'craete'            | mean sandlot workspace create?
workspace file raed                   | 2   | unknown command 'raed'              | mean sandlot workspace file read?
exec                                  | 2   | unknown command 'exec'              | did you mean sandlot workspace exec?
xyzzy                                 | 2   | unknown command 'xyzzy'             | sandlot --help
--frobnicate                          | 2   | unknown option '--frobnicate'       | sandlot --help
workspace list --jsn                  | 2   | unrecognized arguments: --jsn       | did you mean --json?
workspace list --lab a=b              | 2   | unrecognized arguments: --lab a=b   | did you mean --label?
workspace list --state tired          | 2   | --state cannot be 'tired'           | write one of running, stopped
workspace list --label x              | 2   | 'x' is not KEY=VALUE                | sandlot workspace list --help
workspace create --idle-timeout soon  | 2   | --idle-timeout: 'soon' is not a     | workspace create --help
workspace create --idle-timeout 0s    | 2   | the idle timeout must be at least   | never: no limit
workspace create --retention 9999999d | 2   | --retention: '9999999d' is          | workspace create --help
workspace status                      | 2   | ID is missing                       | sandlot workspace status --help
workspace logs x one                  | 2   | NUMBER: 'one' is not a whole number | sandlot workspace logs --help
workspace logs x 0                    | 2   | number must be at least 1           | sandlot workspace logs --help
workspace delete                      | 2   | there is nothing to delete          | name a workspace, or use --label
workspace delete x --all              | 2   | names exclude --label and --all     | sandlot workspace delete --help
workspace diff x --max-bytes lots     | 2   | --max-bytes: 'lots' is not          | sandlot workspace diff --help
workspace wait x 0                    | 125 | number must be at least 1           | sandlot workspace wait --help
workspace exec x ls                   | 125 | unrecognized arguments: ls          | put the command to run behind
workspace exec x --timeot 1s -- ls    | 125 | unrecognized arguments: --timeot 1s | did you mean --timeout?
workspace exec x --id-only -- ls      | 125 | --id-only needs --background        | sandlot workspace exec --help
run                                   | 125 | there is no command to run          | put it after --, as in: -- pytest
run -c true -- true                   | 125 | a command and --shell exclude each  | sandlot run --help
run --ref main -- true                | 125 | ref, include-ignored and committed- | sandlot workspace create SOURCE
run --timeout 0 -- true               | 125 | the timeout must be positive        | never: no limit
run --env A -- true                   | 125 | 'A' is not NAME=VALUE               | sandlot run --help
demo --fast                           | 2   | unrecognized arguments: --fast      | sandlot demo --help
completion tcsh                       | 2   | name one shell                      | sandlot completion bash|zsh|fish
"""


@pytest.mark.parametrize("line", MISTAKES.strip().splitlines(), ids=lambda line: line.split(" | ")[0].strip())
def test_a_mistake_is_a_sentence_and_a_hint_for_people_and_an_object_for_programs(bare: Bare, line: str) -> None:
    command, exit_status, error, hint = (part.strip() for part in line.split(" | "))
    words, status = command.split(), int(exit_status)
    done = bare(*words)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (status, b"")
    assert lines[0].startswith(f"error: {error}")
    assert lines[-1].startswith("hint: ")
    assert hint in lines[-1]
    assert len(lines) == 2

    at = words.index("--") if "--" in words else len(words)
    done = bare(*words[:at], "--json", *words[at:])
    (only,) = done.stdout.decode().splitlines()
    answer = json.loads(only)["error"]
    assert (done.returncode, done.stderr) == (status, b"")
    assert answer["code"] == "invalid_argument"
    assert answer["message"].startswith(error)
    assert hint in answer["hint"]


def test_json_may_stand_first(bare: Bare) -> None:
    assert json.loads(bare("--json", "workspace", "list").stdout) == {"workspaces": []}
    assert json.loads(bare("--json").stdout)["error"]["code"] == "invalid_argument"
    assert json.loads(bare("workspace", "--json").stdout)["error"]["code"] == "invalid_argument"


def test_words_that_are_not_utf8_are_no_reason_to_break(bare: Bare) -> None:
    for words in ([b"\xff"], [b"workspace", b"status", b"\xff"], [b"workspace", b"list", b"--name", b"\xff"]):
        done = bare(*words)
        assert b"Traceback" not in done.stderr
        assert done.returncode in (0, 2, 3)
    assert b"'\\udcff'" in bare(b"workspace", b"status", b"\xff").stderr


def test_control_characters_of_the_caller_are_not_echoed(bare: Bare) -> None:
    done = bare("workspace", "status", "a\x1b]0;title\x07\nb")
    assert b"\x1b" not in done.stderr
    assert b"\x07" not in done.stderr


def test_a_locale_that_knows_few_characters_is_no_reason_to_break(bare: Bare) -> None:
    done = bare("workspace", "status", "zażółć", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"error: no workspace has the id or name")


def test_a_first_list_is_empty_and_no_error(bare: Bare) -> None:
    done = bare("workspace", "list")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"no workspaces\n")
    assert json.loads(bare("workspace", "list", "--json").stdout) == {"workspaces": []}
    assert bare("workspace", "list", "--id-only").stdout == b""


def test_durations_and_sizes_in_help_are_written_as_they_are_typed(bare: Bare) -> None:
    text = bare("workspace", "exec", "--help").stdout.decode()
    assert re.search(r"--timeout DURATION", text)
    assert re.search(r"--max-output SIZE", text)
    assert "[default: 64K]" in text
    assert text.startswith("usage: sandlot workspace exec [OPTION...] ID -- COMMAND [ARG...]\n")
