"""Where output goes: a file of the host, or words for the bridge that come to the same."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sandlot.guest import sink
from sandlot.guest.stream import TAIL, Stream
from sandlot.wire import bridge

PIECE = sink.PIECE


def test_a_packet_fits_into_a_frame() -> None:
    assert PIECE == bridge.PIECE


def remote() -> tuple[sink.Sink, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return sink.of(theirs.detach()), ours


def replayed(packets: socket.socket, path: Path) -> bytes:
    """What a keeper makes of the packets that are there."""
    with open(path, "w+b", buffering=0) as file:
        while True:
            try:
                packet = packets.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            if not packet:
                break
            word, number = sink.HEAD.unpack_from(packet)
            assert len(packet) - sink.HEAD.size <= PIECE
            if word == sink.CUT:
                file.truncate(number)
            else:
                os.pwrite(file.fileno(), packet[sink.HEAD.size :], number)
    return path.read_bytes()


def test_a_file_and_the_bridge_are_told_apart(tmp_path: Path) -> None:
    local = sink.of(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT))
    far, packets = remote()
    assert (local.remote, far.remote) == (False, True)
    for each in (local, far):
        assert each.write(b"0123456789", 0) == 10
        assert each.write(b"ab", 4) == 2
        each.cut(8)
        each.close()
    assert (tmp_path / "file").read_bytes() == b"0123ab67"
    assert replayed(packets, tmp_path / "replayed") == b"0123ab67"
    packets.close()


def test_what_is_long_goes_in_pieces(tmp_path: Path) -> None:
    far, packets = remote()
    data = os.urandom(3 * PIECE + 5)
    assert far.write(data, 7) == len(data)
    far.close()
    assert replayed(packets, tmp_path / "replayed") == bytes(7) + data
    packets.close()


def test_the_last_words_are_known_without_the_file() -> None:
    far, packets = remote()
    far.write(b"x" * 10_000, 0)
    far.write(b"No space left on device", 10_000)
    assert far.last(4096, 10_023).endswith(b"xNo space left on device")
    assert len(far.last(4096, 10_023)) == 4096
    assert far.last(5, 10_023) == b"evice"
    far.close()
    packets.close()


def test_when_the_host_takes_no_more_writing_fails() -> None:
    far, packets = remote()
    packets.shutdown(socket.SHUT_RD)
    with pytest.raises(OSError, match="pipe"):
        far.write(b"x", 0)
    far.close()
    packets.close()


@pytest.mark.parametrize("size", [10, 1000, 200_000])
def test_a_stream_keeps_the_same_either_way(tmp_path: Path, size: int) -> None:
    """Its quota and its tail."""
    data = os.urandom(size)
    found = []
    for name in ("local", "far"):
        packets: socket.socket | None = None
        if name == "local":
            stream = Stream(os.open(tmp_path / name, os.O_RDWR | os.O_CREAT), 500)
        else:
            far, packets = remote()
            stream = Stream(far.descriptor, 500)
        for at in range(0, size, 4096):
            os.write(stream.sink, data[at : at + 4096])
            stream.drain()
        os.close(stream.sink)
        stream.drain()
        assert stream.total == size
        stream.target.close()
        found.append(replayed(packets, tmp_path / name) if packets else (tmp_path / name).read_bytes())
        if packets:
            packets.close()
    assert found[0] == found[1]
    assert found[0][:500] == data[:500]
    assert len(found[0]) <= 500 + TAIL
