"""Running commands from the command line: words in any order, statuses, streams, background, logs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sandlot.sdk import Sandlot, Workspace
from tests.cli.conftest import Spawn
from tests.conftest import Cli


@pytest.fixture
def named(sandlot: Sandlot) -> Workspace:
    """An empty workspace called ``here``."""
    return sandlot.create(name="here")


def test_options_come_in_any_order_before_the_command(cli: Cli, named: Workspace) -> None:
    for words in (
        ["here", "--env", "A=1", "--cwd", "/tmp"],
        ["--env", "A=1", "here", "--cwd", "/tmp"],
        ["--env=A=1", "--cwd=/tmp", "here"],
    ):
        done = cli("workspace", "exec", *words, "--", "sh", "-c", 'echo "$A $PWD $*"', "sh", "--json", "--", "--env")
        assert done.stdout == b"1 /tmp --json -- --env\n", done.stderr


def test_every_status_of_a_command_is_passed_on(cli: Cli, named: Workspace) -> None:
    script = "; ".join(f"sh -c 'exit {status}'; [ $? = {status} ] || exit 99" for status in (1, 2, 124, 125, 255))
    assert cli("workspace", "exec", "here", "-c", script).returncode == 0
    for status in (0, 3, 125, 126, 127, 255):
        assert cli("workspace", "exec", "here", "--", "sh", "-c", f"exit {status}").returncode == status
    assert cli("workspace", "exec", "here", "-c", "kill -9 $$").returncode == 137
    assert cli("workspace", "exec", "here", "--", "no-such-program").returncode == 127
    assert cli("workspace", "exec", "here", "--", "/etc/passwd").returncode == 126
    done = cli("workspace", "exec", "here", "--timeout", "200ms", "-c", "echo begun; sleep 1000")
    assert (done.returncode, done.stdout) == (124, b"begun\n")
    assert done.stderr.startswith(b"sandlot: timed out after 0.")


def test_our_own_failure_is_never_the_commands(cli: Cli, named: Workspace) -> None:
    done = cli("workspace", "exec", "nobody", "--", "true")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"error: no workspace has the id or name 'nobody'\nhint: sandlot workspace list\n"


def test_output_is_passed_on_byte_for_byte_on_its_own_stream(cli: Cli, named: Workspace) -> None:
    done = cli("workspace", "exec", "here", "-c", r"printf 'a\000\377\033[2J'; printf 'e\376' >&2; exit 4")
    assert (done.returncode, done.stdout, done.stderr) == (4, b"a\0\xff\x1b[2J", b"e\xfe")


def test_json_is_all_there_is_on_stdout(cli: Cli, named: Workspace) -> None:
    done = cli("workspace", "exec", "here", "--json", "-c", r"printf 'a\377'; echo e >&2; exit 4")
    answer = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (4, b"")
    assert answer["command"]["outcome"]["exit_code"] == 4
    assert answer["stdout"] == {"text": "a\ufffd", "total_bytes": 2, "truncated": False, "lost_bytes": 0}
    assert answer["command"]["isolation"] == "kernel"
    assert done.stdout.isascii()


def test_standard_input_is_passed_on_when_asked_for(cli: Cli, named: Workspace) -> None:
    data = os.urandom(1 << 20)
    done = cli("workspace", "exec", "here", "-i", "--", "cat", stdin=data)
    assert done.stdout == data
    assert cli("workspace", "exec", "here", "--", "cat", stdin=data).stdout == b""


def test_a_command_that_ends_before_its_input_does_not_wait_for_it(spawn: Spawn, named: Workspace) -> None:
    """The input stays open and silent: Python's own buffer could not be left behind at the end."""
    process = spawn("workspace", "exec", "here", "-i", "--", "true", stdin=subprocess.PIPE)
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_a_background_command_is_used_by_its_number(cli: Cli, named: Workspace) -> None:
    number = cli(
        "workspace",
        "exec",
        "here",
        "--background",
        "--id-only",
        "-c",
        "echo out; until [ -e go ]; do sleep 0.01; done; exit 6",
    )
    assert number.stdout == b"1\n"
    assert cli("workspace", "wait", "here", "1", "--timeout", "10ms").returncode == 124
    status = json.loads(cli("workspace", "status", "here", "--json").stdout)
    assert [each["number"] for each in status["running"]] == [1]
    cli("workspace", "file", "write", "here", "go", "--text", "")
    done = cli("workspace", "wait", "here", "1")
    assert (done.returncode, done.stdout) == (6, b"out\n")
    told = cli("workspace", "exec", "here", "--background", "--", "sleep", "1000")
    assert told.stdout == b"command 2 is running\n"
    assert b"next: sandlot workspace wait here 2" in told.stderr
    assert cli("workspace", "kill", "here", "2").stdout == b"command 2: SIGTERM\n"


