"""A workspace with a network: what it reaches, what reaches it, and who is left when it is over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandlot.errors import PortTaken, UsageError
from sandlot.model.network import Network
from sandlot.model.workspace import Instance
from sandlot.process import ProcessIdentity
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.records import dump, load_workspace
from tests.conftest import GUESTS, Cli, clean_environment
from tests.workspaces.network.conftest import DEADLINE_S, Origin, read_all, running

SERVE = """
import socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"heard " + self.rfile.read())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    address_family = 10 if ":" in sys.argv[1] else 2
Server((sys.argv[1], int(sys.argv[2])), Echo).serve_forever()
"""


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


@pytest.fixture
def server() -> Iterator[Origin]:
    """A web server at an address that no_proxy does not name."""
    with running(Origin("127.0.0.2")) as made:
        yield made


def instance_of(workspace: Workspace) -> Instance:
    found = workspace._sandlot._context.store.find(workspace.id).instance
    assert found is not None
    return found


def gateway_of(workspace: Workspace) -> ProcessIdentity:
    instance = instance_of(workspace)
    return ProcessIdentity(instance.gateway_pid, instance.gateway_start, instance.boot)


def echo(workspace: Workspace, port: int, host: str = "127.0.0.1") -> None:
    """Start a server inside that answers when its client has finished speaking, and wait for it."""
    workspace.exec(["python3", "-c", SERVE, host, str(port)], background=True)
    asked = f"import socket; socket.create_connection(('{host}', {port})).close()"
    wait_until(lambda: workspace.exec(["python3", "-c", asked]).ok, "the server inside listens")


def said(host_port: int, words: bytes) -> bytes:
    """What comes back through a published port."""
    with socket.create_connection(("127.0.0.1", host_port), timeout=DEADLINE_S) as client:
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def hung_up(host_port: int) -> bool:
    """Whether nothing comes back: an end, or a reset when what we said was still under way."""
    try:
        return said(host_port, b"hello") == b""
    except ConnectionResetError:
        return True


def test_an_allowed_host_is_reached_through_the_proxy_and_no_other_way(sandlot: Sandlot, server: Origin) -> None:
    place = f"127.0.0.2:{server.port}"
    workspace = sandlot.create(allow_private=[place])
    assert workspace.exec(["curl", "-sS", f"http://{place}/here"]).stdout.text == "answer to /here"
    assert workspace.exec(["curl", "-sS", "--noproxy", "*", f"http://{place}/"]).command.outcome.exit_code == 7  # type: ignore[union-attr]  # it ended
    assert len(server.seen) == 1


def test_a_denial_is_in_the_answer_in_status_and_in_logs(sandlot: Sandlot, cli: Cli) -> None:
    workspace = sandlot.create(name="ws", allow=["one.test"])
    done = workspace.exec("curl -s http://two.test/ || true; curl -sS https://three.test/")
    assert done.stdout.text.startswith("network_denied: two.test:80: ")
    assert "sandlot workspace update ws --allow two.test\n" in done.stdout.text
    assert done.denied == ("two.test:80", "three.test:443")
    assert workspace.exec(["true"]).denied == ()
    assert [each.place for each in workspace.status().denials] == ["two.test:80", "three.test:443"]
    assert workspace.logs(1).denied == ("two.test:80", "three.test:443")
    shown = cli("workspace", "exec", "ws", "--", "curl", "-sS", "https://four.test/")
    assert b"sandlot: network_denied: four.test:443" in shown.stderr
    assert shown.returncode == 56
    assert b"four.test:443: the workspace's allow list" in cli("workspace", "status", "ws").stdout


def test_with_the_network_off_a_failure_says_so(workspace: Workspace) -> None:
    done = workspace.exec("curl -s http://one.test:81/x; curl -sS https://two.test/")
    assert done.stdout.text.startswith("network_denied: one.test:81: the network of this workspace is off\n")
    assert done.denied == ("one.test:81", "two.test:443")
    assert [each.place for each in workspace.status().denials] == ["one.test:81", "two.test:443"]
    assert not instance_of(workspace).gateway_pid


def test_what_was_denied_before_a_change_of_the_network_is_not_forgotten(workspace: Workspace) -> None:
    workspace.exec(["curl", "-s", "http://one.test/"])
    workspace.update(allow=["two.test"])
    assert [each.place for each in workspace.status().denials] == ["one.test:80"]


def test_who_refuses_in_the_proxys_place_survives_its_clients(workspace: Workspace) -> None:
    attack = """
