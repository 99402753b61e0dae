"""The bridge between two ends that understand each other: connections, jobs, and the ends themselves."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.guest import jobs
from sandlot.guest.mux import HIGH
from sandlot.runtimes.qemu import asking
from sandlot.runtimes.qemu.bridge import Outcome
from sandlot.wire import bridge as wire
from tests.runtimes.bridge_ends import (
    HEAD,
    PATIENCE_S,
    Ends,
    connected,
    eventually,
    joined,
    pipe_of,
    read_to_end,
)


@pytest.fixture
def ends(state_dir: Path) -> Iterator[Ends]:
    with joined(state_dir) as made:
        yield made


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


def test_the_last_job_begins_when_the_agent_has_ended_and_the_guest_waits_for_it(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, guest = ends
    monkeypatch.setitem(jobs.JOBS, b"last", f"{__name__}:answering")
    with asking.job(host.socket, b"last", [wire.LAST]) as connection:
        connection.settimeout(PATIENCE_S)
        eventually(lambda: bool(guest.bridge.last), "the guest knows of it")
        assert not any(stream.source >= 0 for stream in guest.bridge.streams.values())  # nobody serves it yet
        guest.end()
        connection.sendall(b"a")
        assert connection.recv(1) == b"b"
        assert host.thread.is_alive()
    assert host.over() is Outcome.ENDED


def test_a_guest_does_not_wait_for_the_last_job_of_somebody_who_is_gone(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, guest = ends
    monkeypatch.setitem(jobs.JOBS, b"last", f"{__name__}:answering")
    with asking.job(host.socket, b"last", [wire.LAST]):
        eventually(lambda: bool(guest.bridge.last), "the guest knows of it")
    guest.end()
    assert host.over() is Outcome.ENDED


def answering(connection: socket.socket, words: list[bytes]) -> None:
    """Runs in the job's process."""
    assert words == []
    while data := connection.recv(1):
        connection.sendall(bytes((data[0] + 1,)))


def test_a_job_that_there_is_not_is_at_its_end_at_once(ends: Ends) -> None:
    with asking.job(ends[0].socket, b"nonsense") as connection:
        connection.settimeout(PATIENCE_S)
        assert connection.recv(1) == b""


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


def test_a_guest_that_is_gone_is_the_end_of_every_connection(state_dir: Path) -> None:
    with joined(state_dir) as (host, guest):
        client, agent, _ = connected((host, guest))
        guest.bridge.ended = True
        client.sendall(b"x")  # wakes it
        assert host.over() in (Outcome.ENDED, Outcome.CLOSED)
        assert client.recv(1) in (b"",)
        client.close()
        agent.close()