def test_logs_are_listed_searched_and_read_whole(cli: Cli, named: Workspace) -> None:
    named.exec(["seq", "1", "50000"])
    named.exec(r"printf '\377'; echo e >&2; exit 3")
    listed = cli("workspace", "logs", "here").stdout.decode().splitlines()
    assert listed[0].split() == ["NO", "OUTCOME", "STARTED", "(UTC)", "TOOK", "COMMAND"]
    assert [line.split()[:3] for line in listed[1:]] == [["1", "exit", "0"], ["2", "exit", "3"]]
    done = cli("workspace", "logs", "here", "--count", "1")
    assert done.stderr == b"more: --after 1\n"
    assert cli("workspace", "logs", "here", "1").stdout == b"".join(b"%d\n" % number for number in range(1, 50001))
    assert cli("workspace", "logs", "here", "2").stdout == b"\xff"
    assert cli("workspace", "logs", "here", "2", "--stream", "stderr").stdout == b"e\n"
    page = cli("workspace", "logs", "here", "1", "--offset", "2", "--limit", "2")
    assert (page.stdout, page.stderr) == (b"2\n", b"more: --offset 4 (of 288894 bytes)\n")
    found = json.loads(cli("workspace", "logs", "here", "--search", "printf", "--json").stdout)
    assert [each["number"] for each in found["commands"]] == [2]
    done = cli("workspace", "logs", "here", "9")
    assert (done.returncode, done.stderr.splitlines()[1]) == (3, b"hint: sandlot workspace logs here")


def test_one_shot_run_leaves_nothing(cli: Cli, sandlot: Sandlot, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    done = cli("run", "--source", str(tmp_path), "--", "sh", "-c", "cat a; rm a; exit 5")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"1\n", b"")
    assert (tmp_path / "a").exists()
    assert sandlot.list() == []


def test_reading_a_binary_file_into_a_pipe_is_exact(cli: Cli, named: Workspace) -> None:
    data = os.urandom(700_000)
    written = cli("workspace", "file", "write", "here", "data", stdin=data)
    assert written.stdout == b"created /workspace/data, 700000 bytes\n"
    read = cli("workspace", "file", "read", "here", "data")
    assert (read.stdout, read.stderr) == (data, b"")
    part = cli("workspace", "file", "read", "here", "data", "--offset", "10", "--max-bytes", "5")
    assert (part.stdout, part.stderr) == (data[10:15], b"more: --offset 15 (of 700000 bytes)\n")
    answer = json.loads(cli("workspace", "file", "read", "here", "data", "--json").stdout)
    assert (answer["sent_bytes"], answer["complete"]) == (65536, False)
    assert os.fsencode(answer["content"]) == data[:65536]


def test_names_that_begin_with_a_dash_stand_behind_two(cli: Cli, named: Workspace) -> None:
    cli("workspace", "file", "write", "here", "--text", "x = 1", "--", "-odd")
    assert cli("workspace", "file", "read", "here", "--", "-odd").stdout == b"x = 1"
    assert cli("workspace", "file", "search", "here", "--", "= 1", "-odd").stdout == b"-odd:1:x = 1\n"