import socket
end = b"\\r\\n\\r\\n"
said = [b"", b"CONNECT", end, b"\\xff" * 5000, b"GET http:///" + end, b"CONNECT :x y" + end]
held = []
for n in range(300):
    held.append(socket.create_connection(("127.0.0.1", 3128)))
    held[-1].sendall(said[n % len(said)])
"""
    assert workspace.exec(["python3", "-c", attack]).exit_status in (0, 1)
    assert "network_denied: one.test:80" in workspace.exec(["curl", "-s", "http://one.test/"]).stdout.text
    assert workspace.status().responsive


def test_a_published_port_is_reached_from_the_host_with_both_halves(sandlot: Sandlot) -> None:
    workspace = sandlot.create(publish=[8000, 8001])
    first, second = workspace.info.network.ports
    echo(workspace, 8000)
    echo(workspace, 8001, "::1")
    assert said(first.host_port, b"x" * 500_000) == b"heard " + b"x" * 500_000
    assert said(second.host_port, b"six") == b"heard six"


def test_a_published_port_nobody_serves_hangs_up(sandlot: Sandlot) -> None:
    workspace = sandlot.create(publish=[8000])
    assert hung_up(workspace.info.network.ports[0].host_port)


def test_a_published_port_listens_on_loopback_alone(sandlot: Sandlot) -> None:
    workspace = sandlot.create(publish=[8000])
    port = workspace.info.network.ports[0].host_port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=DEADLINE_S)


def test_two_workspaces_publish_the_same_port_and_do_not_reach_each_other(sandlot: Sandlot) -> None:
    one, two = (sandlot.create(publish=[8000]) for _ in range(2))
    echo(one, 8000)
    ports = [each.info.network.ports[0].host_port for each in (one, two)]
    assert said(ports[0], b"a") == b"heard a"
    assert hung_up(ports[1])
    for port in (8000, ports[0]):
        asked = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
        assert "ConnectionRefusedError" in two.exec(["python3", "-c", asked]).stderr.text


def test_published_ports_survive_reset_stop_and_start(sandlot: Sandlot) -> None:
    workspace = sandlot.create(publish=[8000])
    port = workspace.info.network.ports[0].host_port
    workspace.reset()
    echo(workspace, 8000)
    assert workspace.info.network.ports[0].host_port == port
    assert said(port, b"after reset") == b"heard after reset"
    workspace.stop()
    with pytest.raises(ConnectionRefusedError):
        said(port, b"")
    workspace.start()
    echo(workspace, 8000)
    assert said(port, b"after start") == b"heard after start"


def test_a_port_that_was_taken_meanwhile_moves_and_says_so(sandlot: Sandlot) -> None:
    workspace = sandlot.create(publish=[8000])
    port = workspace.info.network.ports[0].host_port
    workspace.stop()
    with socket.create_server(("127.0.0.1", port)):
        workspace.start()
        moved = workspace.info.network.ports[0].host_port
        assert moved not in (0, port)
        assert any(f"{port} was taken" in each for each in workspace.info.warnings)


def test_a_host_port_of_ones_choice_is_that_one_or_an_error(sandlot: Sandlot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            sandlot.create(publish=[f"{port}:8000"])
        assert str(port) in caught.value.message
        assert sandlot.list() == []
    workspace = sandlot.create(publish=[f"{port}:8000"])
    assert workspace.info.network.ports[0].host_port == port
    with pytest.raises(PortTaken):
        sandlot.create(publish=[f"{port}:9000"])
    (fork,) = workspace.fork()
    assert fork.info.network.ports[0].host_port not in (0, port)


def test_a_killed_gateway_is_seen_and_started_anew_by_the_next_command(sandlot: Sandlot, server: Origin) -> None:
    place = f"127.0.0.2:{server.port}"
    workspace = sandlot.create(allow_private=[place], publish=[8000])
    port = workspace.info.network.ports[0].host_port
    echo(workspace, 8000)
    killed = gateway_of(workspace)
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: not killed.alive(), "the gateway has ended")
    assert not workspace.status().workspace.network.served
    assert any("gateway" in each for each in workspace.status().workspace.warnings)
    assert workspace.exec(["curl", "-sS", f"http://{place}/"]).stdout.text == "answer to /"
    assert workspace.status().workspace.network.served
    assert said(port, b"again") == b"heard again"


@pytest.mark.parametrize("ending", ["delete", "stop", "killed agent"])
def test_nobody_is_left_when_a_workspace_ends(sandlot: Sandlot, ending: str) -> None:
    workspace = sandlot.create(allow=["one.test"], publish=[8000])
    gateway = gateway_of(workspace)
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    assert gateway.alive()
    if ending == "killed agent":
        os.kill(instance_of(workspace).agent_pid, signal.SIGKILL)
    else:
        getattr(workspace, ending)()
        assert not gateway.alive()
    wait_until(lambda: not gateway.alive(), "the gateway has ended")
    assert len(children) == (0 if GUESTS else 1)  # who goes into a network namespace is a process of its own
    for child in children:
        wait_until(lambda child=child: not os.path.exists(f"/proc/{child}"), "its child has ended")  # type: ignore[misc]  # a lambda has no types


def test_a_gateway_whose_launcher_dies_before_the_start_is_recorded_ends(state_dir: Path) -> None:
    program = """
