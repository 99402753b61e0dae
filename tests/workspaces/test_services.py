"""Services: started, ready, restarted, stopped; whatever happens to them, their state and its reason are true."""

from __future__ import annotations

import re

import pytest

from sandlot.errors import NameTaken, ServiceNotFound, UsageError
from sandlot.model.command import CommandKind, CommandState
from sandlot.model.service import Restart, RestartPolicy, ServiceState
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import services
from tests.workspaces.conftest import record_of, wait_until
from tests.workspaces.service_scenes import FOREVER, STUBBORN, in_background, nothing_left, state

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
    # Two of its processes while the one in the middle has not ended yet.
    assert re.fullmatch(
        "it exited with 0 before it was ready while [12] of its processes went on; they were ended; "
        "a service has to stay in the foreground",
        str(done.service.reason),
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
