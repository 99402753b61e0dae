"""Cases 9 and 10: what eats, multiplies or kills is bounded, named, and gone at the end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandlot.errors import CommandInterrupted
from sandlot.model.command import CommandState
from sandlot.model.workspace import Instance, WorkspaceState
from sandlot.process import ProcessIdentity
from sandlot.runtimes.conformance_guest import eventually
from sandlot.sdk import Sandlot, Workspace
from tests.conftest import GUESTS

BOMB = int(os.environ.get("SANDLOT_TEST_BOMB", "50" if GUESTS else "300"))
BOMB_S = 60 if GUESTS else 6
"""Starting a process takes an emulated guest forty times as long."""
OUTPUT = 100_000_000


def instance(sandlot: Sandlot, workspace: Workspace) -> Instance:
    found = sandlot._context.store.find(workspace.id).instance
    assert found is not None
    return found


def members(sandlot: Sandlot, workspace: Workspace) -> Callable[[], list[int]]:
    """Who lives in the agent's pid namespace, seen from the host, also after the agent is gone.

    Who lives in a guest can only be asked inside; nobody does when the guest is gone.
    """
    there = instance(sandlot, workspace)
    agent = there.agent_pid
    if GUESTS:

        def ask() -> list[int]:
            if not ProcessIdentity(agent, there.agent_start, there.boot).alive():
                return []
            pids = [int(pid) for pid in workspace.exec("echo /proc/[0-9]*").stdout.text.replace("/proc/", "").split()]
            return sorted(pids)[:-2]  # but those of this very command

        return ask
    namespace = os.readlink(f"/proc/{agent}/ns/pid")

    def look() -> list[int]:
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                    if os.readlink(f"/proc/{name}/ns/pid") == namespace and state not in "ZX":
                        found.append(int(name))
                except OSError:
                    continue
        return found

    return look


def test_a_fork_bomb_is_ended_by_its_timeout(sandlot: Sandlot, workspace: Workspace) -> None:
    look = members(sandlot, workspace)
    bomb = f"n=0; while [ $n -lt {BOMB} ]; do (setsid sleep 1000 &) ; n=$((n+1)); done; echo all; sleep 1000"
    heard = threading.Event()
    done = workspace.exec(bomb, timeout=BOMB_S, on_output=lambda _stream, data: heard.set() if b"all" in data else None)
    assert heard.is_set()
    assert done.command.state is CommandState.TIMED_OUT
    assert done.exit_status == 124
    assert done.stdout.text == "all\n"
    eventually(lambda: len(look()) == 1, "only the agent is left")
    assert workspace.exec("echo fine").stdout.text == "fine\n"


def test_a_hundred_megabytes_without_a_newline_are_an_answer_of_bounded_size(workspace: Workspace) -> None:
    done = workspace.exec(f"head -c {OUTPUT} /dev/zero | tr '\\0' x; printf END", max_output=10_000)
    assert done.stdout.truncated
    assert done.stdout.total_bytes == OUTPUT + 3
    assert len(done.stdout.text) < 11_000
    assert done.stdout.text.endswith("END")


def test_output_beyond_the_quota_is_counted_and_not_kept(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDLOT_OUTPUT_QUOTA", "1M")
    with Sandlot(state_dir) as made, made.create() as workspace:
        done = workspace.exec("head -c 20000000 /dev/zero | tr '\\0' x; printf END")
        assert done.stdout.total_bytes == 20_000_003
        assert done.stdout.lost_bytes > 18_000_000
        assert done.stdout.text.endswith("END")
        folder = made._context.paths.workspace(workspace.id).command(done.command.number)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 1 << 21


@pytest.mark.parametrize("end", ["stop", "reset", "delete"])
def test_endless_background_children_are_gone_at_the_end(sandlot: Sandlot, workspace: Workspace, end: str) -> None:
    look = members(sandlot, workspace)
    deaf = "setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' >/dev/null 2>&1 &"
    workspace.exec(
        f"for n in 1 2 3 4 5; do {deaf} done; " + "(nohup setsid sleep 1000 >/dev/null 2>&1 &) ; (setsid sleep 1000 &)"
    )
    eventually(lambda: len(look()) > 7, "they all run")
    getattr(workspace, end)()
    assert look() == []


@pytest.fixture
def small(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace whose memory file systems hold little."""
    monkeypatch.setenv("SANDLOT_TMP_SIZE", "4M")
    with Sandlot(state_dir) as made, made.create() as workspace:
        yield workspace


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm", *([] if GUESTS else ["/run"])])
def test_memory_file_systems_are_full_at_their_size(small: Workspace, place: str) -> None:
    done = small.exec(f"head -c 200M /dev/zero > {place}/fill")
    assert done.exit_status != 0
    assert "No space left" in done.stderr.text
    assert int(small.exec(["stat", "-c", "%s", f"{place}/fill"]).stdout.text) <= 64 << 20
    assert small.exec("echo fine").stdout.text == "fine\n"


