"""Talking to a running QEMU: its machine protocol (QMP) on a connected socket."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

from sandlot.errors import StartFailed

__all__ = ["Control"]

ANSWER_S = 30.0
"""How long QEMU may take to answer; it does at once, but on a machine that is busy."""
MOST = 1 << 20
"""Longest line that makes sense. QEMU is trusted with no more, for a guest may have taken it over."""
POLL_S = 0.002
_DONE = frozenset(("completed",))
_FAILED = frozenset(("failed", "cancelled"))


class Control:
    """One QEMU. All of it raises StartFailed when QEMU refuses, has ended or is silent for too long."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = b""

    def greet(self) -> None:
        """Begin: QEMU says hello, and takes commands afterwards."""
        end = time.monotonic() + ANSWER_S
        while "QMP" not in self._line(end):
            pass
        self.call("qmp_capabilities")

    def call(self, command: str, *, descriptor: int | None = None, **arguments: Any) -> Any:
        """Execute a command and return what it returns. ``descriptor`` goes along, for ``getfd``."""
        data = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        end = time.monotonic() + ANSWER_S
        try:
            self.socket.settimeout(ANSWER_S)
            if descriptor is None:
                self.socket.sendall(data)
            else:
                socket.send_fds(self.socket, [data], [descriptor])
        except OSError as error:
            raise StartFailed("QEMU ended") from error
        while True:
            answer = self._line(end)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise StartFailed(f"QEMU refuses {command}: {str(answer['error'].get('desc'))[:500]}")

    def _line(self, end: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            try:
                self.socket.settimeout(max(0.001, left))
                data = self.socket.recv(65536)
            except TimeoutError as error:
                raise StartFailed(f"QEMU does not answer within {ANSWER_S:g} s") from error
            except OSError:
                data = b""
            if not data:
                raise StartFailed("QEMU ended")
            self._buffer += data
            if len(self._buffer) > MOST:
                raise StartFailed("QEMU does not keep to its protocol")
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            found = json.loads(line)
        except ValueError as error:
            raise StartFailed("QEMU does not keep to its protocol") from error
        return found if isinstance(found, dict) else {}

    def drain(self) -> bool:
        """Drop what it tells unasked; whether it is still there."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            try:
                return bool(self.socket.recv(65536))
            except ConnectionError:
                return False
        return True

    def _ignore_memory(self) -> None:
        """Save and load all but the memory, which is a file of its own."""
        self.call("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def save(self, state: int, deadline_s: float) -> None:
        """Stop the guest and write its state to the open file ``state``; its memory is in its file then."""
        self.call("stop")
        self._ignore_memory()
        # Handed over, not named: under its seccomp filter QEMU opens no program to write to.
        self.call("getfd", descriptor=state, fdname="state")
        self.call("migrate", uri="fd:state")
        self._moved(deadline_s)

    def load(self, state: int, deadline_s: float) -> None:
        """Take over the state in the open file ``state`` and let the guest go on."""
        self._ignore_memory()
        self.call("getfd", descriptor=state, fdname="state")
        self.call("migrate-incoming", uri="fd:state")
        self._moved(deadline_s)
        self.call("cont")

    def _moved(self, deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while True:
            status = self.call("query-migrate").get("status")
            if status in _DONE:
                return
            if status in _FAILED or time.monotonic() > end:
                raise StartFailed(f"QEMU could not move a guest's state: {status}")
            time.sleep(POLL_S)
