"""Serving on stdio: the front at once, the SDK behind it from the first call on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

from sandlot.mcpserver.answers import load
from sandlot.mcpserver.front import Front, Handover
from sandlot.mcpserver.jsonrpc import Lines, Malformed, parse
from sandlot.mcpserver.output import Output, claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandlot.mcpserver.server import SandlotServer

__all__ = ["serve_stdio"]


def serve_stdio(surface: str, *, read_only: bool, make: Callable[[], SandlotServer]) -> NoReturn:
    """Serve the client at the other end of our standard streams; ``make`` is called at the first message that needs it.

    Ends the process: with the client, or at SIGINT, SIGTERM or SIGHUP. Workspaces go on.
    """
    source, target = claim()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # nothing is open yet that would have to be closed
    lines, output = Lines(source), Output(target)
    handover = _front(surface, read_only, lines, output)
    if handover is not None:
        from sandlot.mcpserver.session import serve

        server = make()
        try:
            serve(server, lines, output, handover)
        finally:
            server.close()
    # Without waiting for threads that may hang in a read.
    os._exit(0)


def _leave(_number: int, _frame: object) -> NoReturn:
    os._exit(0)


def _front(surface: str, read_only: bool, lines: Lines, output: Output) -> Handover | None:
    answers = load(surface, read_only=read_only)
    if answers is not None:
        return Front(answers, lines, output.write).run()
    while True:  # nothing is prepared: the SDK answers from the first message on
        try:
            line = lines.next()
            if line is None:
                return None
            if line.strip():
                return Handover(parse(line), None, False)
        except Malformed as error:
            output.write(error.answer)
