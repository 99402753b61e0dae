"""Host processes: identity, waiting, killing, and nobody left as a zombie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandlot import process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
        yield child
        child.kill()


def wait_until(condition: object, what: str) -> None:
    """Wait for something that is about to be true."""
    assert callable(condition)
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def test_a_process_is_known_by_more_than_its_number(sleeper: subprocess.Popen[bytes]) -> None:
    found = process.identify(sleeper.pid)
    assert found is not None
    assert found.alive()
    assert not replace(found, start_time=found.start_time - 1).alive()
    assert not replace(found, boot="another boot").alive()


def test_a_name_with_spaces_and_parentheses_does_not_confuse_us(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "1000"]) as child:
        found = process.identify(child.pid)
        assert found is not None
        assert found.start_time > 1000
        assert found.alive()
        child.kill()


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = process.identify(child.pid)
    assert found is not None
    assert not found.alive()
    child.wait()
    assert process.identify(child.pid) is None


def test_killing_waits_until_they_are_gone(sleeper: subprocess.Popen[bytes]) -> None:
    found = process.identify(sleeper.pid)
    assert found is not None
    assert process.kill_and_wait([found])
    assert not found.alive()
    assert process.kill_and_wait([found]), "ending an ended one is fine"


def test_whoever_got_the_number_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    found = process.identify(sleeper.pid)
    assert found is not None
    assert process.kill_and_wait([replace(found, start_time=found.start_time + 1)])
    assert found.alive()


def test_a_session_is_found_even_without_its_leader(sleeper: subprocess.Popen[bytes]) -> None:
    leader = subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo $!"], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    known = process.identify(leader.pid)
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    leader.wait()
    leader.stdout.close()
    assert known is not None
    members = process.session(known)
    assert [each.pid for each in members] == [child]
    assert process.kill_and_wait(members)


def test_a_tool_is_run_without_a_shell_and_its_output_kept_apart() -> None:
    done = process.run(["sh", "-c", "cat; echo out; echo err >&2; exit 3"], stdin=b"in ")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in out\n", b"err\n")


def test_a_tool_that_takes_too_long_is_ended_with_all_its_children(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with pytest.raises(subprocess.TimeoutExpired):
        process.run(["sh", "-c", f"sleep 1000 & echo $! > {note}; wait"], timeout=0.5)
    child = process.identify(int(note.read_text()))
    wait_until(lambda: child is None or not child.alive(), "the tool's child lives on")  # killed, not waited for


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        (b"hint: x\nwarning: y\nfatal: no such ref\n", "no such ref"),
        (b"error: broken\nmore\n", "broken"),
        (b"\n  \n", "exit status 9"),
        (b"", "exit status 9"),
        (b"\xff", "\ufffd"),
    ],
)
def test_a_failure_is_told_by_the_first_line_that_says_something(stderr: bytes, expected: str) -> None:
    assert process.Completed(9, b"", stderr).message == expected


def test_detached_processes_that_ended_are_collected() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    first = process.spawn_detached(["true"], env={}, log=null)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    second = process.spawn_detached(["true"], env={}, log=null)  # whoever starts one collects the others
    assert process.identify(first.pid) is None
    os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)
    process.reap()
    assert process.identify(second.pid) is None
    os.close(null)


def test_a_detached_process_survives_the_hangup_of_its_starter(tmp_path: Path) -> None:
    script = (
        "import os, sys; from sandlot import process\n"
        "null = os.open(os.devnull, os.O_RDWR)\n"
        "print(process.spawn_detached(['sleep', '1000'], env={'PATH': os.defpath}, log=null).pid, flush=True)\n"
        "sys.stdin.read()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert starter.stdout is not None
    assert starter.stdin is not None
    detached = process.identify(int(starter.stdout.readline()))
    assert detached is not None
    os.killpg(starter.pid, signal.SIGHUP)
    starter.wait()
    starter.stdin.close()
    starter.stdout.close()
    assert detached.alive()
    assert process.kill_and_wait([detached])
