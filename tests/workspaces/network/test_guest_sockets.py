"""The network of a guest comes over the bridge: its gateway serves it as it serves a namespace."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sandlot.runtimes.base import StorageKind
from sandlot.sdk import Sandlot
from sandlot.workspaces import context
from sandlot.workspaces.network import control
from sandlot.workspaces.network.guest_sockets import GuestSockets
from sandlot.workspaces.network.ports import carry
from tests.runtimes.bridge_ends import GuestEnd, HostEnd, joined
from tests.runtimes.bridged import BridgedRuntime
from tests.workspaces.network.conftest import DEADLINE_S, read_all

SERVE = """
import socket
listener = socket.create_server(("127.0.0.1", 8000))
while True:
    client, _ = listener.accept()
    client.sendall(b"from inside: " + client.recv(100))
    client.close()
"""
ASK = """
import urllib.error, urllib.request
try:
    urllib.request.urlopen("http://two.test/")
except urllib.error.HTTPError as error:
    print(error)
"""


@pytest.fixture
def ends(state_dir: Path) -> Iterator[tuple[HostEnd, GuestEnd]]:
    with joined(state_dir) as made:
        yield made


@pytest.fixture
def bridged(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandlot]:
    """A sandlot whose workspaces stand for guests: what is in them is reached over the bridge alone."""
    monkeypatch.setitem(context.RUNTIMES, "bubblewrap", BridgedRuntime)
    monkeypatch.setattr(control, "StorageKind", SimpleNamespace(GUEST=StorageKind.OVERLAY))
    with Sandlot(state_dir) as made:
        yield made
        for info in made.list():
            made.call("workspace_delete", workspaces=(info.id,))


def test_published_ports_and_the_way_out_lead_through_the_keeper(bridged: Sandlot) -> None:
    workspace = bridged.create(allow=["one.test"], publish=[8000])
    started = workspace.services.start("serve", ["python3", "-c", SERVE], ready_tcp=8000)
    assert started.ok, started.stderr
    with socket.create_connection(("127.0.0.1", started.ports[0].host_port), timeout=DEADLINE_S) as client:
        client.sendall(b"hello")
        assert read_all(client) == b"from inside: hello"
    refused = workspace.exec(["python3", "-c", ASK]).stdout.text
    assert "network_denied: two.test:80: the workspace's allow list has no such host" in refused
    workspace.update(network="off")
    assert "the network of this workspace is off" in workspace.exec(["python3", "-c", ASK]).stdout.text
    workspace.update(allow=["one.test"])
    assert "allow list" in workspace.exec(["python3", "-c", ASK]).stdout.text


def test_half_an_answer_is_not_taken_for_a_whole_one(ends: tuple[HostEnd, GuestEnd]) -> None:
    sockets = GuestSockets(ends[0].socket)
    with socket.create_server(("127.0.0.1", 0)) as inside, socket.create_server(("127.0.0.1", 0)) as outside:
        client = socket.create_connection(outside.getsockname(), timeout=DEADLINE_S)
        accepted, _ = outside.accept()
        carrying = threading.Thread(target=carry, args=(accepted, inside.getsockname()[1], sockets.connected))
        carrying.start()
        server, _ = inside.accept()
        server.sendall(b"half")
        assert client.recv(4) == b"half"
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)
        carrying.join(DEADLINE_S)


def test_where_nobody_listens_nobody_is_reached(ends: tuple[HostEnd, GuestEnd]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            GuestSockets(ends[0].socket).listener(port)
    assert GuestSockets(ends[0].socket).connected(port) is None


def test_without_a_keeper_there_is_no_network(tmp_path: Path) -> None:
    sockets = GuestSockets(tmp_path / "nobody")
    assert sockets.connected(80) is None
    with pytest.raises(OSError, match="keeper"):
        sockets.listener(80)
