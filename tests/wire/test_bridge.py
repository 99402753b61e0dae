"""The bridge's frames: the bytes are fixed for ever, and a port can be cut into any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.wire import bridge, frames


@pytest.mark.parametrize(
    ("made", "golden"),
    [
        (bridge.told(bridge.HELLO, bridge.CONTROL, [b"version", b"1"]),
         "01010000000000000000001000000007" "76657273696f6e" "0000000131"),
        (bridge.told(bridge.OPEN, 1, [bridge.AGENT]), "011000000000000100000009000000056167656e74"),
        (bridge.told(bridge.OPEN, 3, [bridge.PORT, b"8000"]),
         "0110000000000003000000100000000470" "6f7274" "0000000438303030"),
        (bridge.frame(bridge.OPENED, 3), "011100000000000300000000"),
        (bridge.frame(bridge.DATA, 5, b"\0\xff"), "01120000000000050000000200ff"),
        (bridge.credit(5, 65536), "01130000000000050000000400010000"),
        (bridge.frame(bridge.END, 5), "011400000000000500000000"),
        (bridge.frame(bridge.STOP, 5), "011500000000000500000000"),
        (bridge.frame(bridge.RESET, 2, b"111"), "011600000000000200000003313131"),
        (bridge.told(bridge.CARRY, 1, [b"7", bridge.FILE]), "01170000000000010000000d000000013700000004" "66696c65"),
        (bridge.write(7, 4096, b"x"), "01180000000000070000000900000000000010" "0078"),
        (bridge.cut(7, 1), "0119000000000007000000080000000000000001"),
    ],
)  # fmt: skip
def test_golden_bytes(made: bytes, golden: str) -> None:
    assert made.hex() == golden


def test_the_numbers_and_words_of_the_wire_never_change() -> None:
    control = (bridge.HELLO, bridge.CONFIGURE, bridge.START, bridge.DONE, bridge.REFUSED, bridge.ENDED)
    assert control == (1, 2, 3, 4, 5, 6)
    assert (bridge.ASK_PORT, bridge.ASK_LISTEN, bridge.ASK_JOB, bridge.ASK_START) == (200, 201, 202, 203)
    words = (bridge.AGENT, bridge.PORT, bridge.LISTEN, bridge.JOB, bridge.CLIENT)
    assert words == (b"agent", b"port", b"listen", b"job", b"client")
    assert (bridge.SOURCE, bridge.SINK, bridge.FILE, bridge.DUPLEX) == (b"source", b"sink", b"file", b"duplex")
    assert (bridge.WINDOW, bridge.PAYLOAD) == (131072, 32756)


FRAMES = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=80)),
    max_size=8,
)


@given(FRAMES, st.lists(st.integers(0, 2000), max_size=6))
def test_frames_survive_any_cutting(many: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    data = b"".join(bridge.frame(*each) for each in many)
    decoder = bridge.Decoder()
    found = []
    at = 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += decoder.feed(data[at:cut])
        at = cut
    assert found == many
    assert decoder.empty


@given(st.binary(max_size=200))
def test_rubbish_is_frames_or_an_error_and_nothing_else(data: bytes) -> None:
    decoder = bridge.Decoder()
    try:
        for _, _, payload in decoder.feed(data):
            assert len(payload) <= bridge.PAYLOAD
    except bridge.BridgeError:
        pass


@pytest.mark.parametrize(
    "header",
    [
        frames.HEADER.pack(2, bridge.DATA, 0, 1, 0),
        frames.HEADER.pack(1, bridge.DATA, 1, 1, 0),
        frames.HEADER.pack(1, bridge.DATA, 0, 1, bridge.PAYLOAD + 1),
    ],
)
def test_a_malformed_header_is_refused_before_its_payload_is_waited_for(header: bytes) -> None:
    with pytest.raises(bridge.BridgeError):
        bridge.Decoder().feed(header)


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(bridge.BridgeError):
        bridge.frame(bridge.DATA, 1, bytes(bridge.PAYLOAD + 1))
    with pytest.raises(bridge.BridgeError):
        bridge.told(bridge.OPEN, 1, [bytes(bridge.PAYLOAD)])


@pytest.mark.parametrize("payload", [b"", b"1234567"])
def test_an_offset_is_eight_bytes(payload: bytes) -> None:
    with pytest.raises(bridge.BridgeError):
        bridge.offset_of(payload)


@pytest.mark.parametrize("payload", [b"", b"123", b"12345"])
def test_a_credit_is_four_bytes(payload: bytes) -> None:
    with pytest.raises(bridge.BridgeError):
        bridge.credit_of(payload)


def test_values_are_pairs() -> None:
    assert bridge.values_of(bridge.pairs({b"a": b"1", b"b": b""})) == {b"a": b"1", b"b": b""}
    with pytest.raises(bridge.BridgeError):
        bridge.values_of([b"alone"])
