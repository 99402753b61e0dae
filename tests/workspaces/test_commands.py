"""Running commands and their history: each has its own output and outcome, whoever dies meanwhile."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandlot.errors import (
    CommandInterrupted,
    CommandNotFound,
    StateUnwritable,
    UsageError,
    WorkspaceFailure,
    WorkspaceNotFound,
)
from sandlot.model.command import CommandState
from sandlot.sdk import Sandlot, Workspace
from sandlot.wire.frames import MAX_PAYLOAD
from sandlot.workspaces import command_files, commands
from tests.conftest import Cli, clean_environment
from tests.workspaces.conftest import agent_of, folder_of, kill_agent, wait_until


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def states(workspace: Workspace) -> list[str]:
    return [each.state.value for each in workspace.logs().commands]


def test_the_outcome_says_how_a_command_ended(workspace: Workspace) -> None:
    assert workspace.exec("exit 7").command.outcome.exit_code == 7  # type: ignore[union-attr]  # it has ended
    killed = workspace.exec("kill -SEGV $$")
    assert killed.command.outcome is not None
    assert (killed.command.state, killed.command.outcome.signal, killed.exit_status) == ("signaled", "SIGSEGV", 139)
    assert workspace.exec(["nothing-like-this"]).exit_status == 127
    assert workspace.exec(["/etc/passwd"]).exit_status == 126
    assert workspace.exec("true", cwd="/nowhere").exit_status == 127
    assert states(workspace) == ["exited", "signaled", "exited", "exited", "exited"]


def test_a_timeout_ends_the_whole_tree_and_keeps_what_was_printed(workspace: Workspace) -> None:
    script = "echo out; echo err >&2; (setsid sh -c 'sleep 1000; echo late' &); trap '' TERM; sleep 1000"
    done = workspace.exec(script, timeout=0.5)
    assert (done.command.state, done.exit_status) == (CommandState.TIMED_OUT, 124)
    assert (done.stdout.text, done.stderr.text) == ("out\n", "err\n")
    assert workspace.exec("pgrep sleep").stdout.text == ""
    assert workspace.logs(1).output == "out\n"


def test_output_arrives_while_the_command_runs(workspace: Workspace) -> None:
    seen: list[tuple[str, bytes]] = []
    done = workspace.exec(
        "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three", on_output=lambda *s: seen.append(s)
    )
    assert b"".join(data for stream, data in seen if stream == "stdout") == b"one\nthree\n"
    assert b"".join(data for stream, data in seen if stream == "stderr") == b"two\n"
    assert len(seen) == 3
    assert done.stdout.text == "one\nthree\n"


def test_a_long_output_is_cut_in_the_answer_and_whole_in_the_logs(workspace: Workspace) -> None:
    done = workspace.exec("seq 100000", max_output=1000)
    assert done.stdout.truncated
    assert done.stdout.lost_bytes == 0
    assert done.stdout.text.startswith("1\n2\n")
    assert done.stdout.text.endswith("99999\n100000\n")
    assert "bytes left out" in done.stdout.text
    whole, offset = "", 0
    while True:
        part = workspace.logs(1, offset=offset, limit=100_000)
        whole += part.output or ""
        if part.next_offset is None:
            break
        offset = part.next_offset
    assert whole == "".join(f"{number}\n" for number in range(1, 100001))


def test_bytes_that_are_not_text_are_no_failure(workspace: Workspace) -> None:
    done = workspace.exec("printf '\\377\\000x'")
    assert (done.stdout.text, done.stdout.total_bytes) == ("\ufffd\0x", 3)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ([], {}), ([""], {}), (["a\0b"], {}), (["true"], {"cwd": "a\0b"}), (["true"], {"env": {"a=b": "c"}}),
        (["true"], {"env": {"": "c"}}), (["true"], {"env": {"a": "\0"}}), (["x" * MAX_PAYLOAD], {}),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_and_leaves_no_trace_of_a_run(
    workspace: Workspace, command: list[str], options: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        workspace.exec(command, **options)  # type: ignore[arg-type]  # wrong on purpose
    assert [each.outcome is not None for each in workspace.logs().commands] in ([], [True])
    assert workspace.exec("echo fine").stdout.text == "fine\n"


# --- in the background --------------------------------------------------------------------------------------------


def test_a_background_command_is_read_waited_for_and_killed(workspace: Workspace) -> None:
    first = workspace.exec("echo begun; sleep 1000", background=True).command
    second = workspace.exec("sleep 0.1; echo done; exit 4", background=True).command
    assert (first.state, second.state) == (CommandState.RUNNING, CommandState.RUNNING)
    assert [each.number for each in workspace.status().running] == [1, 2]
    ended = workspace.wait(second.number)
    assert (ended.stdout.text, ended.exit_status) == ("done\n", 4)
    unfinished = workspace.wait(first.number, timeout=0.2)
    assert (unfinished.command.state, unfinished.stdout.text) == (CommandState.RUNNING, "begun\n")
    killed = workspace.kill(first.number)
    assert killed.state is CommandState.KILLED
    assert workspace.kill(first.number) == killed
    assert workspace.wait(first.number).command == killed
    assert states(workspace) == ["killed", "exited"]


def test_a_signal_reaches_the_command_alone(workspace: Workspace) -> None:
    number = workspace.exec(
        "trap 'echo heard' USR1; echo ready; while :; do sleep 0.01; done", background=True
    ).command.number
    wait_until(lambda: workspace.logs(number).output == "ready\n", "it does not start")
    workspace.kill(number, signal="USR1")
    wait_until(lambda: workspace.logs(number).output == "ready\nheard\n", "the signal did not arrive")
    assert workspace.status().running[0].number == number


def test_a_command_that_does_not_exist_is_a_clear_error(workspace: Workspace) -> None:
    for use in (workspace.wait, workspace.kill, workspace.logs):
        with pytest.raises(CommandNotFound):
            use(1)


def test_a_background_command_outlives_the_one_who_started_it(cli: Cli, workspace: Workspace) -> None:
    done = cli("workspace", "exec", workspace.id, "--background", "--", "sh", "-c", "sleep 0.3; echo later")
    assert done.returncode == 0
    assert workspace.wait(1).stdout.text == "later\n"


# --- history ------------------------------------------------------------------------------------------------------


def test_history_is_numbered_paged_and_searched(workspace: Workspace) -> None:
    for number in range(1, 8):
        workspace.exec(f"echo output-{number}; echo error-{number * 11} >&2")
    page = workspace.logs(count=3)
    assert ([each.number for each in page.commands], page.next_after) == ([1, 2, 3], 3)
    page = workspace.logs(count=3, after=6)
    assert ([each.number for each in page.commands], page.next_after) == ([7], None)
    assert [each.number for each in workspace.logs(search="error-77").commands] == [7]
    assert workspace.logs(4, stream="stderr").output == "error-44\n"


def test_history_survives_stop_reset_and_the_end_of_the_client(sandlot: Sandlot, state_dir: Path) -> None:
    workspace = sandlot.create()
    workspace.exec("echo before")
    workspace.stop()
    workspace.reset()
    workspace.exec("echo after")
    with Sandlot(state_dir) as other:
        again = other.get(workspace.id)
        assert [each.number for each in again.logs().commands] == [1, 2]
        assert (again.logs(1).output, again.logs(2).output) == ("before\n", "after\n")


@pytest.mark.parametrize("end", ["stop", "reset", "kill", "delete"])
def test_a_command_whose_workspace_ends_is_interrupted_and_its_output_kept(
    sandlot: Sandlot, workspace: Workspace, end: str
) -> None:
    started = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            workspace.exec("trap '' TERM; echo partial; while :; do sleep 1; done", on_output=lambda *_: started.set())
        except BaseException as error:
            errors.append(error)

    client = threading.Thread(target=run)
    client.start()
    assert started.wait(60)
    if end == "kill":
        kill_agent(workspace)
    else:
        {"stop": workspace.stop, "reset": workspace.reset, "delete": workspace.delete}[end]()
    client.join(60)
    assert [type(error) for error in errors] == [CommandInterrupted], errors
    if end != "delete":
        assert states(workspace) == ["interrupted"]
        assert workspace.logs(1).output == "partial\n"
        assert workspace.exec("echo fine").stdout.text == "fine\n"


@pytest.mark.parametrize("end", ["stop", "reset", "kill", "delete"])
def test_a_file_operation_whose_workspace_ends_is_interrupted_and_done_completely_or_not_at_all(
    workspace: Workspace, end: str
) -> None:
    actions = {"stop": workspace.stop, "reset": workspace.reset, "delete": workspace.delete}

    done = threading.Event()

    class Ending(io.BytesIO):
        """Content in the midst of which the workspace ends: more than a pipe holds, so somebody inside has begun."""

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(1 << 16)
            if not data:
                actions.get(end, lambda: kill_agent(workspace))()
                done.set()
            return data

    workspace.files.write("file", "before")
    with pytest.raises(CommandInterrupted):
        workspace.files.write("file", Ending(b"x" * (1 << 20)))
    assert done.wait(60)
    if end != "delete":
        assert workspace.exec("cat file; ls -A").stdout.text == ("" if end == "reset" else "beforefile\n")


def test_a_command_whose_supervisor_is_killed_is_interrupted_and_does_not_go_on(workspace: Workspace) -> None:
    number = workspace.exec("echo $$; (sleep 0.5; echo late > late) & sleep 1000", background=True).command.number
    wait_until(lambda: workspace.logs(number).output != "", "it does not start")
    (worker,) = children(agent_of(workspace))
    os.kill(worker, signal.SIGKILL)
    assert workspace.wait(number, timeout=60).command.state is CommandState.INTERRUPTED
    wait_until(lambda: workspace.exec("pgrep sleep").stdout.text == "", "its processes go on")
    assert workspace.exec("ls").stdout.text == ""


@pytest.mark.parametrize("moment", ["started", "printing"])
def test_a_command_in_the_foreground_ends_with_its_caller(workspace: Workspace, state_dir: Path, moment: str) -> None:
    """However early or late the caller dies: nobody waits for the command, so it must not go on."""
    die = "os.kill(os.getpid(), 9)"
    script = (
        "import os, sys\nfrom sandlot.sdk import Sandlot\nfrom sandlot.runtimes.channel import Channel\n"
        "workspace = Sandlot(sys.argv[1]).get(sys.argv[2])\n"
        + (f"Channel.receive = lambda *_: {die}\n" if moment == "started" else "")
        + f"workspace.exec('while :; do echo x; done', on_output=lambda *_: {die})"
    )
    argv = [sys.executable, "-c", script, str(state_dir), workspace.id]
    killed = subprocess.run(argv, env=clean_environment(state_dir), check=False)
    assert killed.returncode == -signal.SIGKILL
    wait_until(lambda: not workspace.status().running, "the command goes on")
    assert states(workspace) in (["killed"], ["interrupted"])
    assert workspace.exec(["pgrep", "-f", "[w]hile :"]).stdout.text == ""


def test_a_command_that_only_printed_a_little_ends_with_its_caller(workspace: Workspace, state_dir: Path) -> None:
    script = (
        "import os, sys\nfrom sandlot.sdk import Sandlot\n"
        "Sandlot(sys.argv[1]).get(sys.argv[2]).exec('echo x; sleep 1000', on_output=lambda *_: os.kill(os.getpid(), 9))"
    )
    argv = [sys.executable, "-c", script, str(state_dir), workspace.id]
    subprocess.run(argv, env=clean_environment(state_dir), check=False)
    ended = workspace.wait(1, timeout=60)
    assert (ended.command.state, ended.stdout.text) == (CommandState.KILLED, "x\n")


def test_a_command_on_its_way_to_the_agent_is_running_however_long_that_takes(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client's look at the history must not settle what has not even begun."""
    from sandlot.runtimes.channel import Channel

    send = Channel.send
    looks = []

    def slowly(self: Channel, kind: int, *rest: object) -> None:
        if rest and len(rest) == 2:  # descriptors: a command
            monkeypatch.setattr(commands, "datetime", Later)
            looks.append(workspace.status().running[0].state)
        send(self, kind, *rest)  # type: ignore[arg-type]  # whatever it was given

    class Later(datetime):
        """The wall clock, a day ahead."""

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # as it is called
            return datetime(2100, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(Channel, "send", slowly)
    done = workspace.exec("echo once")
    assert looks == [CommandState.RUNNING]
    assert (done.command.state, done.stdout.text) == (CommandState.EXITED, "once\n")


def test_a_command_whose_caller_died_before_it_was_sent_never_runs_and_is_interrupted(
    workspace: Workspace, state_dir: Path
) -> None:
    script = (
        "import os, sys\nfrom sandlot.sdk import Sandlot\nfrom sandlot.workspaces import commands\n"
        "commands._Run.carry_out = lambda *_: os.kill(os.getpid(), 9)\n"
        "Sandlot(sys.argv[1]).get(sys.argv[2]).exec('touch ran')"
    )
    argv = [sys.executable, "-c", script, str(state_dir), workspace.id]
    subprocess.run(argv, env=clean_environment(state_dir), check=False)
    assert states(workspace) == ["interrupted"]
    assert workspace.exec("ls").stdout.text == ""


def test_a_number_whose_folder_was_left_by_a_killed_caller_is_used_again(workspace: Workspace) -> None:
    left = folder_of(workspace) / "commands" / "1"
    left.mkdir()
    for name in ("stdout", "exit", "more"):
        (left / name).write_text("left over")
    done = workspace.exec("echo fresh")
    assert (done.command.number, done.stdout.text) == (1, "fresh\n")


def test_an_instance_that_goes_while_a_client_connects_is_met_anew(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says it runs, the socket says otherwise: as at the moment of an idle stop or a reset."""
    from sandlot.workspaces import lifecycle

    ensure = lifecycle.ensure_running
    moments = iter([lambda: kill_agent(workspace), workspace.reset])

    def then_it_goes(*arguments: object) -> object:
        record = ensure(*arguments)  # type: ignore[arg-type]  # whatever it was given
        next(moments, lambda: None)()
        return record

    workspace.exec("true")
    monkeypatch.setattr(lifecycle, "ensure_running", then_it_goes)
    assert workspace.exec("echo met").stdout.text == "met\n"
    assert states(workspace) == ["exited", "exited"]


def test_output_that_cannot_be_written_is_an_error_in_words(workspace: Workspace) -> None:
    folder = folder_of(workspace) / "commands"
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder")
    with pytest.raises(StateUnwritable, match="commands"):
        workspace.exec("true")
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    assert workspace.exec("echo fine").stdout.text == "fine\n"


def test_a_workspace_deleted_just_before_its_command_starts_is_not_found(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = command_files.CommandFiles.make

    def too_late(self: command_files.CommandFiles, folder: Path) -> None:
        folder.parent.rename(state_dir / "gone")
        try:
            make(self, folder)
        finally:
            (state_dir / "gone").rename(folder.parent)

    monkeypatch.setattr(command_files.CommandFiles, "make", too_late)
    with pytest.raises(WorkspaceNotFound):
        workspace.exec("true")
    monkeypatch.undo()
    assert states(workspace) == []


def test_an_agent_that_hangs_is_called_unresponsive_and_reset_helps(workspace: Workspace) -> None:
    assert workspace.status().responsive
    pid = agent_of(workspace)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not workspace.status().responsive
    finally:
        if os.path.exists(f"/proc/{pid}"):
            workspace.reset()
    assert workspace.status().responsive
    assert workspace.exec("echo fine").stdout.text == "fine\n"


def test_a_full_queue_of_connections_is_waited_for(workspace: Workspace) -> None:
    """More clients at once than the agent's socket queues."""
    import socket

    pid = agent_of(workspace)
    os.kill(pid, signal.SIGSTOP)
    waiting = []
    try:
        for _ in range(200):
            each = socket.socket(socket.AF_UNIX)
            each.setblocking(False)
            waiting.append(each)
            try:
                each.connect(str(folder_of(workspace) / "g1" / "agent.sock"))
            except BlockingIOError:
                break
        else:
            pytest.fail("the queue has no end")
        threading.Timer(0.3, os.kill, (pid, signal.SIGCONT)).start()
        assert workspace.exec("echo fine").stdout.text == "fine\n"
    finally:
        os.kill(pid, signal.SIGCONT)
        for each in waiting:
            each.close()


def test_a_failing_workspace_is_never_a_failing_command(sandlot: Sandlot, cli: Cli, workspace: Workspace) -> None:
    done = cli("workspace", "exec", workspace.id, "--", "sh", "-c", "kill -9 -1; exit 1")
    assert done.returncode == 125
    assert b"error: " in done.stderr
    with pytest.raises(WorkspaceFailure):
        workspace.exec("kill -9 -1; exit 1")
    assert workspace.exec("echo fine").stdout.text == "fine\n"
