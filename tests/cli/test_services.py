"""Services from the command line: started, reached, read, followed, stopped; ctrl-C and kill -9 on the way."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sandlot.sdk import Sandlot, Workspace
from tests.cli.conftest import DEADLINE_S, Spawn
from tests.conftest import LEFT, Cli, CompletedProcess

SERVER = ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"]


def answer(done: CompletedProcess, status: int = 0) -> dict[str, Any]:
    assert done.returncode == status, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def state(workspace: Workspace) -> tuple[str, str]:
    found = workspace.services.list()
    return (found[0].state.value, found[0].reason) if found else ("none", "")


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


def test_a_server_is_started_reached_from_inside_and_from_the_host_read_and_stopped(cli: Cli, sandlot: Sandlot) -> None:
    workspace = sandlot.create(name="box", publish=[8000])
    workspace.files.write("index.html", "hello\n")
    started = cli(
        "workspace", "service", "start", "box", "web", "--ready-http", "http://127.0.0.1:8000/", "--", *SERVER
    )
    assert started.returncode == 0
    port = workspace.status().workspace.network.ports[0].host_port
    lines = started.stdout.decode().splitlines()
    assert "service      web (command 1)" in lines
    assert any(line.startswith("state        ready since ") for line in lines)
    assert f"published    127.0.0.1:{port} -> 8000" in lines
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE_S) as page:
        assert page.read() == b"hello\n"
    fetch = "from urllib.request import urlopen as u; print(u('http://127.0.0.1:8000/').read().decode(), end='')"
    assert workspace.exec(["python3", "-c", fetch]).stdout.text == "hello\n"
    told = answer(cli("workspace", "service", "status", "box", "web", "--json"))
    assert (told["service"]["state"], told["ports"]) == ("ready", [{"port": 8000, "host_port": port}])
    logs = cli("workspace", "service", "logs", "box", "web", "--tail", "1", "--stream", "stderr")
    assert logs.stderr.count(b"GET / HTTP") == 1
    assert "web: ready (python3 -m http.server" in cli("workspace", "status", "box").stdout.decode()
    listed = cli("workspace", "service", "list", "box").stdout.decode().splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["web", "ready"]]
    stopped = cli("workspace", "service", "stop", "box", "web")
    assert stopped.returncode == 0
    assert "reason       it was stopped" in stopped.stdout.decode().splitlines()
    assert "published" not in stopped.stdout.decode()  # nobody is there any more
    assert cli("workspace", "service", "status", "box", "web").returncode == 0  # that it is over is no error


def test_a_start_that_fails_says_how_and_exits_with_1(cli: Cli, workspace: Workspace) -> None:
    done = cli("workspace", "service", "start", workspace.id, "s", "-c", "echo no database >&2; exit 3")
    assert done.returncode == 1
    lines = done.stdout.decode().splitlines()
    assert "reason       it exited with 3" in lines
    assert "  no database" in lines
    told = answer(cli("workspace", "service", "start", workspace.id, "s", "--json", "--", "nosuch"), status=1)
    assert (told["service"]["state"], told["service"]["exit_code"]) == ("failed", 127)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["start", "ID", "s"], "give either a command behind -- or --shell"),
        (["start", "ID", "a b", "--", "true"], "a b"),
        (["start", "ID", "s", "--ready-tcp", "99999", "--", "true"], "names no port from 1 to 65535"),
        (["start", "ID", "s", "--ready-http", "https://127.0.0.1/", "--", "true"], "is not an http:// URL"),
        (["start", "ID", "s", "--ready-file", "a", "--ready-tcp", "1", "--", "true"], "has one readiness check"),
        (["start", "ID", "s", "--restart", "always", "--", "true"], "on-failure"),
        (["start", "ID", "s", "--ready-timeout", "soon", "--", "true"], "soon"),
        (["stop", "ID", "s", "--grace", "1h"], "the grace is at most 10m"),
        (["logs", "ID", "s"], "has no service 's'"),
        (["status", "nosuch", "s"], "nosuch"),
    ],
)
def test_wrong_input_is_an_error_with_a_hint_and_nothing_is_done(
    cli: Cli, workspace: Workspace, words: list[str], says: str
) -> None:
    done = cli("workspace", "service", *[workspace.id if word == "ID" else word for word in words])
    assert done.returncode >= 2
    assert says in done.stderr.decode()
    assert b"hint: " in done.stderr
    assert b"Traceback" not in done.stderr
    assert workspace.logs().commands == ()


def test_following_as_json_is_refused_for_there_is_nowhere_to_follow_to(cli: Cli, workspace: Workspace) -> None:
    workspace.services.start("s", ["sleep", "1000"])
    done = cli("workspace", "service", "logs", workspace.id, "s", "--follow", "--json")
    assert done.returncode == 2
    assert b"leave --json out" in done.stderr + done.stdout


def test_following_ends_with_ctrl_c_without_a_word_and_the_service_goes_on(spawn: Spawn, workspace: Workspace) -> None:
    workspace.services.start("s", "echo begun; exec sleep 1000")
    process = spawn("workspace", "service", "logs", workspace.id, "s", "--follow")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=DEADLINE_S) == (b"", b"")
    assert process.returncode == 130
    assert state(workspace) == ("running", "")


def test_a_follower_whose_reader_leaves_ends_and_the_service_goes_on(spawn: Spawn, workspace: Workspace) -> None:
    workspace.services.start("s", "while echo line; do sleep 0.01; done")
    process = spawn("workspace", "service", "logs", workspace.id, "s", "--follow")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.wait(timeout=DEADLINE_S) == 141
    assert process.stderr.read() == b""
    assert state(workspace) == ("running", "")


def test_a_follower_is_told_how_the_service_ended(spawn: Spawn, workspace: Workspace) -> None:
    workspace.services.start("s", "echo begun; while ! test -e go; do sleep 0.01; done; echo over; exit 4")
    process = spawn("workspace", "service", "logs", workspace.id, "s", "--follow")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    workspace.exec("touch go")
    out, told = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, told) == (0, b"over\n", b"sandlot: s failed: it exited with 4\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_caller_that_is_ended_while_a_service_starts_leaves_nothing(
    spawn: Spawn, workspace: Workspace, number: signal.Signals
) -> None:
    script = "(setsid sleep 1000 &); trap '' TERM; while :; do sleep 1000; done"
    process = spawn("workspace", "service", "start", workspace.id, "s", "--ready-file", "never", "-c", script)
    wait_until(lambda: state(workspace)[0] == "starting", "the service starts")
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    wait_until(lambda: state(workspace) == ("stopped", "its start was cancelled"), "it is over")
    assert workspace.exec(LEFT).stdout.text == ""
    assert workspace.services.start("s", ["sleep", "1000"]).ok


def test_a_caller_that_did_not_want_to_wait_may_go(spawn: Spawn, workspace: Workspace) -> None:
    process = spawn("workspace", "service", "start", workspace.id, "s", "--no-wait", "--ready-file", "r", "-c",
                    "sleep 0.3; touch r; exec sleep 1000")  # fmt: skip
    process.communicate(timeout=DEADLINE_S)
    wait_until(lambda: state(workspace) == ("ready", ""), "it is ready")


def test_services_of_a_stopped_workspace_have_ended_and_start_it_on_demand(cli: Cli, workspace: Workspace) -> None:
    start = ["workspace", "service", "start", workspace.id, "s", "--json", "-c", "echo hello; exec sleep 1000"]
    answer(cli(*start))
    workspace.stop()
    told = answer(cli("workspace", "service", "list", workspace.id, "--json"))["services"][0]
    assert (told["state"], told["reason"]) == ("stopped", "the workspace was stopped")
    assert cli("workspace", "service", "logs", workspace.id, "s").stdout == b"hello\n"
    assert workspace.status().workspace.state == "stopped"
    assert answer(cli(*start))["service"]["state"] == "running"
    assert workspace.status().workspace.state == "running"


SCENE = """
import json, urllib.request
from sandlot import Sandlot
with Sandlot() as sandlot, sandlot.create(publish=[8000]) as box:
    box.files.write("index.html", "hello")
    server = ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"]
    started = box.services.start("web", server, ready_http="http://127.0.0.1:8000/")
    page = urllib.request.urlopen("http://127.0.0.1:%d/" % started.ports[0].host_port, timeout=20).read().decode()
    dead = box.services.start("dead", "exit 3", restart="on-failure", max_restarts=1, backoff=0.02, ready_file="never")
    stopped = box.services.stop("web")
    left = box.exec("pgrep -fc [h]ttp.server").stdout.text
    print(json.dumps([started.service.state, page, dead.service.reason, stopped.service.state, left]))
"""


def test_an_ordinary_user_has_services_and_published_ports(
    ordinary_user: Callable[[Sequence[str]], CompletedProcess],
) -> None:
    done = ordinary_user(["-c", SCENE])
    assert done.returncode == 0, done.stderr
    reason = "it exited with 3 before it was ready; it was restarted once"
    assert json.loads(done.stdout) == ["ready", "hello", reason, "stopped", "0\n"]
