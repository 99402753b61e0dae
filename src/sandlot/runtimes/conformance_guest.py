"""A hand on one instance, for the conformance suite: plain requests over the channel, nothing of ours in between."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandlot.model.workspace import Instance
from sandlot.runtimes.base import PROJECT, LaunchRequest, Runtime
from sandlot.runtimes.channel import Channel, raise_failure
from sandlot.wire import messages

__all__ = ["Command", "Ended", "Guest", "eventually", "mentions", "piped"]

PATIENCE_S = 60.0
"""How long anything may take before the suite calls it hanging; never how long it should take."""
QUOTA = 1 << 20


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so. Raises AssertionError when it never is."""
    end = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        pause.wait(0.005)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    how: messages.Exited
    stdout: bytes
    """What is in the file: the first ``quota`` bytes, then the end of the stream."""
    stderr: bytes


class Command:
    """A command on its way; closing it drops the connection, as a client that dies does."""

    def __init__(self, channel: Channel, folder: Path) -> None:
        self._channel = channel
        self._folder = folder

    def close(self) -> None:
        """Let go of it."""
        self._channel.close()

    def started(self) -> None:
        """Return when it runs."""
        kind, fields = self._next()
        if kind == messages.FAILED:
            raise_failure(fields)
        assert kind == messages.STARTED, f"the first answer to EXEC was {kind}"

    def printed(self, text: bytes) -> None:
        """Return when it has printed ``text``, following the marks the agent sends."""
        while text not in self.file("stdout"):
            kind, _ = self._next()
            assert kind in (messages.STARTED, messages.OUTPUT), f"the command ended without printing {text!r}"

    def finish(self) -> Ended:
        """Its end."""
        while True:
            kind, fields = self._next()
            if kind == messages.FAILED:
                raise_failure(fields)
            if kind == messages.EXITED:
                return Ended(messages.Exited.parse(fields), self.file("stdout"), self.file("stderr"))

    def answer(self) -> tuple[int, list[bytes]] | None:
        """The next message, None at the end of the connection."""
        return self._channel.receive(PATIENCE_S)

    def _next(self) -> tuple[int, list[bytes]]:
        message = self.answer()
        assert message is not None, "the connection closed before the command's end was told"
        return message

    def file(self, name: str) -> bytes:
        """What the host has of ``stdout``, ``stderr`` or ``exit``."""
        return (self._folder / name).read_bytes()


class Guest:
    """One running instance."""

    def __init__(self, runtime: Runtime, instance: Instance, request: LaunchRequest) -> None:
        self.runtime = runtime
        self.instance = instance
        self.request = request
        self._folder = request.socket.parent
        self._number = 0

    @property
    def alive(self) -> bool:
        """What the runtime says."""
        return self.runtime.alive(self.instance)

    def channel(self) -> Channel:
        """A connection to the agent."""
        return Channel(self.request.socket)

    def call(self, kind: int, fields: Sequence[bytes] = (), answer: int = messages.RESULT) -> list[bytes]:
        """A request with one answer."""
        with self.channel() as channel:
            return channel.call(kind, fields, answer=answer)

    def processes(self) -> int:
        """How many processes there are inside, the agent left out."""
        return messages.integer(self.call(messages.PING, answer=messages.PONG)[1])

    def running(self) -> list[int]:
        """The numbers of the commands that run."""
        return [messages.integer(field) for field in self.call(messages.STATUS)]

    def start(
        self,
        argv: Sequence[str | bytes] | str,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = PROJECT,
        stdin: int | None = None,
        timeout_s: float = PATIENCE_S / 2,
        quota: int = QUOTA,
        detached: bool = False,
    ) -> Command:
        """Send a command; a string goes to /bin/sh. ``stdin`` is a descriptor, /dev/null without one."""
        self._number += 1
        folder = self._folder / f"command-{self.instance.token}-{self._number}"
        folder.mkdir()
        words = ["/bin/sh", "-c", argv] if isinstance(argv, str) else argv
        variables = {"PATH": "/usr/bin:/bin"} if env is None else env
        request = messages.Exec(
            number=self._number,
            flags=messages.DETACHED if detached else 0,
            timeout_ms=round(timeout_s * 1000),
            quota=quota,
            cwd=os.fsencode(cwd),
            argv=[os.fsencode(word) for word in words],
            env=[os.fsencode(f"{name}={value}") for name, value in variables.items()],
        )
        descriptors = [os.open(os.devnull, os.O_RDONLY) if stdin is None else os.dup(stdin)]
        try:
            for name in ("stdout", "stderr", "exit"):
                descriptors.append(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            channel = self.channel()
            channel.send(messages.EXEC, request.fields(), descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return Command(channel, folder)

    @property
    def last(self) -> int:
        """The number of the command started last."""
        return self._number

    @contextmanager
    def run(self, argv: Sequence[str | bytes] | str, **options: object) -> Iterator[Command]:
        """A command that is let go of at the end of the block."""
        command = self.start(argv, **options)  # type: ignore[arg-type]  # start's own keywords
        try:
            yield command
        finally:
            command.close()

    def output(self, argv: Sequence[str | bytes] | str, **options: object) -> Ended:
        """A command from its start to its end."""
        with self.run(argv, **options) as command:
            return command.finish()


def mentions(path: Path) -> list[str]:
    """Processes of the host that have something of ``path`` mounted or as their argument."""
    found = []
    needle = os.fsencode(path)
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        for file in ("mountinfo", "cmdline"):
            try:
                if needle in Path("/proc", name, file).read_bytes():
                    found.append(f"{name}: {file}")
            except OSError:
                continue  # it ended, or is somebody else's
    return found


def piped(data: bytes) -> int:
    """A descriptor that reads ``data`` (less than a pipe holds) and then its end."""
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read
