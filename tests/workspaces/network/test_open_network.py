"""The mode ``open``: what it needs, what it gives, and that it is over when it is over. Attacks: tests/security."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.errors import NetworkUnavailable
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.network import open_network, tap
from tests.workspaces.network.test_gateway import gateway_of, wait_until
from tests.workspaces.network.world import PORT, PUBLIC, World, world

LACKS = open_network.problem()
needs_it = pytest.mark.skipif(LACKS is not None, reason=f"the open network needs {LACKS and LACKS[0]}")
ASK = ["curl", "-sS", "--noproxy", "*", "-m", "10", f"http://{PUBLIC}:{PORT}/"]


@pytest.fixture
def around() -> Iterator[World]:
    with world() as made, made.joined():
        yield made


def slirp_of(workspace: Workspace) -> list[int]:
    """Processes that serve a workspace's open network: children of its gateway of that name."""
    gateway = gateway_of(workspace).pid
    children = Path(f"/proc/{gateway}/task/{gateway}/children").read_text().split()
    return [int(each) for each in children if Path(f"/proc/{each}/comm").read_text().strip() == open_network.TOOL]


def interfaces(workspace: Workspace) -> set[str]:
    return set(workspace.exec(["python3", "-c", "import socket; print(*dict(socket.if_nameindex()).values())"])
               .stdout.text.split())  # fmt: skip


@pytest.mark.parametrize(
    ("lacking", "helps"),
    [("tool", "install the package no-such-tool"), ("device", "chmod 0666"), ("permission", "ptrace_scope=1")],
)
def test_what_is_missing_is_named_with_the_package_before_anything_is_made(
    sandlot: Sandlot, monkeypatch: pytest.MonkeyPatch, lacking: str, helps: str
) -> None:
    monkeypatch.setattr(open_network, "TOOL", "no-such-tool" if lacking == "tool" else "true")
    monkeypatch.setattr(open_network, "_TUN", "/dev/net/no-such-device" if lacking == "device" else "/dev/null")
    monkeypatch.setattr(open_network, "_may_inspect", lambda: lacking != "permission")
    with pytest.raises(NetworkUnavailable) as caught:
        sandlot.create(network="open")
    assert helps in caught.value.hint
    assert "--allow HOST" in caught.value.hint
    assert sandlot.list() == []
    (finding,) = (each for each in sandlot.doctor().findings if each.check == "network.open")
    assert not finding.ok
    assert not finding.required
    assert helps in finding.fix


def test_the_filter_passes_arp_the_name_server_and_public_ipv4_alone() -> None:
    program = tap._program(["10.0.0.0/8", "224.0.0.0/4"], "10.0.2.3")

    def passes(kind: int, destination: str = "0.0.0.0") -> bool:
        packet = bytes(12) + struct.pack("!H", kind) + bytes(16) + bytes(map(int, destination.split("."))) + bytes(8)
        return _run(program, packet) > 0

    assert passes(0x0806)
    assert passes(0x0800, "203.0.113.7")
    assert passes(0x0800, "10.0.2.3")
    assert passes(0x0800, "11.0.0.1")
    for closed in ("10.0.2.2", "10.255.255.255", "10.0.0.0", "224.0.0.1", "239.255.255.255"):
        assert not passes(0x0800, closed)
    for kind in (0x86DD, 0x8100, 0x0000, 0x88CC):
        assert not passes(kind, "203.0.113.7")


def _run(program: bytes, packet: bytes) -> int:
    """What a classic BPF program of ours returns for a packet."""
    steps = list(struct.iter_unpack("=HBBI", program))
    value, at = 0, 0
    while True:
        code, if_so, if_not, number = steps[at]
        at += 1
        if code in (0x28, 0x20):
            value = int.from_bytes(packet[number : number + (2 if code == 0x28 else 4)], "big")
        elif code == 0x54:
            value &= number
        elif code == 0x15:
            at += if_so if value == number else if_not
        else:
            assert code == 0x06
            return int(number)


@needs_it
def test_an_open_network_needs_no_proxy_and_ends_with_its_workspace(sandlot: Sandlot, around: World) -> None:
    workspace = sandlot.create(network="open")
    assert workspace.exec(ASK).stdout.text == "world"
    assert around.seen == {f"tcp {PUBLIC}"}
    (serving,) = slirp_of(workspace)
    workspace.stop()
    assert not os.path.exists(f"/proc/{serving}")
    workspace.start()
    assert workspace.exec(ASK).stdout.text == "world"
    workspace.reset()
    assert workspace.exec(ASK).stdout.text == "world"
    (serving,) = slirp_of(workspace)
    workspace.delete()
    assert not os.path.exists(f"/proc/{serving}")


@needs_it
def test_closing_an_open_network_leaves_no_way_out(sandlot: Sandlot, around: World) -> None:
    workspace = sandlot.create()
    assert workspace.exec(ASK).exit_status == 7
    workspace.update(network="open")
    assert workspace.exec(ASK).stdout.text == "world"
    for mode in ("allowlist", "off"):
        workspace.update(network=mode)
        assert workspace.exec(ASK).exit_status == 7
        assert interfaces(workspace) == {"lo"}
    assert len(around.seen) == 1


@needs_it
@pytest.mark.parametrize("victim", ["gateway", "slirp4netns"])
def test_an_open_network_whose_process_was_killed_is_seen_and_served_anew(
    sandlot: Sandlot, around: World, victim: str
) -> None:
    workspace = sandlot.create(network="open")
    gateway, (serving,) = gateway_of(workspace), slirp_of(workspace)
    os.kill(gateway.pid if victim == "gateway" else serving, signal.SIGKILL)
    wait_until(lambda: not gateway.alive(), "the gateway has ended")
    wait_until(lambda: not os.path.exists(f"/proc/{serving}"), "nobody serves it any more")
    assert not workspace.status().workspace.network.served
    assert workspace.exec(ASK).stdout.text == "world"
    assert workspace.status().workspace.network.served
    assert around.seen == {f"tcp {PUBLIC}"}
