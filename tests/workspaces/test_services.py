"""Services: started, ready, restarted, stopped; whatever happens to them, their state and its reason are true."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot import AsyncSandlot
from sandlot.errors import NameTaken, ServiceNotFound, UsageError, WorkspaceNotFound
from sandlot.model.command import CommandKind, CommandState
from sandlot.model.service import Readiness, ReadyCheck, Restart, RestartPolicy, ServiceInfo, ServiceState
from sandlot.runtimes.channel import Channel
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import service_reports, services
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.conftest import LEFT
from tests.workspaces.conftest import kill_agent, record_of, wait_until

FOREVER = ["sleep", "1000"]
STUBBORN = "trap '' TERM; echo up; while :; do sleep 1000; done"


def state(workspace: Workspace, name: str) -> tuple[str, str]:
    service = workspace.services.status(name).service
    return service.state.value, service.reason


def nothing_left(workspace: Workspace) -> bool:
    return workspace.exec(LEFT).stdout.text == ""


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def pid_of(workspace: Workspace, expression: str) -> int:
    return int(workspace.exec(expression).stdout.text)


# Starting and readiness


def test_a_web_server_is_ready_when_it_answers_and_another_command_reaches_it(workspace: Workspace) -> None:
    workspace.files.write("index.html", "hello\n")
    started = workspace.services.start(
        "web", ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"], ready_http="http://127.0.0.1:8000/"
    )
    service = started.service
    assert (service.state, service.reason, service.restarts, service.number) == (ServiceState.READY, "", 0, 1)
    assert started.ok
    assert service.pid
    assert service.ready_at
    assert service.since == service.ready_at
    fetch = "from urllib.request import urlopen as u; print(u('http://127.0.0.1:8000/').read().decode(), end='')"
    assert workspace.exec(["python3", "-c", fetch]).stdout.text == "hello\n"
    assert workspace.services.list() == [service]
    assert workspace.services.logs("web").stdout.startswith("Serving HTTP")  # nothing waits in a buffer
    assert workspace.services.logs("web", tail=1, stream="stderr").stderr.count("GET /") == 1


@pytest.mark.parametrize(
    ("command", "check"),
    [
        ("sleep 0.1; touch here; exec sleep 1000", {"ready_file": "here"}),
        ("sleep 0.1; mkdir /tmp/x; exec sleep 1000", {"ready_command": ["test", "-d", "/tmp/x"]}),
        (
            "exec python3 -c 'import socket, time; s = socket.create_server((\"\", 7777)); time.sleep(1000)'",
            {"ready_tcp": 7777},
        ),
    ],
)
def test_each_check_is_made_inside_and_in_the_folder_of_the_service(
    workspace: Workspace, command: str, check: dict[str, object]
) -> None:
    workspace.exec("mkdir sub")
    service = workspace.services.start("s", command, cwd="sub", **check).service  # type: ignore[arg-type]  # one of several
    assert (service.state, service.reason) == ("ready", "")
    assert workspace.services.stop("s").service.state == "stopped"
    assert nothing_left(workspace)


def test_one_that_never_gets_ready_is_ended_and_says_what_was_wrong_last(workspace: Workspace) -> None:
    done = workspace.services.start("s", "echo trying; exec sleep 1000", ready_tcp="127.0.0.1:9", ready_timeout=0.3)
    assert not done.ok
    assert done.service.state == "failed"
    assert done.service.reason == "not ready within 0.3 s: 127.0.0.1 port 9: connection refused"
    assert done.stdout.text == "trying\n"
    assert workspace.logs().commands[0].state is CommandState.TIMED_OUT
    assert nothing_left(workspace)


def test_a_check_that_hangs_is_no_reason_to_wait_longer(workspace: Workspace) -> None:
    done = workspace.services.start("s", FOREVER, ready_command="sleep 1000; true", ready_timeout=0.3)
    assert (done.service.state, done.service.reason) == ("failed", "not ready within 0.3 s: no answer within 0.3 s")
    assert nothing_left(workspace)


def test_while_it_starts_its_status_says_so_and_why(workspace: Workspace) -> None:
    service = workspace.services.start("s", FOREVER, ready_file="here", wait=False).service
    assert service.state == "starting"
    wait_until(lambda: state(workspace, "s")[1] == "not ready yet: here: No such file or directory", "no reason")
    workspace.exec("touch here")
    wait_until(lambda: state(workspace, "s")[0] == "ready", "not ready")


def test_without_a_check_it_runs(workspace: Workspace) -> None:
    service = workspace.services.start("s", FOREVER).service
    assert (service.state, service.ready_at) == ("running", None)


# Ends


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo out; echo err >&2; exit 3", ("failed", "it exited with 3", 3, None)),
        ("kill -SEGV $$", ("failed", "it was ended by SIGSEGV", None, "SIGSEGV")),
        ("exit 0", ("exited", "it exited with 0", 0, None)),
        (["nosuch"], ("failed", "it cannot be started: nosuch: command not found", 127, None)),
        (["/etc/passwd"], ("failed", "it cannot be started: /etc/passwd: Permission denied", 126, None)),
        (
            "(setsid sleep 1000 &); exit 0",
            (
                "exited",
                "it exited with 0 while 1 of its processes went on; they were ended; a service has to stay in the "
                "foreground",
                0,
                None,
            ),
        ),
        (
            "sleep 1000 & exit 2",
            ("failed", "it exited with 2 while 1 of its processes went on; they were ended", 2, None),
        ),
    ],
)  # fmt: skip
def test_one_that_ends_at_once_is_seen_by_its_start(
    workspace: Workspace, command: str | list[str], expected: tuple[str, str, int | None, str | None]
) -> None:
    done = workspace.services.start("s", command, restart="on-failure" if command == ["nosuch"] else "none")
    service = done.service
    assert (service.state.value, service.reason, service.exit_code, service.signal) == expected
    assert service.pid is None
    assert not done.ok
    assert workspace.services.list() == [service]
    assert workspace.services.status("s").service == service
    assert nothing_left(workspace)


DAEMON = """
import os, socket, time
listening = socket.create_server(("127.0.0.1", 7777))
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.chdir("/")
os.execvp("sleep", ["sleep", "1000"])
"""


def test_one_that_makes_itself_a_daemon_is_over_and_holds_nothing(workspace: Workspace) -> None:
    done = workspace.services.start("s", ["python3", "-c", DAEMON], ready_tcp=7778)
    assert done.service.state == "exited"
    assert done.service.reason == (
        "it exited with 0 before it was ready while 1 of its processes went on; they were ended; "
        "a service has to stay in the foreground"
    )
    assert nothing_left(workspace)
    again = workspace.services.start("s", ["python3", "-c", DAEMON], ready_tcp=7778)  # the port is free again
    assert again.service.state == "exited"


def test_what_it_printed_last_is_part_of_the_answer(workspace: Workspace) -> None:
    done = workspace.services.start("s", "seq 100; echo err >&2; exit 3")
    assert done.stdout.text == "".join(f"{number}\n" for number in range(81, 101))
    assert done.stdout.truncated
    assert done.stderr.text == "err\n"


def test_one_that_dies_later_is_known_to_have_died_at_once(workspace: Workspace) -> None:
    service = workspace.services.start("s", FOREVER).service
    workspace.exec(["kill", "-9", str(service.pid)])
    wait_until(lambda: state(workspace, "s") == ("failed", "it was ended by SIGKILL"), "still said to run")
    assert workspace.status().services[0].state == "failed"
    assert workspace.logs().commands[0].state is CommandState.SIGNALED


def test_a_stop_ends_the_whole_tree_and_gives_it_time(workspace: Workspace) -> None:
    # The main process ends at once, its child needs a moment; a third one has left for a session of its own.
    script = "(trap 'sleep 0.2; echo saved; exit' TERM; sleep 1000 & wait) & setsid sleep 1000 & echo up; wait"
    workspace.services.start("s", script, ready_command="pgrep sleep")
    stopped = workspace.services.stop("s", grace=30)
    assert (stopped.service.state, stopped.service.reason) == ("stopped", "it was stopped")
    assert stopped.stdout.text == "up\nsaved\n"
    assert nothing_left(workspace)
    assert workspace.services.stop("s").service == stopped.service
    assert workspace.logs().commands[0].state is CommandState.KILLED


def test_what_ignores_a_stop_is_killed_after_the_grace(workspace: Workspace) -> None:
    workspace.services.start("s", STUBBORN, ready_command="pgrep sleep")
    assert workspace.services.stop("s", grace=0.1).service.state == "stopped"
    assert nothing_left(workspace)


def test_killing_its_command_stops_it(workspace: Workspace) -> None:
    service = workspace.services.start("s", FOREVER, restart="on-failure").service
    assert workspace.kill(service.number).state is CommandState.KILLED
    assert state(workspace, "s") == ("stopped", "it was killed")


# Restarts


def test_a_failure_is_followed_by_as_many_restarts_as_asked_for(workspace: Workspace) -> None:
    done = workspace.services.start(
        "s", "echo run; exit 1", restart="on-failure", max_restarts=2, backoff=0.02, ready_file="never"
    )
    assert (done.service.state, done.service.restarts) == ("failed", 2)
    assert done.service.reason == "it exited with 1 before it was ready; it was restarted 2 times in a row"
    assert done.stdout.text == "run\nrun\nrun\n"  # all runs write to the same files


def test_the_pause_before_a_restart_grows_and_is_told(workspace: Workspace) -> None:
    workspace.services.start("s", "exit 1", restart="on-failure", backoff=0.05, max_restarts=30, wait=False)
    wait_until(lambda: "restart 3 of 30 in 0.2 s" in state(workspace, "s")[1], "never the third restart")
    service = workspace.services.status("s").service
    assert (service.state, service.pid, service.exit_code) == ("restarting", None, 1)
    assert workspace.services.stop("s").service.state == "stopped"


def test_one_that_gets_well_is_ready(workspace: Workspace) -> None:
    script = "echo x >> runs; test $(wc -l < runs) -ge 3 || exit 1; touch fine; exec sleep 1000"
    service = workspace.services.start("s", script, restart="on-failure", backoff=0.02, ready_file="fine").service
    assert (service.state, service.restarts, service.reason) == ("ready", 2, "")


def test_not_getting_ready_is_a_failure_like_another(workspace: Workspace) -> None:
    done = workspace.services.start(
        "s", "echo run; exec sleep 1000", restart="on-failure", max_restarts=1, backoff=0.02, ready_file="never",
        ready_timeout=0.2,
    )  # fmt: skip
    reason = "not ready within 0.2 s: never: No such file or directory; it was restarted once"
    assert (done.service.state, done.service.reason, done.stdout.text) == ("failed", reason, "run\nrun\n")


def test_after_a_time_of_running_well_restarts_are_counted_anew(sandlot: Sandlot, workspace: Workspace) -> None:
    policy = RestartPolicy(Restart.ON_FAILURE, max_restarts=1, backoff_s=0.02, steady_s=0.1)
    script = "sleep 0.4; exit 1"
    services.start(sandlot._context, record_of(workspace), "s", ["sh", "-c", script], restart=policy)
    wait_until(lambda: workspace.services.status("s").service.restarts >= 3, "it gave up")
    assert workspace.services.stop("s").service.state == "stopped"


def test_leaving_with_0_is_no_failure(workspace: Workspace) -> None:
    service = workspace.services.start("s", "exit 0", restart="on-failure").service
    assert (service.state, service.restarts) == ("exited", 0)


def test_nothing_of_a_failed_run_is_in_the_way_of_the_next(workspace: Workspace) -> None:
    script = "echo $(pgrep -c sleep); setsid sleep 1000 & sleep 0.1; exit 1"
    done = workspace.services.start("s", script, restart="on-failure", max_restarts=1, backoff=0.02, ready_file="no")
    assert done.stdout.text == "0\n0\n"
    assert nothing_left(workspace)


# Names


def test_a_name_can_be_used_again_once_its_service_is_over(workspace: Workspace) -> None:
    first = workspace.services.start("s", FOREVER).service
    with pytest.raises(NameTaken) as taken:
        workspace.services.start("s", FOREVER)
    assert taken.value.hint == "sandlot workspace service stop ID s, or choose another name"
    workspace.services.stop("s")
    second = workspace.services.start("s", FOREVER).service
    assert second.number > first.number
    assert workspace.services.list() == [second]
    assert [each.state for each in workspace.services.list(all=True)] == ["stopped", "running"]
    assert [each.kind for each in workspace.logs().commands] == [CommandKind.SERVICE] * 2


def test_of_many_starts_of_one_name_at_the_same_time_one_succeeds(workspace: Workspace) -> None:
    starts = [in_background(lambda: workspace.services.start("s", FOREVER)) for _ in range(6)]
    for thread, _ in starts:
        thread.join(60)
    outcomes = [found[0] for _, found in starts]
    assert sum(isinstance(each, NameTaken) for each in outcomes) == 5
    assert workspace.exec("pgrep -c sleep").stdout.text == "1\n"
    assert len(workspace.logs().commands) == 2


def test_an_unknown_name_is_an_error_with_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(ServiceNotFound) as missing:
        workspace.services.status("web")
    assert missing.value.hint == "sandlot workspace service list ID"
    workspace.services.start("api", FOREVER)
    with pytest.raises(ServiceNotFound) as missing:
        workspace.services.stop("web")
    assert missing.value.hint == "its services: api"


@pytest.mark.parametrize("name", ["", "a b", "-x", "ws-1", "x" * 65, "ä", "a\n"])
def test_a_name_that_is_none_is_refused_before_anything_is_done(workspace: Workspace, name: str) -> None:
    with pytest.raises(UsageError):
        workspace.services.start(name, FOREVER)
    assert workspace.logs().commands == ()


# The workspace's own life


def test_a_stop_of_the_workspace_stops_its_services_and_they_say_so(workspace: Workspace) -> None:
    workspace.services.start("polite", FOREVER, restart="on-failure")
    workspace.services.start("stubborn", STUBBORN, ready_command="pgrep -f up", restart="on-failure")
    workspace.services.start("failing", "exit 1", restart="on-failure", backoff=20, wait=False)
    wait_until(lambda: state(workspace, "failing")[0] == "restarting", "it did not fail")
    workspace.stop()
    expected = ("stopped", "the workspace was stopped")
    assert [state(workspace, name) for name in ("polite", "stubborn", "failing")] == [expected] * 3
    assert workspace.status().workspace.state == "stopped"  # asking has started nothing
    assert workspace.services.start("polite", FOREVER).service.state == "running"


def test_a_reset_stops_services_and_they_say_so(workspace: Workspace) -> None:
    workspace.services.start("s", FOREVER)
    workspace.reset()
    assert state(workspace, "s") == ("stopped", "the workspace was reset")
    assert nothing_left(workspace)
    workspace.stop()
    assert state(workspace, "s") == ("stopped", "the workspace was reset")


def test_one_whose_workspace_was_killed_is_interrupted(workspace: Workspace) -> None:
    workspace.services.start("s", FOREVER)
    kill_agent(workspace)
    assert state(workspace, "s") == ("interrupted", "the workspace ended while it ran")
    workspace.reset()
    assert state(workspace, "s") == ("interrupted", "the workspace ended while it ran")


@pytest.mark.parametrize("restarted", [False, True])
def test_one_whose_supervisor_was_killed_is_interrupted_and_gone(workspace: Workspace, restarted: bool) -> None:
    script = "setsid sleep 1000 & echo $PPID > worker; exec sleep 1000"
    service = workspace.services.start("s", script, ready_file="worker", restart="on-failure", backoff=0.02).service
    if restarted:
        workspace.exec(["kill", "-9", str(service.pid)])
        wait_until(lambda: state(workspace, "s")[0] == "ready" and service.pid != pid(workspace), "not restarted")
    workspace.exec("kill -9 $(cat worker)")
    wait_until(lambda: state(workspace, "s")[0] == "interrupted", "said to run without a supervisor")
    assert state(workspace, "s")[1] == "its supervisor was killed, or could not write down how it ended"
    wait_until(lambda: nothing_left(workspace), "its processes go on")
    assert workspace.services.start("s", FOREVER).service.state == "running"


def pid(workspace: Workspace) -> int | None:
    return workspace.services.status("s").service.pid


def test_a_supervisor_cannot_be_ended_politely_or_paused(workspace: Workspace) -> None:
    script = "echo $PPID > worker; for each in TERM INT HUP QUIT PIPE STOP; do kill -$each $PPID; done; exec sleep 1000"
    workspace.services.start("s", script, ready_file="worker")
    assert state(workspace, "s") == ("ready", "")
    assert workspace.services.stop("s").service.state == "stopped"


def test_a_service_keeps_its_workspace_from_being_idle(sandlot: Sandlot) -> None:
    with sandlot.create(idle_timeout=1) as workspace:
        workspace.services.start("s", "sleep 2.5; exit 0", wait=False)
        wait_until(lambda: state(workspace, "s")[0] not in ("running", "starting"), "it goes on")
        assert state(workspace, "s") == ("exited", "it exited with 0")


# Starts that do not come to their end


def test_a_cancelled_start_leaves_nothing(workspace: Workspace) -> None:
    cancellation = Cancellation()
    thread, found = in_background(
        lambda: workspace.services.start("s", FOREVER, ready_file="never", cancellation=cancellation)
    )
    wait_until(lambda: [each.state.value for each in workspace.services.list()] == ["starting"], "not started")
    cancellation.cancel()
    thread.join(60)
    assert isinstance(found[0], Cancelled)
    assert state(workspace, "s") == ("stopped", "its start was cancelled")
    assert nothing_left(workspace)


def test_a_start_whose_task_is_cancelled_leaves_nothing(workspace: Workspace, state_dir: Path) -> None:
    async def scene() -> None:
        async with AsyncSandlot(state_dir) as sandlot:
            inside = await sandlot.get(workspace.id)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await inside.services.start("s", FOREVER, ready_file="never")
            assert [each.reason for each in await inside.services.list()] == ["its start was cancelled"]
            assert (await inside.services.start("t", FOREVER)).ok
            assert (await inside.services.logs("t")).stdout == ""
            assert (await inside.services.stop("t")).service.state == "stopped"

    asyncio.run(scene())
    assert nothing_left(workspace)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (Workspace.stop, ("stopped", "the workspace was stopped")),
        (Workspace.reset, ("stopped", "the workspace was reset")),
        (kill_agent, ("interrupted", "the workspace ended while it ran")),
    ],
)
def test_a_workspace_that_ends_ends_the_waiting_for_a_start(
    workspace: Workspace, end: Callable[[Workspace], None], expected: tuple[str, str]
) -> None:
    thread, found = in_background(lambda: workspace.services.start("s", FOREVER, ready_file="never").service)
    wait_until(lambda: [each.state.value for each in workspace.services.list()] == ["starting"], "not started")
    end(workspace)
    thread.join(60)
    service = found[0]
    assert isinstance(service, ServiceInfo)
    assert (service.state.value, service.reason) == expected


def test_a_workspace_that_is_deleted_ends_the_waiting_for_a_start(sandlot: Sandlot) -> None:
    workspace = sandlot.create()
    thread, found = in_background(lambda: workspace.services.start("s", FOREVER, ready_file="never"))
    wait_until(lambda: [each.state.value for each in workspace.services.list()] == ["starting"], "not started")
    workspace.delete()
    thread.join(60)
    assert isinstance(found[0], WorkspaceNotFound)


# Logs


def test_logs_are_followed_to_the_end_of_the_service(workspace: Workspace) -> None:
    script = "echo one; while ! test -e go; do sleep 0.01; done; echo two; echo err >&2; exit 3"
    workspace.services.start("s", script)
    seen: list[tuple[str, bytes]] = []

    def note(stream: str, data: bytes) -> None:
        seen.append((stream, data))
        if data == b"one\n":
            workspace.exec("touch go")

    service = workspace.services.follow("s", on_output=note)
    assert (service.state, service.reason) == ("failed", "it exited with 3")
    assert b"".join(data for stream, data in seen if stream == "stdout") == b"one\ntwo\n"
    assert b"".join(data for stream, data in seen if stream == "stderr") == b"err\n"
    again: list[tuple[str, bytes]] = []
    workspace.services.follow("s", on_output=lambda *piece: again.append(piece), tail=1, stream="stdout")
    assert again == [("stdout", b"two\n")]


@pytest.mark.parametrize("end", [Workspace.stop, Workspace.reset, kill_agent])
def test_following_ends_with_the_workspace(workspace: Workspace, end: Callable[[Workspace], None]) -> None:
    workspace.services.start("s", "echo one; exec sleep 1000")
    seen = threading.Event()
    thread, found = in_background(lambda: workspace.services.follow("s", on_output=lambda *_: seen.set()))
    assert seen.wait(60)
    end(workspace)
    thread.join(60)
    assert isinstance(found[0], ServiceInfo)
    assert found[0].state.over


def test_following_goes_on_when_the_worker_let_go_of_a_slow_follower(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.services.start("s", "echo one; while ! test -e go; do sleep 0.01; done; echo two; exit 0")
    receive, let_go = Channel.receive, threading.Event()

    def once_cut_off(channel: Channel, timeout_s: float | None = None) -> tuple[int, list[bytes]] | None:
        if timeout_s is None and not let_go.is_set():  # the waiting of a follower; to it this is the worker's end
            let_go.set()
            workspace.exec("touch go")
            return None
        return receive(channel, timeout_s)

    monkeypatch.setattr(Channel, "receive", once_cut_off)
    seen: list[bytes] = []
    service = workspace.services.follow("s", on_output=lambda _, data: seen.append(data))
    assert let_go.is_set()
    assert (service.state, b"".join(seen)) == ("exited", b"one\ntwo\n")


def test_a_secret_that_a_service_prints_is_in_none_of_its_answers_nor_on_disk(
    sandlot: Sandlot, workspace: Workspace
) -> None:
    value = "hunter2-hunter2-hunter2"
    workspace.secrets.set("API_KEY", value=value, reveal_only=True)
    script = (
        f'test "$API_KEY" = {value} || exit 9; echo got $API_KEY; printf hunter2-; sleep 0.1; '
        "printf hunter2-; sleep 0.1; echo hunter2; echo $API_KEY >&2; touch printed; exec sleep 1000"
    )
    done = workspace.services.start("s", script, ready_file="printed", reveal=["API_KEY"])
    assert done.ok
    followed: list[bytes] = []
    seen = threading.Event()

    def note(_: str, data: bytes) -> None:
        followed.append(data)
        seen.set()

    thread, _ = in_background(lambda: workspace.services.follow("s", on_output=note))
    assert seen.wait(60)
    shown = [done, workspace.services.status("s"), workspace.services.logs("s"), workspace.services.list()]
    shown += [workspace.status(), workspace.logs(), workspace.services.stop("s"), workspace.summary()]
    thread.join(60)
    assert b"got *******" in b"".join(followed)
    assert value not in repr(shown) + repr(followed)
    folder = sandlot._context.paths.workspace(workspace.id).command(done.service.number)
    assert all(value.encode() not in (folder / name).read_bytes() for name in ("stdout", "stderr", "exit"))


def test_following_can_be_cancelled_and_the_service_goes_on(workspace: Workspace) -> None:
    workspace.services.start("s", "echo one; exec sleep 1000")
    cancellation = Cancellation()
    seen = threading.Event()
    thread, found = in_background(
        lambda: workspace.services.follow("s", on_output=lambda *_: seen.set(), cancellation=cancellation)
    )
    assert seen.wait(60)
    cancellation.cancel()
    thread.join(60)
    assert isinstance(found[0], Cancelled)
    assert state(workspace, "s")[0] == "running"


def test_of_an_endless_log_the_beginning_and_the_present_end_can_be_read(
    sandlot: Sandlot, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDLOT_OUTPUT_QUOTA", "100K")
    with Sandlot(sandlot._context.paths.state) as small:
        inside = small.get(workspace.id)
        script = "echo begin; seq 100000; echo end; touch printed; exec sleep 1000"
        inside.services.start("s", script, ready_file="printed")
        wait_until(lambda: inside.services.logs("s", tail=1).stdout == "end\n", "the end is not there")
        assert inside.services.logs("s", limit=1 << 20).stdout.startswith("begin\n1\n2\n")
        passed: list[bytes] = []
        thread, _ = in_background(lambda: inside.services.follow("s", on_output=lambda _, data: passed.append(data)))
        wait_until(lambda: bool(passed), "nothing passed on")
        inside.services.stop("s")
        thread.join(60)
        assert inside.services.logs("s", tail=2).stdout == "100000\nend\n"


@pytest.mark.parametrize(
    ("text", "count", "begins"),
    [(b"", 3, 0), (b"a\nb\n", 0, 4), (b"a\nb\n", 1, 2), (b"a\nb", 1, 2), (b"a\nb\n", 9, 0), (b"\n\n", 1, 1)],
)
def test_the_last_lines_begin_behind_the_line_before(tmp_path: Path, text: bytes, count: int, begins: int) -> None:
    (tmp_path / "stdout").write_bytes(text)
    assert service_reports.last_lines(tmp_path, "stdout", count) == begins


# Limits of the machine


def test_a_service_that_floods_its_output_blocks_nobody(workspace: Workspace) -> None:
    workspace.services.start("s", "exec yes " + "x" * 1000, wait=False)
    assert workspace.exec("echo hello").stdout.text == "hello\n"
    assert state(workspace, "s")[0] == "running"
    assert workspace.services.stop("s").service.state == "stopped"
    assert nothing_left(workspace)


def test_many_services_at_once_are_all_told_apart(workspace: Workspace) -> None:
    threads = [
        in_background(lambda n=n: workspace.services.start(f"s{n}", f"touch r{n}; exec sleep 1000", ready_file=f"r{n}"))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        for n in range(12)
    ]
    for thread, _ in threads:
        thread.join(60)
    assert {each.state.value for each in workspace.services.list()} == {"ready"}
    assert len({each.pid for each in workspace.services.list()}) == 12
    workspace.services.stop("s7")
    assert sorted(each.name for each in workspace.services.list() if each.state.over) == ["s7"]


def test_without_an_agent_that_answers_the_state_is_unknown(
    sandlot: Sandlot, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.services.start("s", FOREVER)
    monkeypatch.setattr(services, "RESPONSIVE_S", 0.2)
    instance = record_of(workspace).instance
    assert instance is not None
    os.kill(instance.agent_pid, signal.SIGSTOP)
    try:
        assert state(workspace, "s") == ("unknown", "the workspace's agent does not answer")
    finally:
        os.kill(instance.agent_pid, signal.SIGCONT)
    assert state(workspace, "s")[0] == "running"


def test_a_check_needs_all_of_its_words(sandlot: Sandlot, workspace: Workspace) -> None:
    readiness = Readiness(ReadyCheck.TCP, ("localhost",))
    with pytest.raises(UsageError):
        services.start(sandlot._context, record_of(workspace), "s", FOREVER, readiness=readiness)
    assert nothing_left(workspace)
