"""The host's end of the connection to an agent.

Everything read here was written by something that runs inside a workspace, so it is parsed as hostile: frames are
bounded, fields are checked, and whatever does not fit raises ProtocolError and drops the connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sandlot import errors
from sandlot.wire import frames, messages

__all__ = ["Channel", "Message", "RemoteFailure", "raise_failure"]

CONNECT_S = 5.0
REPLY_S = 20.0
"""Deadline for answers that the agent gives by itself (ping, status, kill, freeze)."""

Message = tuple[int, list[bytes]]

_FAILURES: dict[str, type[errors.SandlotError]] = {
    kind.code: kind
    for kind in (
        errors.UsageError,
        errors.PathNotFound,
        errors.FileRefused,
        errors.UnsafePath,
        errors.PatchRejected,
        errors.SyncConflict,
        errors.CommandNotFound,
        errors.WorkspaceBusy,
        errors.ShellBusy,
        errors.StartFailed,
        errors.LimitReached,
    )
}


class RemoteFailure(errors.WorkspaceFailure):
    """The agent failed in a way that has no error class of its own."""

    code = "agent_error"


def raise_failure(fields: list[bytes]) -> None:
    """Raise the error that a FAILED frame names. Text from inside is cut to a bounded length."""
    texts = [field[:4000].decode("utf-8", "replace") for field in fields[:202]]
    code, message, *details = [*texts, "", ""][: max(2, len(texts))]
    raise _FAILURES.get(code, RemoteFailure)(message or "the agent failed", details=tuple(details))


class Channel:
    """One connection, one request. Use as a context manager; closing it cancels what was asked for."""

    def __init__(self, path: Path, *, deadline_s: float = CONNECT_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._decoder = frames.Decoder()
        self._ready: list[Message] = []
        try:
            self._socket.settimeout(deadline_s)
            # A unix address holds 107 bytes; a state folder may be deeper. The folder's descriptor makes it short.
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._connect(f"/proc/self/fd/{folder}/{path.name}", deadline_s)
            finally:
                os.close(folder)
        except BaseException as error:
            self._socket.close()
            if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                raise errors.AgentUnresponsive("the workspace's agent is not there") from error
            if isinstance(error, TimeoutError):
                raise errors.AgentUnresponsive("the workspace's agent does not accept connections") from error
            raise

    def _connect(self, address: str, deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while True:
            try:
                self._socket.connect(address)
                return
            except BlockingIOError as error:  # its queue of connections is full; there is nothing to wait on
                if time.monotonic() > end:
                    raise TimeoutError from error
                time.sleep(0.002)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()

    def shutdown(self) -> None:
        """End the connection for both sides, from any thread: whoever waits in ``receive`` gets the end of stream."""
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Say that no more is wanted, and wait until the agent has let go of the connection."""
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_WR)
        while self.receive() is not None:
            pass

    def fileno(self) -> int:
        """For waiting on several things at once."""
        return self._socket.fileno()

    def send(self, kind: int, fields: Sequence[bytes] = (), descriptors: Sequence[int] = ()) -> None:
        """Send the request. Raises UsageError when it is larger than a frame may be."""
        try:
            data = frames.encode(kind, 1, tuple(fields))
        except frames.FrameError as error:
            raise errors.UsageError(
                "the command line and environment are too large", hint="pass large input through stdin or a file"
            ) from error
        try:
            self._socket.settimeout(REPLY_S)
            sent = socket.send_fds(self._socket, [data], list(descriptors)) if descriptors else 0
            if sent < len(data):  # sending nothing fails, too, once a quick peer has answered and closed
                self._socket.sendall(data[sent:])
        except TimeoutError as error:
            raise errors.AgentUnresponsive("the workspace's agent does not take the request") from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise errors.CommandInterrupted("the workspace ended while a request was sent") from error

    def receive(self, timeout_s: float | None = REPLY_S) -> Message | None:
        """The next message (type, fields), or None at the end of the stream. ``timeout_s`` None waits for ever."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ready:
            try:
                self._socket.settimeout(None if end is None else max(0.001, end - time.monotonic()))
                data = self._socket.recv(1 << 16)
            except TimeoutError as error:
                raise errors.AgentUnresponsive("the workspace's agent does not answer") from error
            except ConnectionResetError:
                return None
            if not data:
                return None
            try:
                self._ready.extend((kind, fields) for kind, _, fields in self._decoder.feed(data))
            except frames.FrameError as error:
                raise errors.ProtocolError(f"the workspace sent something that is not our protocol: {error}") from error
        return self._ready.pop(0)

    def arrived(self) -> list[Message] | None:
        """What has come, for callers who poll: asked when ``fileno`` is readable. None at the end of the stream."""
        with contextlib.suppress(errors.AgentUnresponsive):  # nothing whole has come yet
            first = self.receive(0)
            if first is None:
                return None
            ready, self._ready = [first, *self._ready], []
            return ready
        return []

    def stream(self, timeout_s: float | None = None) -> Iterator[Message]:
        """Messages until the end of the stream; FAILED is raised as the error it names."""
        while (message := self.receive(timeout_s)) is not None:
            if message[0] == messages.FAILED:
                raise_failure(message[1])
            yield message

    def call(
        self,
        kind: int,
        fields: Sequence[bytes] = (),
        *,
        timeout_s: float | None = REPLY_S,
        answer: int = messages.RESULT,
    ) -> list[bytes]:
        """Send a request that has a single answer and return the answer's fields."""
        self.send(kind, fields)
        for received, values in self.stream(timeout_s):
            if received != answer:
                raise errors.ProtocolError(f"the workspace answered with message type {received}")
            return values
        raise errors.CommandInterrupted("the workspace ended before it answered")
