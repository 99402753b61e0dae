"""An open network for guests: its filter, the two ends of its frames, and all of it in a real guest."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandlot.bases.trees import remove_tree
from sandlot.guest import way_out
from sandlot.runtimes.qemu import asking
from sandlot.sdk import Sandlot
from sandlot.settings import Settings
from sandlot.workspaces.context import Context
from sandlot.workspaces.network import tap
from sandlot.workspaces.network.addresses import closed_networks
from sandlot.workspaces.network.guest_network import Filter, GuestOpenNetwork
from sandlot.workspaces.network.open_network import NAMESERVER, TOOL
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in
from tests.workspaces.network.test_gateway import gateway_of, wait_until
from tests.workspaces.network.test_open_network import ASK, _run, interfaces, slirp_of
from tests.workspaces.network.world import PUBLIC, world

NEEDS_TOOL = pytest.mark.skipif(shutil.which(TOOL) is None, reason=f"{TOOL} is not installed here")
DEADLINE_S = 30.0
CLOSED = [*closed_networks(), "203.0.113.99/32"]
_PROGRAM = tap._program(CLOSED, NAMESERVER)
_FILTER = Filter(CLOSED, NAMESERVER)
KINDS = st.sampled_from([0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x0000]) | st.integers(0, 0xFFFF)
ADDRESSES = st.sampled_from([each.split("/")[0] for each in CLOSED] + [NAMESERVER, PUBLIC, "10.0.2.2"]).map(
    socket.inet_aton
) | st.binary(min_size=4, max_size=4)


@given(KINDS, ADDRESSES, st.binary(max_size=40), st.integers(0, 80))
@example(0x0800, socket.inet_aton("127.0.0.1"), b"", 80)
@example(0x0800, socket.inet_aton(PUBLIC), b"", 33)
def test_what_passes_is_what_the_kernel_passes_for_a_namespace(kind: int, to: bytes, rest: bytes, length: int) -> None:
    frame = (bytes(12) + struct.pack("!H", kind) + bytes(16) + to + rest)[:length]
    assert _FILTER.passes(frame) == (len(frame) >= 14 and _kernel(frame) > 0)


def _kernel(frame: bytes) -> int:
    """A load behind a packet's end drops it."""
    is_ip = frame[12:14] == b"\x08\x00"
    return 0 if is_ip and len(frame) < 34 else _run(_PROGRAM, frame)


def _framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def test_frames_pass_inside_both_ways_whole_and_end_with_the_connection() -> None:
    device, outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, host = socket.socketpair()
    with device, outside, ours, host:
        for each in (device, ours):
            each.setblocking(False)
        for each in (outside, host):
            each.settimeout(DEADLINE_S)
        thread = threading.Thread(target=way_out.carry, args=(device.fileno(), ours))
        thread.start()
        two = _framed(b"first") + _framed(b"x" * 60000)
        for at in range(0, len(two), 7001):
            host.sendall(two[at : at + 7001])
        assert outside.recv(70000) == b"first"
        assert outside.recv(70000) == b"x" * 60000
        outside.send(b"answer")
        assert host.recv(10, socket.MSG_WAITALL) == _framed(b"answer")
        host.shutdown(socket.SHUT_WR)
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[GuestOpenNetwork, socket.socket]]:
    """An open network, and the end of it that a guest would have."""
    given, ours = socket.socketpair()
    ours.settimeout(DEADLINE_S)
    ours.sendall(b"0\n")
    monkeypatch.setattr(asking, "job", lambda *_: given)
    with ours:
        network = GuestOpenNetwork(tmp_path / "socket", 2)
        yield network, ours
    network.close()
    assert list(tmp_path.iterdir()) == []


def _over(network: GuestOpenNetwork) -> bool:
    poller = select.poll()
    poller.register(network.ending, select.POLLIN)
    return bool(poller.poll(DEADLINE_S * 1000))


@NEEDS_TOOL
def test_what_a_guest_sends_is_answered_and_a_guest_that_lies_about_lengths_is_left(
    guest: tuple[GuestOpenNetwork, socket.socket],
) -> None:
    network, inside = guest
    mine = bytes.fromhex("020000000001")
    question = b"\xff" * 6 + mine + bytes.fromhex("08060001080006040001") + mine
    question += socket.inet_aton("10.0.2.100") + bytes(6) + socket.inet_aton(NAMESERVER)
    inside.sendall(_framed(question))
    head = inside.recv(4, socket.MSG_WAITALL)
    answer = inside.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL)
    assert answer[12:14] == b"\x08\x06"
    assert answer[28:32] == socket.inet_aton(NAMESERVER)
    inside.sendall(struct.pack(">I", 0xFFFFFFF0))
    assert _over(network)


@NEEDS_TOOL
def test_the_way_out_ends_when_the_guest_hangs_up(guest: tuple[GuestOpenNetwork, socket.socket]) -> None:
    network, inside = guest
    inside.close()
    assert _over(network)


@NEEDS_TOOL
@pytest.mark.parametrize("answer", [b"19\n", b"nonsense\n", b"0" * 100, b""])
def test_a_guest_that_has_no_device_gets_no_network_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: bytes
) -> None:
    given, ours = socket.socketpair()
    monkeypatch.setattr(asking, "job", lambda *_: given)
    with ours:
        ours.sendall(answer)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError, match="network device"):
            GuestOpenNetwork(tmp_path / "socket", 2)
    assert list(tmp_path.iterdir()) == []
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    assert TOOL not in {Path(f"/proc/{each}/comm").read_text().strip() for each in children}


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Sandlot]:
    folder = tmp_path / "q"
    with Sandlot(folder) as made:
        made._context = Context(paths_in(folder), Settings.load())
        yield made
        made.call("workspace_delete", all=True)
    remove_tree(folder)


@NEEDS_QEMU
@NEEDS_TOOL
@pytest.mark.slow
@pytest.mark.xdist_group("guests")
def test_a_guest_has_an_open_network_for_as_long_as_it_is_to_have_one(guests: Sandlot) -> None:
    with world() as around, around.joined():
        workspace = guests.create(runtime="qemu", network="open")
        assert workspace.exec(ASK).stdout.text == "world"
        assert around.seen == {f"tcp {PUBLIC}"}
        gateway, (serving,) = gateway_of(workspace), slirp_of(workspace)
        os.kill(serving, signal.SIGKILL)
        wait_until(lambda: not gateway.alive(), "the gateway has ended")
        assert workspace.exec(ASK).stdout.text == "world"
        workspace.update(network="off")
        wait_until(lambda: interfaces(workspace) == {"lo"}, "the device has gone")
        assert workspace.exec(ASK).exit_status == 7
        workspace.update(network="open")
        workspace.reset()
        assert workspace.exec(ASK).stdout.text == "world"
        (serving,) = slirp_of(workspace)
        workspace.delete()
        assert not os.path.exists(f"/proc/{serving}")
