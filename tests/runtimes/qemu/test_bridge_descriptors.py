"""Descriptors through the bridge: pipes, terminals, sockets, and the files that a command writes to."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.guest import bridge_flows, channel, sink
from sandlot.guest.bridge import GuestBridge
from sandlot.runtimes.qemu.bridge import Outcome
from sandlot.wire import bridge as wire
from sandlot.wire import frames, messages
from tests.runtimes.bridge_ends import (
    HEAD,
    PATIENCE_S,
    Ends,
    connected,
    eventually,
    joined,
    pipe_of,
    read_all,
    read_to_end,
)


@pytest.fixture
def ends(state_dir: Path) -> Iterator[Ends]:
    with joined(state_dir) as made:
        yield made


def test_what_is_written_to_a_pipe_is_read_inside_to_its_end(ends: Ends) -> None:
    write, inside = pipe_of(ends, writing=False)
    data = os.urandom(1000) * 500

    def feed() -> None:
        with open(write, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    feeding = threading.Thread(target=feed)
    feeding.start()
    assert read_all(inside) == data
    feeding.join(PATIENCE_S)


def test_what_is_written_inside_is_read_from_a_pipe_to_its_end(ends: Ends) -> None:
    read, inside = pipe_of(ends, writing=True)
    data = os.urandom(1000) * 500

    def feed() -> None:
        with open(inside, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    feeding = threading.Thread(target=feed)
    feeding.start()
    assert read_all(read) == data
    feeding.join(PATIENCE_S)


@pytest.mark.parametrize("writing", [False, True])
def test_a_reader_that_is_gone_is_a_broken_pipe_at_the_other_end(ends: Ends, writing: bool) -> None:
    outside, inside = pipe_of(ends, writing)
    reader, writer = (outside, inside) if writing else (inside, outside)
    os.close(reader)

    def fails() -> bool:
        try:
            os.write(writer, b"x")
        except BrokenPipeError:
            return True
        return False

    eventually(fails, "writing fails")
    os.close(writer)


def test_the_flags_of_what_was_passed_stay_as_they_are(ends: Ends) -> None:
    """They are shared with whoever passed it: a terminal that no longer blocks would break the caller's shell."""
    read, write = os.pipe()
    one, other = socket.socketpair()
    master, slave = os.openpty()
    client, agent, inside = connected(ends, read, write, one.fileno(), slave)
    for descriptor in (read, write, one.fileno(), slave):
        assert not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK
    for descriptor in (read, write, master, slave, *inside):
        os.close(descriptor)
    for each in (client, agent, one, other):
        each.close()


