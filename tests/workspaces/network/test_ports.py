"""Published ports: each half closes by itself, a broken end is broken on the other side, nobody gets another's port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sandlot.errors import PortTaken
from sandlot.sdk import Sandlot, Workspace
from tests.conftest import CompletedProcess
from tests.workspaces.network.conftest import DEADLINE_S, read_all

SERVE = """
import socket, struct, sys, threading
def speak_first(client):
    client.sendall(b"bye")
    client.shutdown(socket.SHUT_WR)
    heard = b""
    while data := client.recv(65536):
        heard += data
    with open("heard", "wb") as file:
        file.write(heard)
def break_off(client):
    client.recv(1)
    client.sendall(b"half")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
def echo(client):
    while data := client.recv(65536):
        client.sendall(data)
def serve(listener, talk):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=lambda client=client: (talk(client), client.close())).start()
for port, talk in ((8001, speak_first), (8002, break_off), (8003, echo)):
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    threading.Thread(target=serve, args=(listener, talk)).start()
"""


@pytest.fixture
def ports(sandlot: Sandlot) -> tuple[Workspace, list[int]]:
    """A workspace that serves all of the above, and where."""
    workspace = sandlot.create(publish=[8001, 8002, 8003])
    started = workspace.services.start("talk", ["python3", "-c", SERVE], ready_tcp=8003)
    assert started.ok, started.stderr
    return workspace, [each.host_port for each in started.ports]


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)


def to_the_end(client: socket.socket) -> None:
    while client.recv(65536):
        pass


def test_a_server_that_has_said_all_still_hears_its_client(ports: tuple[Workspace, list[int]]) -> None:
    workspace, (first, _, _) = ports
    with connect(first) as client:
        assert read_all(client) == b"bye"  # its half is closed, ours is not
        client.sendall(b"x" * 300_000)
        client.shutdown(socket.SHUT_WR)
    heard = 'for n in $(seq 500); do [ "$(stat -c %s heard 2>/dev/null)" = 300000 ] && exit; sleep 0.02; done; exit 1'
    assert workspace.exec(heard).ok


def test_half_an_answer_is_not_taken_for_a_whole_one(ports: tuple[Workspace, list[int]]) -> None:
    with connect(ports[1][1]) as client:
        client.sendall(b"?")
        with pytest.raises(ConnectionResetError):
            to_the_end(client)


def test_many_connections_at_once_all_get_their_own_answer(ports: tuple[Workspace, list[int]]) -> None:
    clients = [connect(ports[1][2]) for _ in range(60)]
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
        client.shutdown(socket.SHUT_WR)
    assert [read_all(client) for client in clients] == [b"%d" % number for number in range(60)]
    for client in clients:
        client.close()


def test_of_workspaces_that_want_the_same_port_at_the_same_time_one_gets_it(sandlot: Sandlot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found: list[object] = []

    def create() -> None:
        try:
            found.append(sandlot.create(publish=[f"{port}:8000"]))
        except PortTaken as error:
            found.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(type(each).__name__ for each in found) == ["PortTaken"] * 3 + ["Workspace"]
    errors = [each for each in found if isinstance(each, PortTaken)]
    assert {each.message for each in errors} == {f"port {port} of 127.0.0.1 is taken already"}
    assert all("--publish PORT" in each.hint for each in errors)
    assert len(sandlot.list()) == 1


def test_a_stopped_workspace_whose_named_port_was_taken_says_so_and_stays_stopped(sandlot: Sandlot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    workspace = sandlot.create(publish=[f"{port}:8000"])
    workspace.stop()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTaken):
        workspace.services.start("s", ["sleep", "1000"])
    assert workspace.status().workspace.state == "stopped"
    assert workspace.services.list() == []
    assert workspace.services.start("s", ["sleep", "1000"]).ports[0].host_port == port


def test_a_port_that_only_root_may_use_is_not_called_taken(
    ordinary_user: Callable[[Sequence[str]], CompletedProcess],
) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("every port is free to every user here")
    done = ordinary_user(["-m", "sandlot", "workspace", "create", "--publish", "81:8000"])
    assert done.returncode != 0
    assert b"port 81 of 127.0.0.1 can be had by root alone" in done.stderr