def test_the_read_only_places_cannot_be_filled(small: Workspace) -> None:
    for place in ("/", "/dev", "/etc", "/usr", "/var", "/home", "/proc", "/run/sandlot/lib"):
        done = small.exec(f"head -c 1M /dev/zero > {place}/fill")
        assert done.exit_status != 0, place


def test_running_out_of_descriptors_or_inodes_hits_only_the_command(small: Workspace) -> None:
    greedy = "import os, resource, signal\nresource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))\nkept = []\n"
    greedy += "try:\n while True: kept.append(os.pipe())\nexcept OSError as error: print(error.strerror, flush=True)\n"
    running = small.exec(["python3", "-c", greedy + "signal.pause()"], background=True)
    while "Too many" not in (small.logs(running.command.number).output or ""):
        assert small.status().running
    assert small.exec("echo fine").stdout.text == "fine\n"
    many = "import os\ntry:\n for number in range(100000): os.close(os.open('/tmp/%d' % number, os.O_CREAT))\n"
    small.exec(["python3", "-c", many + "except OSError as error: print(error.strerror)"], timeout=20)
    assert small.exec("echo fine").stdout.text == "fine\n"


@pytest.mark.parametrize("name", ["KILL", "TERM", "INT", "HUP", "STOP", "SEGV", "USR1", "CHLD"])
def test_the_agent_shrugs_off_every_signal_from_inside(sandlot: Sandlot, workspace: Workspace, name: str) -> None:
    before = instance(sandlot, workspace)
    workspace.exec(f"kill -{name} 1")
    assert workspace.exec("echo fine").stdout.text == "fine\n"
    assert workspace.status().workspace.state is WorkspaceState.RUNNING
    assert instance(sandlot, workspace) == before  # not a new one that was started instead


def test_killing_everything_inside_ends_this_command_and_no_other_workspace(
    sandlot: Sandlot, workspace: Workspace
) -> None:
    other = sandlot.create()
    running = other.exec(["sleep", "1000"], background=True)
    with pytest.raises(CommandInterrupted, match="supervisor"):
        workspace.exec("kill -9 -1; kill -9 $$")
    assert [record.state for record in workspace.logs().commands] == [CommandState.INTERRUPTED]
    assert workspace.exec("echo fine").stdout.text == "fine\n"
    assert [record.number for record in other.status().running] == [running.command.number]


def test_a_killed_workspace_says_so_and_works_again(sandlot: Sandlot, workspace: Workspace) -> None:
    workspace.exec("echo kept > kept; sync")
    started = threading.Event()
    agent = instance(sandlot, workspace).agent_pid
    raised: list[BaseException] = []

    def run() -> None:
        try:
            workspace.exec("echo up; sleep 1000", on_output=lambda *_: started.set())
        except CommandInterrupted as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(60)
    os.kill(agent, signal.SIGKILL)
    thread.join(60)
    assert [type(error) for error in raised] == [CommandInterrupted]
    assert "stopped" in str(raised[0])
    assert workspace.exec("cat kept").stdout.text == "kept\n"
