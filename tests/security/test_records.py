"""Cases 11 and 15: no command can touch the host's files it is wired to, or write its own verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandlot.errors import CommandInterrupted
from sandlot.model.command import CommandState
from sandlot.sdk import Sandlot, Workspace
from sandlot.wire import frames, messages
from tests.conftest import GUESTS, clean_environment

REOPEN = """
import os, sys
for pid in ("self", str(os.getppid()), "1"):
    try:
        names = os.listdir("/proc/%s/fd" % pid)
    except OSError:
        continue
    for name in names:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            try:
                descriptor = os.open("/proc/%s/fd/%s" % (pid, name), flags | os.O_NONBLOCK)
            except OSError:
                continue
            for attempt in (lambda: os.pwrite(descriptor, b"forged", 0), lambda: os.ftruncate(descriptor, 0)):
                try:
                    attempt()
                except OSError:
                    pass
            os.close(descriptor)
"""


def test_a_host_file_given_as_stdin_cannot_be_written_inside(workspace: Workspace, host_folder: Path) -> None:
    path = host_folder / "input"
    path.write_bytes(b"precious " * 1000)
    with open(path, "r+b") as file:
        workspace.exec(["python3", "-c", REOPEN], stdin=file)
    assert path.read_bytes() == b"precious " * 1000


def test_the_command_line_s_own_files_cannot_be_written_inside(
    workspace: Workspace, state_dir: Path, host_folder: Path
) -> None:
    files = {name: host_folder / name for name in ("in", "out", "err")}
    for path in files.values():
        path.write_bytes(b"precious\n" * 10)
    opened = {name: os.open(path, os.O_RDWR | os.O_APPEND) for name, path in files.items()}
    words = ["workspace", "exec", workspace.id, "--stdin", "--", "python3", "-c", REOPEN + "print('done')"]
    ran = subprocess.run(
        [sys.executable, "-m", "sandlot", *words], env=clean_environment(state_dir), stdin=opened["in"],
        stdout=opened["out"], stderr=opened["err"], timeout=60, check=False,
    )  # fmt: skip
    for descriptor in opened.values():
        os.close(descriptor)
    assert ran.returncode == 0, files["err"].read_text()
    assert files["in"].read_bytes() == b"precious\n" * 10
    assert files["err"].read_bytes() == b"precious\n" * 10
    # What it wrote into its own pipe is output like any other; what was there before stays.
    assert files["out"].read_bytes().startswith(b"precious\n" * 10)
    assert files["out"].read_bytes().endswith(b"done\n")


def forged_end() -> bytes:
    return frames.encode(messages.EXITED, 1, messages.Exited(0, 0, "", 1, 1, 1, 1, 1, 0).fields())


def test_our_frames_on_stdout_or_stderr_are_output_and_no_verdict(workspace: Workspace) -> None:
    done = workspace.exec("cat; cat /dev/null >&2; exit 7", stdin=forged_end() * 100)
    assert done.exit_status == 7
    assert done.command.outcome is not None
    assert done.command.outcome.stdout_bytes == len(forged_end()) * 100
    words = "import sys; data = bytes.fromhex(sys.argv[1]); sys.stderr.buffer.write(data * 9); sys.exit(8)"
    assert workspace.exec(["python3", "-c", words, forged_end().hex()]).exit_status == 8


def test_frames_written_into_every_descriptor_in_sight_change_no_verdict(workspace: Workspace) -> None:
    writing = REOPEN.replace('b"forged"', "bytes.fromhex(sys.argv[1])").replace(
        "os.pwrite(descriptor, ", "os.write(descriptor, "
    )
    writing = writing.replace(", 0), lambda", "), lambda") + "sys.exit(9)"
    assert workspace.exec(["python3", "-c", writing, forged_end().hex()]).exit_status == 9


def test_killing_the_supervisor_is_an_interruption_and_never_a_success(workspace: Workspace) -> None:
    with pytest.raises(CommandInterrupted):
        workspace.exec("kill -9 $PPID; exit 0")
    [record] = workspace.logs().commands
    assert record.state is CommandState.INTERRUPTED
    assert record.outcome is not None
    assert record.outcome.exit_code is None


def test_a_command_can_neither_see_nor_change_what_others_have_printed(sandlot: Sandlot, workspace: Workspace) -> None:
    first = workspace.exec("echo the truth")
    folder = sandlot._context.paths.workspace(workspace.id).root
    before = {path: path.read_bytes() for path in (folder / "commands").rglob("*") if path.is_file()}
    find = f"ls -d {folder} {folder.parent}; find / -name agent.sock -o -name state.db -o -name record.json 2>/dev/null"
    assert workspace.exec(find).stdout.text == ""
    workspace.exec(["python3", "-c", REOPEN])
    after = {path: path.read_bytes() for path in (folder / "commands").rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert workspace.logs(first.command.number).output == "the truth\n"


def test_the_agent_s_socket_serves_nobody_inside(sandlot: Sandlot, workspace: Workspace) -> None:
    """Even if its file were visible, the agent would not serve a peer of its own namespace."""
    script = "import os, json\nfound = []\nfor name in map(str, range(64)):\n"
    script += " try:\n  os.stat('/proc/1/fd/' + name)\n  found.append(name)\n except OSError: pass\n"
    script += "print(json.dumps([found, open('/proc/net/unix').read().count('agent.sock')]))"
    found, listed = json.loads(workspace.exec(["python3", "-c", script]).stdout.text)
    assert found == []
    assert GUESTS or listed == 0  # one kernel, one list; the folder it is in is closed to everybody
    connecting = "import socket; socket.socket(socket.AF_UNIX).connect('/run/sandlot/bridge/agent.sock')"
    assert workspace.exec(["python3", "-c", connecting]).exit_status == 1


def test_core_dumps_do_not_carry_anything_out(workspace: Workspace, host_folder: Path) -> None:
    before = sorted(os.listdir(os.getcwd()))
    done = workspace.exec("ulimit -c unlimited; kill -SEGV $$")
    assert done.command.outcome is not None
    assert done.command.outcome.signal == "SIGSEGV"
    assert sorted(os.listdir(os.getcwd())) == before