def test_a_terminal_a_file_and_nothing_can_be_read(ends: Ends, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789" * 50_000)
    file = os.open(tmp_path / "file", os.O_RDONLY)
    os.lseek(file, 10, os.SEEK_SET)
    nothing = os.open(os.devnull, os.O_RDONLY)
    master, slave = os.openpty()
    client, agent, (content, empty, typed) = connected(ends, file, nothing, slave)
    for descriptor in (file, nothing, slave):
        os.close(descriptor)
    assert read_all(content) == b"0123456789" * 49_999
    assert read_all(empty) == b""
    os.write(master, b"typed\n")
    assert os.read(typed, 100) == b"typed\n"
    os.close(master)
    assert os.read(typed, 100) == b""
    os.close(typed)
    client.close()
    agent.close()


def test_a_socket_is_passed_on_as_one(ends: Ends) -> None:
    one, other = socket.socketpair()
    client, agent, (inside,) = connected(ends, one.fileno())
    one.close()
    with socket.socket(fileno=inside) as there, other:
        there.settimeout(PATIENCE_S)
        other.sendall(b"to")
        assert there.recv(2) == b"to"
        there.sendall(b"fro")
        assert other.recv(3) == b"fro"
        there.close()
        assert other.recv(1) == b""
    client.close()
    agent.close()


def test_descriptors_come_with_the_bytes_they_were_sent_with(ends: Ends) -> None:
    host, guest = ends
    client = host.client()
    pipes = [os.pipe() for _ in range(3)]
    for number, (read, write) in enumerate(pipes):
        os.write(write, b"pipe %d" % number)
        socket.send_fds(client, [HEAD + b"request %d" % number], [read])
        os.close(read)
        os.close(write)
    client.shutdown(socket.SHUT_WR)
    agent = guest.accept()
    found = b""
    given: list[int] = []
    while True:
        data, descriptors = channel.receive(agent)
        if not data:
            break
        found += data
        for descriptor in descriptors:
            given.append(descriptor)
            assert b"request %d" % (len(given) - 2) in found or len(given) == 1  # never before what was sent earlier
    assert found == b"".join(HEAD + b"request %d" % number for number in range(3))
    assert [read_all(descriptor) for descriptor in given] == [b"pipe 0", b"pipe 1", b"pipe 2"]
    client.close()
    agent.close()


def test_a_guest_without_descriptors_refuses_one_client_and_serves_the_next(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, guest = ends
    made = bridge_flows._inner_end

    def fails(bridge: GuestBridge, number: int, kind: bytes) -> int:
        if kind == wire.SINK:
            raise OSError(errno.EMFILE, "too many")
        return made(bridge, number, kind)

    monkeypatch.setattr(bridge_flows, "_inner_end", fails)
    client = host.client()
    read, write = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    socket.send_fds(client, [HEAD], [nothing, write, nothing])
    os.close(write)
    assert gone(client)
    assert read_all(read) == b""
    client.close()
    guest.accept().close()
    eventually(lambda: not host.bridge.streams and not guest.bridge.streams, "nothing is left of it")
    other, agent, (inside,) = connected(ends, nothing)
    assert read_all(inside) == b""
    for each in (other, agent):
        each.close()
    os.close(nothing)


def gone(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_who_passes_more_than_a_guest_takes_is_refused_and_nobody_else_is(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = ends
    monkeypatch.setattr(wire, "MAX_STREAMS", 32)
    pipes = [os.pipe() for _ in range(5)]
    talks = [connected(ends, *(read for read, _ in pipes)) for _ in range(4)]
    late = host.client()
    socket.send_fds(late, [HEAD], [pipes[0][0]])
    assert gone(late)
    client, agent, inside = talks.pop()
    for descriptor in inside:
        os.close(descriptor)
    client.close()
    agent.close()
    eventually(lambda: len(host.bridge.streams) < 20, "what was passed is forgotten")
    talks += [connected(ends, pipes[0][0])]
    for client, agent, inside in talks:
        for descriptor in inside:
            os.close(descriptor)
        client.close()
        agent.close()
    for pair in pipes:
        for descriptor in pair:
            os.close(descriptor)
    late.close()


def file_of(ends: Ends, path: Path, request: bytes) -> tuple[socket.socket, socket.socket, list[sink.Sink]]:
    """A client and its agent's end, and sinks for the files of a command at ``path``."""
    host, guest = ends
    client = host.client()
    given = [os.open(os.devnull, os.O_RDONLY)]
    given += [os.open(path / name, os.O_RDWR | os.O_CREAT, 0o600) for name in ("stdout", "stderr", "exit")]
    fcntl.flock(given[-1], fcntl.LOCK_EX)
    socket.send_fds(client, [request], given)
    for descriptor in given:
        os.close(descriptor)
    agent = guest.accept()
    _, found = channel.receive(agent)
    os.close(found[0])
    return client, agent, [sink.of(descriptor) for descriptor in found[1:]]


EXEC = frames.encode(messages.EXEC, 1, messages.Exec(1, 0, 0, 1 << 20, b"/", [b"true"], []).fields())


def test_what_was_written_to_a_file_is_there_when_something_is_said_afterwards(ends: Ends, tmp_path: Path) -> None:
    client, agent, (out, err, end) = file_of(ends, tmp_path, EXEC)
    assert out.remote
    for number in range(300):
        out.write(b"%06d" % number, 6 * number)
        err.write(bytes(50_000), 0)
        agent.sendall(b"%06d" % number)
        assert client.recv(6) == b"%06d" % number
        assert (tmp_path / "stdout").read_bytes().endswith(b"%06d" % number)
    out.cut(12)
    end.write(b"over", 0)
    agent.sendall(b"last")
    assert client.recv(4) == b"last"
    assert (tmp_path / "stdout").read_bytes() == b"000000000001"
    assert (tmp_path / "exit").read_bytes() == b"over"
    for each in (out, err, end):
        each.close()
    client.close()
    agent.close()


def test_a_lock_is_held_until_the_last_copy_inside_is_closed(ends: Ends, tmp_path: Path) -> None:
    client, agent, (out, err, end) = file_of(ends, tmp_path, EXEC)
    copy = os.dup(end.descriptor)
    probe = os.open(tmp_path / "exit", os.O_RDONLY)

    def free() -> bool:
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    client.close()
    agent.close()
    end.write(b"record", 0)
    end.close()
    out.close()
    err.close()
    eventually(lambda: (tmp_path / "exit").read_bytes() == b"record", "the record is written")
    assert not free()
    os.close(copy)
    eventually(free, "the lock is gone")
    os.close(probe)


def test_a_file_that_cannot_be_written_fails_inside_and_nothing_else_does(ends: Ends, tmp_path: Path) -> None:
    host, guest = ends
    client = host.client()
    sealed = os.memfd_create("full", os.MFD_ALLOW_SEALING)
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    socket.send_fds(client, [EXEC], [os.open(os.devnull, os.O_RDONLY), sealed])
    agent = guest.accept()
    _, (nothing, target) = channel.receive(agent)
    out = sink.of(target)

    def fails() -> bool:
        try:
            out.write(b"x", 0)
        except OSError:
            return True
        return False

    eventually(fails, "the writer is told")
    agent.sendall(b"all the same")
    assert client.recv(12) == b"all the same"
    out.close()
    os.close(nothing)
    client.close()
    agent.close()
    eventually(lambda: not host.bridge.streams and not guest.bridge.streams, "both ends forget the file")
    os.close(sealed)


def test_the_end_of_the_agent_is_the_end_of_the_bridge_after_its_last_words(ends: Ends, tmp_path: Path) -> None:
    host, guest = ends
    client, agent, (out, err, end) = file_of(ends, tmp_path, EXEC)
    end.write(b"last will", 0)
    agent.sendall(b"farewell")
    for each in (out, err, end):
        each.close()
    agent.close()
    guest.end()
    assert host.over() is Outcome.ENDED
    assert read_to_end(client) == b"farewell"
    assert (tmp_path / "exit").read_bytes() == b"last will"
    client.close()
