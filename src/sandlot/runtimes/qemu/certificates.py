"""Giving a guest the certificates that were made for its workspace."""

from __future__ import annotations

from pathlib import Path

from sandlot.errors import AgentUnresponsive, StartFailed
from sandlot.guest.trust import KIND
from sandlot.runtimes.qemu import asking
from sandlot.wire import frames

__all__ = ["send"]

ANSWER_S = 60.0


def send(socket: Path, folder: Path) -> None:
    """Send the files of ``folder`` to the guest behind ``socket``. Raises StartFailed, AgentUnresponsive."""
    fields: list[bytes] = []
    for file in sorted(folder.iterdir()):
        if file.is_file():
            fields += [file.name.encode(), file.read_bytes()]
    if not fields:
        return
    with asking.job(socket, b"trust") as connection:
        connection.settimeout(ANSWER_S)
        try:
            connection.sendall(frames.encode(KIND, 1, fields))
            answer = connection.recv(frames.HEADER.size)
        except TimeoutError as error:
            raise AgentUnresponsive("the guest does not take its certificates") from error
        except (OSError, frames.FrameError) as error:
            raise StartFailed("the guest cannot be given its certificates") from error
    if not answer:
        raise StartFailed("the guest cannot write its certificates")
