"""The clients of a service: whatever they do, its worker goes on, and those who ask or stop get through."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from sandlot.guest import audience
from sandlot.guest.audience import Audience, Client
from sandlot.wire import frames, messages, service


class House:
    """An audience, and the other ends of its connections."""

    def __init__(self) -> None:
        self.poller = select.poll()
        self.audience = Audience(self.poller, service.Report(b"ready"))
        self.sockets: list[socket.socket] = []

    def pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        self.sockets += [ours, theirs]
        ours.settimeout(20)
        return ours, theirs

    def join(self) -> socket.socket:
        ours, theirs = self.pair()
        self.audience.join(theirs, 1)
        return ours

    def hear(self) -> audience.Asked:
        return self.audience.hear(dict(self.poller.poll(0)))


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    for each in made.sockets:
        each.close()


def said(ours: socket.socket) -> list[int]:
    """The kinds of what a client has been told, -1 at the end for a closed connection."""
    ours.settimeout(0.05)
    decoder, found = frames.Decoder(), []
    try:
        while data := ours.recv(65536):
            found += [kind for kind, _, _ in decoder.feed(data)]
    except TimeoutError:
        return found
    return [*found, -1]


def ask(ours: socket.socket, kind: int, fields: list[bytes] | None = None) -> None:
    ours.sendall(frames.encode(kind, 1, fields or []))


def test_who_joins_is_told_at_once_and_at_every_change(house: House) -> None:
    client = house.join()
    assert said(client) == [messages.JOINED, service.REPORT]
    house.audience.tell_all()
    assert said(client) == [service.REPORT]


def test_however_many_follow_others_ask_and_stop(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MAX_FOLLOWERS", 3)
    followers = [house.join() for _ in range(5)]
    for each in followers:
        said(each)
        ask(each, service.FOLLOW)
    house.hear()
    assert [said(each) for each in followers] == [[]] * 3 + [[messages.FAILED, -1]] * 2
    late = house.join()
    assert said(late) == [messages.JOINED, service.REPORT]
    ask(late, service.STOP, [b"1500"])
    assert house.hear().grace_s == 1.5
    assert house.hear().grace_s < 0


def test_beyond_all_room_a_client_still_learns_the_state(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MAX_CLIENTS", 2)
    first, _, third = (house.join() for _ in range(3))
    assert said(third) == [messages.JOINED, -1]
    first.close()
    house.hear()
    assert said(house.join()) == [messages.JOINED, service.REPORT]


def test_who_does_not_read_misses_marks_and_is_let_go_at_a_change(house: House) -> None:
    deaf, awake = house.join(), house.join()
    for each in (deaf, awake):
        said(each)
        ask(each, service.FOLLOW)
    house.hear()
    for total in range(1, 5000):
        house.audience.told_at = 0.0
        house.audience.progress([total, 0])
        if total % 100 == 0:
            awake.recv(1 << 20)
    assert len(house.audience.clients) == 2
    house.audience.tell_all()
    assert said(awake)[-1] == service.REPORT
    assert said(deaf)[-1] == -1


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,
        frames.encode(service.STOP, 1, []),
        frames.encode(service.STOP, 1, [b"-1"]),
        frames.encode(service.STOP, 1, [b"600001"]),
        frames.encode(service.STOP, 1, [b"soon"]),
    ],
    ids=["garbage", "no grace", "negative", "too long", "a word"],
)
def test_who_talks_nonsense_is_let_go_and_nothing_is_done(house: House, data: bytes) -> None:
    client = house.join()
    said(client)
    client.sendall(data)
    assert house.hear().grace_s < 0
    assert said(client) == [-1]
    assert house.audience.clients == {}


@pytest.mark.parametrize("kept", [False, True])
def test_a_start_is_abandoned_when_its_caller_leaves_before_it_said_keep(house: House, kept: bool) -> None:
    ours, theirs = house.pair()
    client = Client(theirs, 1)
    house.audience.holder = client
    house.audience.add(client)
    if kept:
        ask(ours, service.KEEP)
    ours.close()
    asked = [house.hear().abandoned for _ in range(2)]
    assert any(asked) is not kept