def test_names_that_are_not_utf8_can_be_used_and_are_shown_safely(cli: Cli, named: Workspace) -> None:
    name = os.fsdecode(b"caf\xe9")
    cli("workspace", "file", "write", "here", name, "--text", "x")
    assert cli("workspace", "file", "read", "here", name).stdout == b"x"
    listed = cli("workspace", "file", "list", "here")
    assert b"caf\\udce9" in listed.stdout
    (entry,) = json.loads(cli("workspace", "file", "list", "here", "--json").stdout)["entries"]
    assert os.fsencode(entry["path"]) == b"caf\xe9"
    assert b"caf\\udce9" in cli("workspace", "summary", "here").stdout


def test_content_comes_from_text_a_file_or_standard_input(cli: Cli, named: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0\xff")
    cli("workspace", "file", "write", "here", "a", "--from-file", str(tmp_path / "file"))
    assert cli("workspace", "file", "read", "here", "a").stdout == b"\0\xff"
    for wrong in (str(tmp_path / "nowhere"), str(tmp_path), "a\0b"):
        if "\0" not in wrong:
            done = cli("workspace", "file", "write", "here", "a", "--from-file", wrong)
            assert (done.returncode, done.stdout) == (3, b"")
            assert done.stderr.startswith(b"error: cannot read ")
    both = cli("workspace", "file", "write", "here", "a", "--text", "x", "--from-file", str(tmp_path / "file"))
    assert both.returncode == 2
    assert cli("workspace", "file", "read", "here", "a").stdout == b"\0\xff"


def test_ids_alone_for_scripts(cli: Cli, sandlot: Sandlot) -> None:
    (made,) = cli("workspace", "create", "--id-only").stdout.decode().split()
    assert sandlot.get(made).id == made
    forks = cli("workspace", "fork", made, "--count", "2", "--id-only").stdout.decode().split()
    listed = cli("workspace", "list", "--id-only").stdout.decode().split()
    assert sorted(listed) == sorted([made, *forks])


def test_what_a_person_sees_of_a_workspace(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12345")
    done = cli("workspace", "create", str(tmp_path), "--name", "shown", "--label", "k=v")
    text = done.stdout.decode()
    assert "(shown)" in text
    assert "isolation    kernel (bubblewrap, " in text
    assert f"origin       folder {tmp_path}, 1 files, 5 B" in text
    assert done.stderr == b"next: sandlot workspace exec shown -- COMMAND\n"
    listed = cli("workspace", "list").stdout.decode().splitlines()
    assert listed[0].split() == ["ID", "NAME", "STATE", "ACTIVE", "(UTC)", "LABELS", "ORIGIN"]
    assert "k=v" in listed[1]
    assert b"k=v" in cli("workspace", "status", "shown").stdout
    assert cli("workspace", "update", "shown", "--name", "other", "--clear-label", "k").returncode == 0
    snapshot = cli("workspace", "snapshot", "create", "other", "s1")
    assert snapshot.stdout == b"snapshot s1\n"
    assert b"s1" in cli("workspace", "snapshot", "list", "other").stdout
    assert cli("workspace", "stop", "other").returncode == 0
    assert b"stopped" in cli("workspace", "list", "--state", "stopped").stdout
    assert cli("workspace", "start", "other").returncode == 0
    assert cli("workspace", "delete", "other").stdout.startswith(b"deleted ws-")
    assert b"folder" in cli("base", "list").stdout
    assert cli("base", "prune", "--dry-run").stdout.startswith(b"would remove 1 base")
    assert cli("repair").stdout == b"nothing to repair\n"


def test_doctor_is_readable_and_ok(cli: Cli) -> None:
    done = cli("doctor")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert any(line.startswith("ok    bubblewrap.namespaces") for line in lines)
    assert any(line.startswith("bubblewrap: isolation kernel") for line in lines)
    report = json.loads(cli("doctor", "--json").stdout)
    assert report["ok"] is True
    assert set(report["versions"]) == {"sandlot", "python", "kernel", "git", "sqlite"}
