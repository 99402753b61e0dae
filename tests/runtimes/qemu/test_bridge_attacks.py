"""A guest that does not keep to the protocol: its keeper ends it, and neither its memory nor the host's disk is its."""

from __future__ import annotations

import fcntl
import os
import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.guest.mux import HIGH, MOST_QUEUED
from sandlot.runtimes.qemu import asking
from sandlot.runtimes.qemu.bridge import MOST_INSIDE, Bridge, Outcome
from sandlot.runtimes.qemu.descriptors import RECORD, TAIL
from sandlot.wire import bridge as wire
from sandlot.wire import frames, messages
from tests.runtimes.bridge_ends import HostEnd, RawGuest, eventually, hostile

QUOTA = 1000


@pytest.fixture
def ends(state_dir: Path) -> Iterator[tuple[HostEnd, RawGuest]]:
    with hostile(state_dir) as made:
        yield made


def gone(client: socket.socket) -> bool:
    """Whether the other end has closed; with something unread in it, that is a reset."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def command(folder: Path) -> list[int]:
    """Descriptors as they go with a command: stdin, stdout, stderr, exit (locked)."""
    made = [os.open(os.devnull, os.O_RDONLY)]
    made += [os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600) for name in ("stdout", "stderr", "exit")]
    fcntl.flock(made[-1], fcntl.LOCK_EX)
    return made


def held(folder: Path) -> bool:
    descriptor = os.open(folder / "exit", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def started(host: HostEnd, guest: RawGuest, folder: Path) -> tuple[socket.socket, dict[bytes, int]]:
    """A client that has asked for a command, and the numbers that the guest was told of its descriptors, by name."""
    client = host.client()
    request = messages.Exec(1, 0, 0, QUOTA, b"/", [b"true"], [])
    given = command(folder)
    socket.send_fds(client, [frames.encode(messages.EXEC, 1, request.fields())], given)
    for descriptor in given:
        os.close(descriptor)
    fields = wire.fields_of(guest.until(wire.CARRY)[2])
    assert fields[1::2] == [wire.SOURCE, wire.FILE, wire.FILE, wire.FILE]
    guest.until(wire.DATA)
    numbers = [int(each) for each in fields[::2]]
    return client, dict(zip((b"stdin", b"stdout", b"stderr", b"exit"), numbers, strict=True))


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" * 2,
        bytes(100),
        frames.HEADER.pack(1, wire.DATA, 0, 1, wire.PAYLOAD + 1),
        wire.frame(wire.DATA, 1, b"to a stream that there is not"),
        wire.frame(wire.DATA, 2, b"x"),
        wire.frame(wire.END, 99),
        wire.frame(wire.CREDIT, 1 << 30, b"1234"),
        wire.frame(99, wire.CONTROL),
        wire.told(wire.CONFIGURE, wire.CONTROL, []),
        wire.told(wire.DONE, wire.CONTROL, []),
        wire.told(wire.DONE, wire.CONTROL, [b"7"]),
        wire.told(wire.REFUSED, wire.CONTROL, [b"3"]),
        wire.frame(wire.HELLO, wire.CONTROL, b"\xff\xff\xff\xff"),
        wire.told(wire.OPEN, 2, []),
        wire.told(wire.OPEN, 2, [wire.AGENT]),
        wire.told(wire.OPEN, 2, [wire.PORT, b"22"]),
        wire.told(wire.OPEN, 2, [wire.JOB, b"storage"]),
        wire.told(wire.OPEN, 2, [wire.FILE]),
        wire.told(wire.OPEN, 1, [wire.CLIENT, b"1"]),
        wire.told(wire.OPEN, 2, [wire.CLIENT, b"1"]) * 2,
        wire.told(wire.OPEN, 2, [wire.CLIENT, b"9" * 40]),
        wire.told(wire.OPEN, 0, [wire.CLIENT, b"1"]),
    ],
)  # fmt: skip
def test_what_is_not_the_protocol_ends_the_bridge(ends: tuple[HostEnd, RawGuest], said: bytes) -> None:
    host, guest = ends
    client = host.client()
    client.send(b"half a fra")
    guest.say(said)
    assert host.over() is Outcome.BROKEN
    assert host.bridge.problem
    assert gone(client)
    client.close()


def said_about(numbers: dict[bytes, int]) -> dict[str, bytes]:
    agent, out = 1, numbers[b"stdout"]
    most = QUOTA + TAIL
    return {
        "beyond the quota and the tail": wire.write(out, most, b"x"),
        "across the bound": wire.write(out, most - 1, b"xx"),
        "a terabyte away": wire.write(out, 1 << 40, b"x"),
        "negative, if it were signed": wire.write(out, (1 << 64) - 1, b"x"),
        "a sparse file of a terabyte": wire.cut(out, 1 << 40),
        "a record as long as a book": wire.write(numbers[b"exit"], RECORD, b"x"),
        "a write without an offset": wire.frame(wire.WRITE, out, b"1234"),
        "data for a file": wire.frame(wire.DATA, out, b"x"),
        "a write to the standard input": wire.write(numbers[b"stdin"], 0, b"x"),
        "data for the standard input": wire.frame(wire.DATA, numbers[b"stdin"], b"x"),
        "a write to a connection": wire.write(agent, 0, b"x"),
        "a write after the end": wire.frame(wire.END, out) + wire.write(out, 0, b"x"),
        "two ends": wire.frame(wire.END, agent) * 2,
        "data after the end": wire.frame(wire.END, agent) + wire.frame(wire.DATA, agent, b"x"),
        "credit for more than was sent": wire.credit(agent, wire.WINDOW),
        "credit of four billion": wire.credit(agent, (1 << 32) - 1),
        "descriptors for the host": wire.told(wire.CARRY, agent, [b"9", wire.FILE]),
        "opened, which it is": wire.frame(wire.OPENED, agent),
    }


@pytest.mark.parametrize("what", said_about({b"stdin": 3, b"stdout": 5, b"stderr": 7, b"exit": 9}))
def test_lies_about_a_command_end_the_bridge_and_change_nothing(
    ends: tuple[HostEnd, RawGuest], state_dir: Path, what: str
) -> None:
    host, guest = ends
    client, numbers = started(host, guest, state_dir)
    guest.say(said_about(numbers)[what])
    assert host.over() is Outcome.BROKEN
    assert [(state_dir / name).stat().st_size for name in ("stdout", "stderr", "exit")] == [0, 0, 0]
    assert not held(state_dir)
    client.close()


def test_all_that_may_be_written_of_an_output_is_its_quota_and_its_tail(
    ends: tuple[HostEnd, RawGuest], state_dir: Path
) -> None:
    host, guest = ends
    client, numbers = started(host, guest, state_dir)
    most = QUOTA + TAIL
    guest.say(wire.write(numbers[b"stdout"], most - 3, b"end"), wire.write(numbers[b"exit"], 0, b"x" * 100))
    guest.say(wire.frame(wire.DATA, 1, b"told"))
    assert client.recv(100) == b"told"  # what was written before is in the files
    assert (state_dir / "stdout").stat().st_size == most
    assert (state_dir / "exit").read_bytes() == b"x" * 100
    assert held(state_dir)
    guest.say(wire.frame(wire.END, numbers[b"exit"]))
    eventually(lambda: not held(state_dir), "the lock goes with the last copy inside")
    client.close()


def test_a_window_that_is_not_kept_ends_the_bridge(ends: tuple[HostEnd, RawGuest], state_dir: Path) -> None:
    host, guest = ends
    client, _ = started(host, guest, state_dir)  # it reads nothing
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(40):
        guest.say(wire.frame(wire.DATA, 1, bytes(wire.PAYLOAD)))
    assert host.over() is Outcome.BROKEN
    assert "window" in host.bridge.problem
    client.close()


def test_thousands_of_streams_are_refused_and_cost_nothing(ends: tuple[HostEnd, RawGuest]) -> None:
    host, guest = ends
    for number in range(2, 10_002, 2):
        guest.say(wire.told(wire.OPEN, number, [wire.CLIENT, b"1"]))
        assert guest.until(wire.RESET)[1] == number
        guest.say(wire.frame(wire.END, number))
    eventually(lambda: not host.bridge.streams, "none of them is left")


def test_streams_that_are_never_ended_are_too_many_in_the_end(ends: tuple[HostEnd, RawGuest]) -> None:
    host, guest = ends
    for number in range(2, 2 * wire.MAX_STREAMS + 4, 2):
        guest.say(wire.told(wire.OPEN, number, [wire.CLIENT, b"1"]))
    assert host.over() is Outcome.BROKEN
    assert len(host.bridge.streams) <= wire.MAX_STREAMS


def test_who_makes_us_answer_without_reading_is_ended(ends: tuple[HostEnd, RawGuest]) -> None:
    host, guest = ends
    number = 0
    try:
        while host.outcome is None:
            batch = []
            for _ in range(1000):
                number += 2
                batch += [wire.told(wire.OPEN, number, [wire.CLIENT, b"1"]), wire.frame(wire.END, number)]
            guest.port.sendall(b"".join(batch))
    except OSError:
        pass
    assert host.over() is Outcome.BROKEN
    assert "read" in host.bridge.problem
    assert host.most_queued < MOST_QUEUED + (1 << 20)


def test_connections_that_nobody_asked_for_reach_nobody(ends: tuple[HostEnd, RawGuest], state_dir: Path) -> None:
    host, guest = ends
    client, _ = started(host, guest, state_dir)
    guest.say(wire.told(wire.OPEN, 2, [wire.CLIENT, b"1"]))  # 1 is the client's connection to the agent
    assert guest.until(wire.RESET)[1] == 2
    client.close()


def test_a_guest_may_hold_so_many_connections_to_the_host_and_no_more(ends: tuple[HostEnd, RawGuest]) -> None:
    host, guest = ends
    asked = host.client()
    asked.send(frames.encode(wire.ASK_LISTEN, 1, [b"8000"]))
    listening = guest.until(wire.OPEN)[1]
    guest.say(wire.frame(wire.OPENED, listening))
    asked.recv(100)
    taken = []
    for number in range(2, 2 * MOST_INSIDE + 12, 2):
        guest.say(wire.told(wire.OPEN, number, [wire.CLIENT, b"%d" % listening]))
        if number <= 2 * MOST_INSIDE - 2:
            taken.append(socket.recv_fds(asked, 1, 1)[1][0])
    refused = guest.until(wire.RESET)[1]
    assert refused >= 2 * MOST_INSIDE - 2
    for descriptor in taken:
        os.close(descriptor)
    asked.close()


def test_a_guest_that_reads_nothing_costs_no_memory(ends: tuple[HostEnd, RawGuest]) -> None:
    host, guest = ends
    clients = [host.client() for _ in range(20)]
    tracemalloc.start()
    for client in clients:
        client.setblocking(False)
        try:
            while True:
                client.send(frames.HEADER.pack(1, messages.TOOL, 0, 1, frames.MAX_PAYLOAD) + bytes(1 << 16))
        except BlockingIOError:
            pass
    eventually(lambda: host.bridge.crowded, "there is no room for more")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert host.most_queued <= HIGH + 5 * wire.PAYLOAD
    assert peak < 4 << 20
    before = host.turns
    for client in clients:
        client.close()
    assert host.turns - before < 200  # nobody spins
    assert guest.hear()[0] == wire.OPEN


FRAMES = st.lists(
    st.one_of(
        st.builds(wire.frame, st.integers(0, 30), st.integers(0, 9), st.binary(max_size=20)),
        st.builds(
            lambda number, kind, word: wire.told(wire.OPEN, number, [kind, word]),
            st.integers(0, 20),
            st.sampled_from([wire.CLIENT, wire.AGENT, wire.FILE, b""]),
            st.sampled_from([b"1", b"3", b"", b"x", b"-1"]),
        ),
        st.builds(wire.credit, st.integers(0, 9), st.integers(0, 2**32 - 1)),
        st.builds(wire.write, st.integers(0, 9), st.integers(0, 2**64 - 1), st.binary(max_size=9)),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(FRAMES)
def test_no_sequence_of_frames_is_worse_than_the_end_of_the_bridge(many: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    one, other = socket.socketpair()
    with theirs, other:
        bridge = Bridge(ours)
        made = os.memfd_create("file")
        from sandlot.runtimes.qemu.clients import AgentFlow

        AgentFlow(bridge, one, [(frames.encode(messages.PING, 1, []), [made])])
        theirs.setblocking(False)
        theirs.send(b"".join(many))
        theirs.close()
        assert bridge.serve() in (Outcome.BROKEN, Outcome.CLOSED, Outcome.ENDED)
        bridge.close()


def test_a_client_of_another_user_is_not_served(
    ends: tuple[HostEnd, RawGuest], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = ends
    monkeypatch.setattr("sandlot.runtimes.qemu.clients.os.geteuid", lambda: 4711)
    if os.getuid() == 0:
        monkeypatch.setattr("sandlot.runtimes.qemu.clients._CREDENTIALS", _Other())
    with host.client() as client:
        assert gone(client)


class _Other:
    """Says that the peer is somebody else."""

    size = 12

    def unpack(self, _found: bytes) -> tuple[int, int, int]:
        return 1, 4712, 1


def test_a_refused_start_is_told_to_who_asked(ends: tuple[HostEnd, RawGuest]) -> None:
    host, guest = ends
    from threading import Thread

    from sandlot.errors import StartFailed

    failures: list[BaseException] = []

    def ask() -> None:
        try:
            asking.start(host.socket, {wire.IDLE: b"0"})
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=ask)
    thread.start()
    guest.until(wire.START)
    guest.say(wire.told(wire.REFUSED, wire.CONTROL, [b"3", b"start_failed", b"no " + b"x" * 5000]))
    thread.join()
    assert isinstance(failures[0], StartFailed)
    assert len(failures[0].message) <= 4000
