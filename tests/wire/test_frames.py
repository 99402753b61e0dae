"""Frames: the bytes are fixed for ever, and what comes out of a workspace can neither hang nor bloat us."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.wire import frames

Frame = tuple[int, int, list[bytes]]

FRAMES = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.lists(st.binary(max_size=40), max_size=6)),
    max_size=6,
)


def encoded(many: list[Frame]) -> bytes:
    return b"".join(frames.encode(kind, request, fields) for kind, request, fields in many)


def in_pieces(decoder: frames.Decoder, data: bytes, cuts: list[int]) -> list[Frame]:
    found: list[Frame] = []
    at = 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += decoder.feed(data[at:cut])
        at = cut
    return found


@pytest.mark.parametrize(
    ("kind", "request_id", "fields", "golden"),
    [
        (1, 1, [], "010100000000000100000000"),
        (64, 7, [b"0", b"12", b""], "01400000000000070000000f000000013000000002313200000000"),
        (255, 2**32 - 1, [b"\x00\xff"], "01ff0000ffffffff000000060000000200ff"),
    ],
)  # fmt: skip
def test_the_bytes_of_a_frame_never_change(kind: int, request_id: int, fields: list[bytes], golden: str) -> None:
    assert frames.encode(kind, request_id, fields).hex() == golden
    assert frames.Decoder().feed(bytes.fromhex(golden)) == [(kind, request_id, fields)]


def test_the_limits_never_shrink() -> None:
    assert frames.VERSION == 1
    assert frames.HEADER.size == 12
    assert frames.MAX_PAYLOAD == 4 << 20
    assert frames.MAX_FIELDS == 65536


@given(FRAMES, st.lists(st.integers(0, 2000), max_size=20))
def test_frames_arrive_whole_however_the_stream_is_cut(many: list[Frame], cuts: list[int]) -> None:
    assert in_pieces(frames.Decoder(), encoded(many), cuts) == many


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_are_frames_or_a_frame_error(data: bytes, cuts: list[int]) -> None:
    try:
        found = in_pieces(frames.Decoder(), data, cuts)
    except frames.FrameError:
        return
    assert data.startswith(encoded(found))


@given(FRAMES, st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_damage_anywhere_never_invents_more_than_the_bytes_hold(many: list[Frame], at: int, damage: bytes) -> None:
    data = bytearray(encoded(many) or frames.encode(1, 1, [b"x"]))
    place = at % len(data)
    data[place : place + len(damage)] = damage
    try:
        found = frames.Decoder().feed(bytes(data))
    except frames.FrameError:
        return
    assert sum(12 + sum(4 + len(field) for field in fields) for _, _, fields in found) <= len(data)


@pytest.mark.parametrize(
    "header",
    [
        frames.HEADER.pack(0, 1, 0, 1, 0),
        frames.HEADER.pack(2, 1, 0, 1, 0),
        frames.HEADER.pack(1, 1, 1, 1, 0),
        frames.HEADER.pack(1, 1, 0, 1, frames.MAX_PAYLOAD + 1),
        frames.HEADER.pack(1, 1, 0, 1, 2**32 - 1),
    ],
)
def test_a_wrong_header_is_refused_before_its_payload_is_waited_for(header: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.Decoder().feed(header)


@pytest.mark.parametrize(
    "payload",
    [b"\0", b"\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\0\0\0\0" * (frames.MAX_FIELDS + 1), b"\0\0\0\1a\0"],
)
def test_a_payload_that_does_not_add_up_is_refused(payload: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.decode_fields(payload)


def test_a_frame_as_large_as_allowed_passes_and_one_byte_more_does_not() -> None:
    field = bytes(frames.MAX_PAYLOAD - 4)
    assert frames.Decoder().feed(frames.encode(1, 1, [field])) == [(1, 1, [field])]
    with pytest.raises(frames.FrameError):
        frames.encode(1, 1, [field + b"x"])
    with pytest.raises(frames.FrameError):
        frames.encode(1, 1, [b""] * (frames.MAX_FIELDS + 1))


def test_a_claimed_length_allocates_nothing_until_the_bytes_are_there() -> None:
    decoder = frames.Decoder()
    tracemalloc.start()
    try:
        decoder.feed(frames.HEADER.pack(1, 1, 0, 1, frames.MAX_PAYLOAD) + b"\0\0\0\1")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024
