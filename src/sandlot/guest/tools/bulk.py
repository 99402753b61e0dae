"""Content that travels beside the frames: a pipe or a file whose descriptor the host passed."""

from __future__ import annotations

import os

from sandlot.guest.tools import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 256 * 1024


def need(bulk: int) -> None:
    """Refuse a call that came without its descriptor."""
    if bulk < 0:
        raise ToolError("invalid_argument", "this tool needs a descriptor for its content")


def _wait(bulk: int, writing: bool) -> None:
    """The host may have set O_NONBLOCK, which is shared with us through the open file description."""
    import select

    poller = select.poll()
    poller.register(bulk, select.POLLOUT if writing else select.POLLIN)
    poller.poll()


def receive(bulk: int, size: int = CHUNK) -> bytes:
    """At most ``size`` bytes, from the descriptor's current position; empty at the end."""
    while True:
        try:
            return os.read(bulk, size)
        except BlockingIOError:
            _wait(bulk, writing=False)
        except OSError as error:
            raise ToolError("file_refused", f"the content could not be received: {error.strerror}") from error


def chunks(bulk: int) -> Iterator[bytes]:
    """All that the host sends, in pieces, until it closes its end."""
    while True:
        chunk = receive(bulk)
        if not chunk:
            return
        yield chunk


def send(bulk: int, content: bytes | memoryview) -> None:
    """Write all of ``content``."""
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(bulk, view) :]
        except BlockingIOError:
            _wait(bulk, writing=True)
        except OSError as error:
            raise ToolError("file_refused", f"the content could not be sent: {error.strerror}") from error


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of ``content`` to a regular file; raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
