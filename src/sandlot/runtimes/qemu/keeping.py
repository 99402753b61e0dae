"""Starting a keeper, and what its launcher says to it."""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import select
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandlot import process
from sandlot.errors import StartFailed, StateUnwritable
from sandlot.runtimes.qemu.starter import MESSAGE

__all__ = ["Kept", "Plan", "log_lines", "starting"]

_CODE = (
    "import os, sys; sys.path[:0] = os.environ.pop('SANDLOT_PATH').split(os.pathsep); "
    "from sandlot.runtimes.qemu.starter import main; main()"
)
_LOG_BYTES = 16 * 1024
GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a keeper is told to keep."""

    life: str
    """``clone`` or ``boot``."""
    argv: tuple[str, ...]
    """QEMU's command line, with the sockets that the keeper makes for it under their fixed numbers."""
    state: str
    """The file to load, or to save to."""
    reads: tuple[str, ...] = ()
    """Files that QEMU opens, besides programs and libraries."""
    writes: tuple[str, ...] = ()
    """Files that it also writes."""
    hostname: str = "sandlot"
    workspace: str = ""


class Kept:
    """A keeper on a leash, which waits for its plan: until ``release`` it ends when we do."""

    def __init__(self, listening: Path, log: Path) -> None:
        self._log = log
        self._socket = listening
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.qemu: process.ProcessIdentity | None = None
        self.identity: process.ProcessIdentity | None = None
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            listener = stack.enter_context(_listen(listening))
            output = _open_log(log)
            stack.callback(os.close, output)
            passed = [theirs.fileno(), listener.fileno()]
            argv = [sys.executable, "-S", "-E", "-B", "-c", _CODE, *map(str, passed)]
            environment = {"SANDLOT_PATH": os.pathsep.join(filter(None, sys.path)), "LC_ALL": "C.UTF-8"}
            child = process.spawn_detached(argv, env=environment, log=output, pass_fds=passed)
        self.identity = process.identify(child.pid)

    def keep(self, plan: Plan, deadline_s: float) -> None:
        """Tell it what to keep, and wait until the guest is there. Raises StartFailed."""
        try:
            self.control.send(marshal.dumps(asdict(plan)))
        except OSError as error:
            raise self.failed("its keeper ended at once") from error
        answer = self.hear(deadline_s)
        self.qemu = process.ProcessIdentity(int(answer["pid"]), int(answer["start"]), process.here())

    def say(self, word: bytes) -> None:
        """``release`` or ``save``."""
        with contextlib.suppress(OSError):  # it is gone: the next one who connects sees that
            self.control.send(word)

    def hear(self, deadline_s: float) -> dict[str, Any]:
        """Its next message. Raises StartFailed."""
        poller = select.poll()
        poller.register(self.control, select.POLLIN)
        try:
            data = self.control.recv(MESSAGE) if poller.poll(deadline_s * 1000) else b""
        except OSError:
            data = b""
        answer: dict[str, Any] = json.loads(data or b"{}")
        if not answer or "error" in answer:
            raise self.failed(answer.get("error") or "its keeper ended, or did not answer in time")
        return answer

    def abandon(self) -> None:
        """End it, and QEMU with it."""
        self.control.close()
        if self.identity is not None:
            process.terminate(self.identity, grace_s=GRACE_S)
        if self.qemu is not None:
            process.kill_and_wait([self.qemu])
        with contextlib.suppress(OSError):
            self._socket.unlink()

    def failed(self, why: str) -> StartFailed:
        """The error that says why, with what was logged."""
        return StartFailed(f"the guest could not be started: {why}", details=log_lines(self._log))


@contextlib.contextmanager
def starting(listening: Path, log: Path) -> Iterator[Kept]:
    """A keeper, which is gone again if the block fails. It starts while the block finds out what it is to keep."""
    kept = Kept(listening, log)
    try:
        yield kept
    except BaseException:
        kept.abandon()
        raise


def log_lines(path: Path) -> tuple[str, ...]:
    """The last lines of a log."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            text = file.read(_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ()
    lines = ("".join(each if each.isprintable() else " " for each in line) for line in text.splitlines())
    return tuple(line for line in lines if line.strip())[-20:]


def _open_log(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateUnwritable(f"cannot write {path}: {error.strerror}") from error


def _listen(path: Path) -> socket.socket:
    """The workspace's socket, made here: clients can connect before the guest is there."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listening.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        os.chmod(path, 0o600)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise StateUnwritable(f"cannot make the socket {path}: {error.strerror}") from error
    return listening