import os, sys
from sandlot.sdk import Sandlot
from sandlot.workspaces.network import control
join = control.Gateway.join
def joined(self, record, instance):
    join(self, record, instance)
    print(self._identity.pid, instance.agent_pid, flush=True)
    os.kill(os.getpid(), 9)
control.Gateway.join = joined
Sandlot().create(allow=["one.test"], publish=[8000])
"""
    environment = clean_environment(state_dir)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60, check=False
    )
    pids = done.stdout.split()
    assert len(pids) == 2, done.stderr.decode()
    for pid in pids:
        wait_until(lambda pid=pid: not _alive(int(pid)), "it has ended")  # type: ignore[misc]  # a lambda has no types
    with Sandlot(state_dir) as sandlot:
        assert sandlot.list() == []


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    return False


def test_the_network_of_a_running_workspace_can_be_changed(sandlot: Sandlot, server: Origin) -> None:
    place = f"127.0.0.2:{server.port}"
    workspace = sandlot.create()
    ask = ["curl", "-s", f"http://{place}/"]
    assert workspace.exec(ask).stdout.text.startswith("network_denied")
    workspace.update(allow_private=[place], publish=[8000])
    assert workspace.exec(ask).stdout.text == "answer to /"
    echo(workspace, 8000)
    assert said(workspace.info.network.ports[0].host_port, b"x") == b"heard x"
    workspace.update(disallow=[place], unpublish=[8000])
    assert workspace.info.network.ports == ()
    assert workspace.exec(ask).stdout.text.startswith("network_denied")
    workspace.update(network="off")
    assert "is off" in workspace.exec(ask).stdout.text
    assert not instance_of(workspace).gateway_pid


def test_a_change_that_fails_changes_nothing(sandlot: Sandlot, server: Origin) -> None:
    place = f"127.0.0.2:{server.port}"
    workspace = sandlot.create(allow_private=[place])
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortTaken):
        workspace.update(publish=[f"{taken.getsockname()[1]}:8000"])
    assert sandlot.get(workspace.id).info.network.ports == ()
    assert workspace.exec(["curl", "-s", f"http://{place}/"]).stdout.text == "answer to /"


def test_a_one_shot_workspace_has_a_network_too(sandlot: Sandlot, server: Origin) -> None:
    place = f"127.0.0.2:{server.port}"
    done = sandlot.run(["curl", "-s", f"http://{place}/"], allow_private=[place])
    assert done.stdout.text == "answer to /"
    done = sandlot.run(["curl", "-sf", "http://one.test/"])
    assert done.denied == ("one.test:80",)


@pytest.mark.parametrize(
    "fields",
    [
        {"network": "off", "allow": ["a.test"]},
        {"allow": ["0x7f.1"]},
        {"allow_private": ["a.test"]},
        {"allow_preset": ["none"]},
        {"publish": ["x"]},
        {"publish": ["9:80", "9:81"]},
        {"network": "sometimes"},
    ],
)
def test_a_network_that_makes_no_sense_is_refused_before_anything_is_made(
    sandlot: Sandlot, fields: dict[str, list[str]]
) -> None:
    with pytest.raises(UsageError):
        sandlot.create(**fields)  # type: ignore[arg-type]  # wrong on purpose
    assert sandlot.list() == []


def test_records_of_workspaces_that_knew_no_network_are_read(workspace: Workspace) -> None:
    record = workspace._sandlot._context.store.find(workspace.id)
    data = json.loads(dump(record))
    del data["network"]
    for name in ("gateway_pid", "gateway_start"):
        del data["instance"][name]
    old = load_workspace(json.dumps(data))
    assert old.network == Network()
    assert old.instance == record.instance
