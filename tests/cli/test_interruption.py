"""ctrl-C, signals and readers that leave: what ran inside is gone before we are."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from sandlot.sdk import Sandlot, Workspace
from tests.cli.conftest import Spawn
from tests.conftest import LEFT

TREE = "(setsid sleep 1000 &) ; echo begun; sleep 1000"


def line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_ends_the_tree_inside_first(
    spawn: Spawn, workspace: Workspace, number: signal.Signals, status: int
) -> None:
    process = spawn("workspace", "exec", workspace.id, "-c", TREE)
    assert line(process) == b"begun\n"
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == status
    assert told == (b"error: interrupted\n" if number == signal.SIGINT else b"")
    assert workspace.exec(LEFT).stdout.text == ""
    assert workspace.logs(1).commands[0].state == "killed"


def test_an_interruption_is_json_too(spawn: Spawn, workspace: Workspace) -> None:
    process = spawn("workspace", "exec", workspace.id, "--json", "-c", "touch begun; sleep 1000")
    workspace.exec("until [ -e begun ]; do sleep 0.01; done")
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["error"]["code"], told) == (130, "interrupted", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_an_interrupted_run_deletes_its_workspace(spawn: Spawn, sandlot: Sandlot, number: signal.Signals) -> None:
    process = spawn("run", "-c", TREE)
    assert line(process) == b"begun\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert sandlot.list() == []
    assert sandlot.repair().total == 0


def test_interrupting_a_wait_leaves_the_command_alone(spawn: Spawn, workspace: Workspace) -> None:
    number = workspace.exec(["sleep", "1000"], background=True).command.number
    process = spawn("workspace", "wait", workspace.id, str(number))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.7)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [each.number for each in workspace.status().running] == [number]


def test_a_reader_that_leaves_ends_the_command_without_a_word(spawn: Spawn, workspace: Workspace) -> None:
    process = spawn("workspace", "exec", workspace.id, "--timeout", "never", "--", "yes")
    assert line(process) == b"y\n"
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    assert workspace.exec(LEFT).stdout.text == ""


@pytest.mark.parametrize("words", [["file", "read", "ID", "big"], ["diff", "ID"], ["logs", "ID", "1"]], ids=" ".join)
def test_a_reader_that_leaves_ends_other_printing_too(spawn: Spawn, workspace: Workspace, words: list[str]) -> None:
    workspace.exec("seq 1 300000 | tee big")
    process = spawn("workspace", *[workspace.id if word == "ID" else word for word in words])
    assert line(process)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""


def test_an_interrupted_demo_leaves_nothing(spawn: Spawn, sandlot: Sandlot) -> None:
    for _ in range(5):  # on a busy machine a demo may be over before the signal is on its way
        process = spawn("demo")
        told = b""
        while b"\n2. " not in told:
            told += line(process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert sandlot.list() == []
        place = next(word for word in told.decode().split() if "sandlot-demo-" in word)
        assert not os.path.exists(os.path.dirname(place))
        if process.returncode != 0:
            break
    assert process.returncode == 130
