"""What a forked worker does: run one command to its end, or one file tool."""

import _socket
import os

from sandlot.guest import channel
from sandlot.guest.signals import signal
from sandlot.guest.supervisor import Supervisor
from sandlot.wire import frames, messages


def prepare(kind: int, fields: "list[bytes]") -> None:
    """Import, in the agent, what a worker is about to need: the first one waits for it, later ones are born with it."""
    try:
        if kind == messages.EXEC:
            import resource
        elif kind == messages.SHELL:
            import resource

            from sandlot.guest import shell  # noqa: F401
        elif kind == messages.SERVICE:
            import resource  # noqa: F401  as above

            from sandlot.guest import service  # noqa: F401
        else:
            import fcntl  # noqa: F401

            from sandlot.guest import tools

            tools.get(fields[0].decode("ascii", "replace"))
    except Exception:  # noqa: S110  the worker fails in the same way, and says so to its client
        pass


def serve(
    connection: "_socket.socket",
    control: "_socket.socket",
    descriptors: "list[int]",
    kind: int,
    request: int,
    fields: "list[bytes]",
) -> None:
    """Do what one request asks; the caller ends the process afterwards."""
    if kind == messages.EXEC:
        if len(descriptors) != 4:
            raise ValueError("exec needs four descriptors")
        Supervisor(connection, control, messages.Exec.parse(fields), request, descriptors).run()
    elif kind == messages.SHELL:
        from sandlot.guest import shell

        shell.serve(connection, control, descriptors, request, fields)
    elif kind == messages.SERVICE:
        from sandlot.guest import service

        service.serve(connection, control, descriptors, request, fields)
    else:
        control.close()
        _serve_tool(connection, descriptors, request, fields)


def _serve_tool(connection: "_socket.socket", descriptors: "list[int]", request: int, fields: "list[bytes]") -> None:
    """Run a file tool; its items are sent in batches, its client's disappearance ends it."""
    from sandlot.guest import tools

    connection.settimeout(None)
    _end_with(connection)
    batch: list[bytes] = []
    size = 0

    def emit(item: "list[bytes]") -> None:
        nonlocal size
        frame = frames.encode(messages.ITEM, request, item)
        batch.append(frame)
        size += len(frame)
        if size >= 65536:
            flush()

    def flush() -> None:
        nonlocal size
        if batch:
            connection.sendall(b"".join(batch))
            batch.clear()
            size = 0

    try:
        tool = tools.get(fields[0].decode("ascii", "replace"))
        result = tool(fields[1:], descriptors[0] if descriptors else -1, emit)
        flush()
        channel.close_all(descriptors)
        channel.send(connection, messages.RESULT, request, result)
    except tools.ToolError as error:
        flush()
        details = [os.fsencode(line) for line in error.details]
        channel.send(connection, messages.FAILED, request, [error.code.encode(), os.fsencode(error.message), *details])


class ClientLeft(BaseException):
    """Raised in a tool when its client is gone, so that it rolls back and ends."""


def _end_with(connection: "_socket.socket") -> None:
    import fcntl

    def ended(*_: object) -> None:
        try:
            if connection.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT) == b"":
                raise ClientLeft
        except BlockingIOError:
            pass

    def stopped(*_: object) -> None:
        raise ClientLeft

    signal.signal(signal.SIGIO, ended)
    signal.signal(signal.SIGTERM, stopped)
    fcntl.fcntl(connection.fileno(), fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(connection.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(connection.fileno(), fcntl.F_SETFL, flags | os.O_ASYNC)
    ended()
