"""The host's end of a connection, against a peer that is faster than we are."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sandlot.runtimes.channel import Channel
from sandlot.wire import frames, messages


def test_a_request_that_was_answered_before_sending_it_returned_is_no_interruption(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = state_dir / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listening, open(os.devnull, "rb") as given:
        listening.bind(os.fspath(path))
        listening.listen()
        real = socket.send_fds

        def send_and_be_overtaken(
            ours: socket.socket, buffers: list[bytes], fds: list[int], flags: int = 0, address: object = None
        ) -> int:
            sent = real(ours, buffers, fds)
            peer, _ = listening.accept()
            with peer:
                _, received, _, _ = socket.recv_fds(peer, 4096, 4)
                for descriptor in received:
                    os.close(descriptor)
                peer.sendall(frames.encode(messages.EXITED, 1, [b"0"]))
            return sent

        monkeypatch.setattr(socket, "send_fds", send_and_be_overtaken)
        with Channel(path) as channel:
            channel.send(messages.EXEC, [b"request"], [given.fileno()])
            assert channel.receive() == (messages.EXITED, [b"0"])
            assert channel.receive() is None
