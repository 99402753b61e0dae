"""Locks between processes and threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandlot.errors import StateUnwritable, WorkspaceBusy, WorkspaceNotFound
from sandlot.workspaces import locks
from tests.conftest import clean_environment

HOLD = (
    "import pathlib, sys\nfrom sandlot.workspaces import locks\n"
    "with locks.exclusive(pathlib.Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    sys.stdin.read()"
)


@pytest.fixture
def lock(state_dir: Path) -> Path:
    return state_dir / "lock"


def hold(lock: Path) -> subprocess.Popen[bytes]:
    """A process that has the lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], env=clean_environment(lock.parent), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_only_one_holds_a_lock_and_waiting_has_an_end(lock: Path) -> None:
    with locks.exclusive(lock, "it"):
        with locks.try_exclusive(lock) as held:
            assert not held
        with pytest.raises(WorkspaceBusy, match="it is being changed"), locks.exclusive(lock, "it", wait_s=0.05):
            pytest.fail("two hold it")
    with locks.try_exclusive(lock) as held:
        assert held


def test_a_lock_ends_with_its_holder_however_that_dies(lock: Path) -> None:
    with hold(lock) as holder:
        with locks.try_exclusive(lock) as held:
            assert not held
        holder.send_signal(signal.SIGKILL)
        with locks.exclusive(lock, "it", wait_s=30):
            pass


def test_whoever_waits_gets_it_when_the_holder_lets_go(lock: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with locks.exclusive(lock, "it"):
            got.set()

    with locks.exclusive(lock, "it"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.05)
    assert got.wait(30)
    waiting.join()


def test_threads_exclude_each_other(lock: Path) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def work() -> None:
        for _ in range(20):
            with locks.exclusive(lock, "it"):
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 100


def test_a_folder_that_was_thrown_away_while_one_waited_cannot_be_locked(state_dir: Path) -> None:
    (state_dir / "own").mkdir()
    found: list[BaseException | None] = []

    def wait() -> None:
        try:
            with locks.exclusive(state_dir / "own" / "lock", "it"):
                found.append(None)
        except WorkspaceNotFound as error:
            found.append(error)

    with locks.exclusive(state_dir / "own" / "lock", "it"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        (state_dir / "own").rename(state_dir / "trash")
    waiting.join(30)
    assert [type(each) for each in found] == [WorkspaceNotFound]
    with pytest.raises(WorkspaceNotFound), locks.try_exclusive(state_dir / "own" / "lock"):
        pytest.fail("there is nothing to lock")


def test_a_lock_that_was_replaced_while_one_waited_is_taken_anew(lock: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with locks.exclusive(lock, "it"), locks.try_exclusive(lock) as held:
            order.append(f"waited, {held}")

    with locks.exclusive(lock, "it"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        lock.rename(lock.with_name("old"))
        lock.write_text("")
    waiting.join(30)
    assert order == ["waited, False"]  # it holds the new one, so that cannot be had


def test_a_symlink_is_no_lock(lock: Path) -> None:
    victim = lock.with_name("victim")
    lock.symlink_to(victim)
    with pytest.raises(StateUnwritable), locks.exclusive(lock, "it"):
        pytest.fail("it followed the link")
    assert not victim.exists()


def test_a_lock_leaves_no_descriptor(lock: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with locks.exclusive(lock, "it"), pytest.raises(WorkspaceBusy), locks.exclusive(lock, "it", wait_s=0):
        pass
    assert len(os.listdir("/proc/self/fd")) == before
