"""What the host may have done inside besides what the agent does: functions that run as root, outside of its reach.

Each runs in a forked process of its own, with one socket to whoever asked for it. A job is
``function(connection, words)``; returning ends the connection.
"""

import _socket
import os

JOBS = {
    b"network": "sandlot.guest.way_out:serve",
    b"storage": "sandlot.guest.storage:serve",
    b"trust": "sandlot.guest.trust:serve",
}
"""name -> module:function"""


_prepared: "dict[bytes, list[tuple[_socket.socket, int]]]" = {}


def prepare(name: bytes) -> None:
    """Start a job that somebody will ask for, in a template: its clones need not fork. Raises KeyError, OSError."""
    _prepared.setdefault(name, []).append(_forked(name, []))


def start(name: bytes, words: "list[bytes]") -> "tuple[_socket.socket, int]":
    """(our end of the job's connection, its pid). Raises KeyError, OSError."""
    waiting = _prepared.get(name)
    return waiting.pop() if waiting and not words else _forked(name, words)


def _forked(name: bytes, words: "list[bytes]") -> "tuple[_socket.socket, int]":
    module, function = JOBS[name].split(":")
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        _run(theirs, module, function, words)
    theirs.close()
    return ours, pid


def _run(connection: "_socket.socket", module: str, function: str, words: "list[bytes]") -> None:
    """The forked process; never returns."""
    status = 1
    try:
        kept = connection.fileno()
        # Nothing of the bridge: a copy of the other end of somebody's pipe would keep it from ending.
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        from importlib import import_module

        getattr(import_module(module), function)(connection, words)
        status = 0
    except BaseException:  # it must never go on as a second bridge
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
