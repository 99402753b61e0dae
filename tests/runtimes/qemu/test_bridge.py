"""The bridge between two ends that understand each other: bytes, ends and descriptors arrive as on one machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.guest import bridge_flows, channel, jobs, sink
from sandlot.guest.bridge import GuestBridge
from sandlot.guest.mux import HIGH
from sandlot.runtimes.qemu import asking
from sandlot.runtimes.qemu.bridge import Outcome
from sandlot.wire import bridge as wire
from sandlot.wire import frames, messages
from tests.runtimes.bridge_ends import PATIENCE_S, GuestEnd, HostEnd, eventually, joined

Ends = tuple[HostEnd, GuestEnd]
HEAD = frames.encode(messages.PING, 1, [])


@pytest.fixture
def ends(state_dir: Path) -> Iterator[Ends]:
    with joined(state_dir) as made:
        yield made


def connected(ends: Ends, *given: int) -> tuple[socket.socket, socket.socket, list[int]]:
    """(a client, the agent's end of its connection, what the agent got for the descriptors)."""
    host, guest = ends
    client = host.client()
    socket.send_fds(client, [HEAD], list(given))
    agent = guest.accept()
    data, descriptors = b"", []
    while len(data) < len(HEAD):
        more, found = channel.receive(agent)
        data += more
        descriptors += found
    assert data == HEAD
    return client, agent, descriptors


def pipe_of(ends: Ends, writing: bool) -> tuple[int, int]:
    """(the host's end of a pipe, the guest's end of it)."""
    read, write = os.pipe()
    passed, kept = (write, read) if writing else (read, write)
    client, agent, (inside,) = connected(ends, passed)
    os.close(passed)
    client.close()
    agent.close()
    return kept, inside


def read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb", buffering=0) as file:
        return file.read()


def read_to_end(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(1 << 16):
        found += data
    return found


# Connections


def test_bytes_go_both_ways_and_each_half_ends_by_itself(ends: Ends) -> None:
    client, agent, _ = connected(ends)
    with client, agent:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(agent) == b"question"
        agent.sendall(b"answer")
        assert client.recv(6) == b"answer"
        agent.close()
        assert client.recv(1) == b""
    host, guest = ends
    eventually(lambda: not host.bridge.streams and not guest.bridge.streams, "both ends forget the stream")


def test_an_agent_that_hangs_up_is_gone_for_its_client(ends: Ends) -> None:
    client, agent, _ = connected(ends)
    agent.sendall(b"last word")
    agent.close()
    assert read_to_end(client) == b"last word"
    eventually(lambda: broken(client), "writing to it fails")
    client.close()


def broken(connection: socket.socket) -> bool:
    try:
        connection.send(b"x", socket.MSG_DONTWAIT)
    except (BrokenPipeError, ConnectionResetError):
        return True
    except BlockingIOError:
        pass
    return False


def test_a_client_that_dies_is_gone_for_the_agent_even_while_that_is_stuck_writing(ends: Ends) -> None:
    client, agent, _ = connected(ends)
    agent.setblocking(False)
    flood(agent)
    client.close()
    eventually(lambda: broken(agent), "writing to it fails")
    agent.close()


def flood(connection: socket.socket) -> None:
    """Send until nothing more is taken."""
    with contextlib.suppress(BlockingIOError):
        while connection.send(bytes(1 << 16)):
            pass


def test_much_passes_unchanged_both_ways_at_once(ends: Ends) -> None:
    client, agent, _ = connected(ends)
    data = os.urandom(1 << 20) * 8
    found: list[bytes] = []

    def echo() -> None:
        with agent:
            while piece := agent.recv(1 << 16):
                agent.sendall(piece)

    threads = [threading.Thread(target=echo), threading.Thread(target=lambda: found.append(read_to_end(client)))]
    for thread in threads:
        thread.start()
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert found == [data]
    client.close()


def test_nobody_waits_for_a_client_that_does_not_read(ends: Ends) -> None:
    slow, flooding, _ = connected(ends)
    flooding.setblocking(False)
    flood(flooding)
    client, agent, _ = connected(ends)
    agent.sendall(b"hello")
    assert client.recv(5) == b"hello"
    host, _ = ends
    assert host.most_queued <= HIGH + 5 * wire.PAYLOAD
    for each in (slow, flooding, client, agent):
        each.close()


def test_nothing_turns_while_nothing_moves(ends: Ends) -> None:
    """A client that does not read, a source that never ends, a pipe that is full: none of them makes an end spin."""
    host, guest = ends
    slow, flooding, _ = connected(ends)
    flooding.setblocking(False)
    flood(flooding)
    endless = os.open("/dev/zero", os.O_RDONLY)
    full, inside = pipe_of(ends, writing=False)
    other, agent, (zeros,) = connected(ends, endless)
    os.set_blocking(full, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(full, bytes(4096)):
            pass
    settled(ends)
    before = host.turns, guest.turns
    threading.Event().wait(0.3)
    assert max(host.turns - before[0], guest.turns - before[1]) <= 3
    for descriptor in (endless, full, inside, zeros):
        os.close(descriptor)
    for each in (slow, flooding, other, agent):
        each.close()


def settled(ends: Ends) -> None:
    """Return when neither end has turned for a while."""
    host, guest = ends
    seen = [(-1, -1)]

    def quiet() -> bool:
        seen.append((host.turns, guest.turns))
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    eventually(quiet, "nothing moves any more")


def test_many_clients_at_once_each_get_their_own(ends: Ends) -> None:
    host, guest = ends

    def serve() -> None:
        for _ in range(200):
            agent = guest.accept()
            with agent:
                agent.sendall(b"you said " + agent.recv(1 << 16)[len(HEAD) :])

    serving = threading.Thread(target=serve)
    serving.start()
    clients = [host.client() for _ in range(200)]
    for number, client in enumerate(clients):
        client.sendall(HEAD + b"%d" % number)
    answers = [read_to_end(client) for client in clients]
    serving.join(PATIENCE_S)
    assert answers == [b"you said %d" % number for number in range(200)]
    for client in clients:
        client.close()
    eventually(lambda: not host.bridge.streams and not guest.bridge.streams, "nothing is left of them")


# Descriptors


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


# Files


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


# Ports


def inside_server() -> tuple[socket.socket, int]:
    made = socket.create_server(("127.0.0.1", 0))
    made.settimeout(PATIENCE_S)
    return made, made.getsockname()[1]


def test_a_port_inside_is_reached_and_a_reset_is_one(ends: Ends) -> None:
    host, _ = ends
    listening, port = inside_server()
    with listening, asking.connect(host.socket, port) as outside:
        outside.settimeout(PATIENCE_S)
        there, _ = listening.accept()
        outside.sendall(b"hello")
        assert there.recv(5) == b"hello"
        there.sendall(b"half")
        assert outside.recv(4) == b"half"
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.close()
        with pytest.raises(ConnectionResetError):
            outside.recv(1)


def test_a_port_on_which_nobody_listens_refuses(ends: Ends) -> None:
    listening, port = inside_server()
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        asking.connect(ends[0].socket, port)


def test_a_server_on_ipv6_alone_is_found(ends: Ends) -> None:
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listening, asking.connect(ends[0].socket, listening.getsockname()[1]) as outside:
        there, _ = listening.accept()
        with there:
            outside.sendall(b"six")
            assert there.recv(3) == b"six"


def test_the_host_listens_inside_as_long_as_it_wants(ends: Ends) -> None:
    host, guest = ends
    free, port = inside_server()
    free.close()
    listener = asking.listen(host.socket, port)
    with socket.create_connection(("127.0.0.1", port)) as there:
        outside, _ = listener.accept()
        with outside:
            outside.settimeout(PATIENCE_S)
            there.sendall(b"GET / HTTP/1.1")
            assert outside.recv(100) == b"GET / HTTP/1.1"
            outside.sendall(b"200")
            outside.close()
            assert there.recv(100) == b"200"
            assert there.recv(100) == b""
    with pytest.raises(OSError, match="in use"):
        asking.listen(host.socket, port)
    listener.close()

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return True
        return False

    eventually(refused, "nobody listens any more")
    eventually(lambda: not host.bridge.streams and not guest.bridge.streams, "nothing is left")


@pytest.mark.parametrize("fields", [[b"0"], [b"65536"], [b"x"], [], [b"-1"]])
def test_a_port_that_is_none_is_refused(ends: Ends, fields: list[bytes]) -> None:
    with ends[0].client() as client:
        client.sendall(frames.encode(wire.ASK_PORT, 1, fields))
        [(kind, _, _)] = frames.Decoder().feed(client.recv(4096))
        assert kind == messages.FAILED


# Jobs


def test_a_job_runs_in_a_process_of_its_own_with_a_connection_to_who_asked(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(jobs.JOBS, b"echo", f"{__name__}:echoing")
    with asking.job(ends[0].socket, b"echo", [b"word"]) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(b"content " * 100_000)
        connection.shutdown(socket.SHUT_WR)
        answer = read_to_end(connection)
    pid, word, size = answer.split()
    assert int(pid) != os.getpid()
    assert (word, size) == (b"word", b"800000")


def echoing(connection: socket.socket, words: list[bytes]) -> None:
    """Runs in the job's process."""
    size = 0
    while data := connection.recv(1 << 16):
        size += len(data)
    connection.sendall(b"%d %s %d" % (os.getpid(), words[0], size))


def test_a_job_that_there_is_not_is_at_its_end_at_once(ends: Ends) -> None:
    with asking.job(ends[0].socket, b"nonsense") as connection:
        connection.settimeout(PATIENCE_S)
        assert connection.recv(1) == b""


# The guest itself


def test_clients_that_come_before_the_agent_wait_for_it(state_dir: Path) -> None:
    with joined(state_dir, start=False) as (host, guest):
        client = host.client()
        client.sendall(HEAD + b"early")
        asking.start(host.socket, {wire.IDLE: b"60"})
        agent = guest.accept()
        assert agent.recv(100) == HEAD + b"early"
        with pytest.raises(Exception, match="runs already"):
            asking.start(host.socket, {})
        client.close()
        agent.close()


def test_a_clone_is_told_who_it_is(ends: Ends) -> None:
    assert ends[1].configured == [{wire.HOSTNAME: b"clone"}]


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


def test_a_guest_that_is_gone_is_the_end_of_every_connection(state_dir: Path) -> None:
    with joined(state_dir) as (host, guest):
        client, agent, _ = connected((host, guest))
        guest.bridge.ended = True
        client.sendall(b"x")  # wakes it
        assert host.over() in (Outcome.ENDED, Outcome.CLOSED)
        assert client.recv(1) in (b"",)
        client.close()
        agent.close()
