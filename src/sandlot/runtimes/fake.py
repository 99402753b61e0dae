"""A runtime that isolates nothing and runs nothing: only for faults that cannot be provoked in a real one.

Its instances are a listening socket and a thread that answers every request with the same bytes. So a test can say
what an agent answers (rubbish, half a frame, nothing), and at which step of its life an instance fails.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sandlot import process
from sandlot.errors import CommandInterrupted, StartFailed, WorkspaceFailure
from sandlot.model.isolation import IsolationLevel
from sandlot.model.workspace import Instance
from sandlot.runtimes.base import Bounds, Fetch, Finding, LaunchRequest, ProbeReport, StorageKind

__all__ = ["FakeRuntime", "Fault"]

NO_PROCESS = 1 << 22
"""No process has this pid: it is the kernel's limit (proc(5), pid_max)."""


class Fault(StrEnum):
    """Where it goes wrong."""

    START = "start"
    """It cannot be started."""
    DEATH_BEFORE_RELEASE = "death-before-release"
    """It dies when it has been recorded and before it is released."""
    DEATH_AFTER_RELEASE = "death-after-release"
    """It dies as soon as it has been released."""
    IMMORTAL = "immortal"
    """It survives being killed."""


@dataclass
class FakeRuntime:
    """See Runtime. ``faults`` may be changed at any time; each is in force as long as it is in the set."""

    name: str = "bubblewrap"
    """It takes this runtime's place."""
    faults: set[Fault] = field(default_factory=set)
    answer: bytes | None = b""
    """What the agent says to any request before it closes the connection; None: it never says anything."""
    launched: int = 0
    """How many starts were tried."""
    living: dict[str, _Listener] = field(default_factory=dict)
    """The instances that have not ended, by token."""
    _tokens: itertools.count[int] = field(default_factory=itertools.count)

    def probe(self, *, fresh: bool = False) -> ProbeReport:  # noqa: ARG002  the contract's words
        """See Runtime.probe: it is there, and isolates nothing."""
        finding = Finding("fake.works", True, "nothing is run and nothing is isolated")
        return ProbeReport(True, IsolationLevel.NONE, StorageKind.COPY, (finding,), "fake")

    def launch(self, request: LaunchRequest) -> Instance:
        """See Runtime.launch."""
        self.launched += 1
        if Fault.START in self.faults:
            raise StartFailed("the fake runtime was told to fail", hint="do not tell it to")
        token = f"fake-{next(self._tokens)}"
        self.living[token] = _Listener(request.socket, self)
        return Instance(token, NO_PROCESS, 0, NO_PROCESS, 0, process.boot_id())

    def release(self, instance: Instance, socket: Path) -> None:  # noqa: ARG002  the contract's words
        """See Runtime.release."""
        if Fault.DEATH_BEFORE_RELEASE in self.faults:
            self.die(instance)
        if instance.token not in self.living:
            raise CommandInterrupted("the workspace ended before it was released")
        if Fault.DEATH_AFTER_RELEASE in self.faults:
            self.die(instance)

    def alive(self, instance: Instance) -> bool:
        """See Runtime.alive."""
        return instance.token in self.living

    def kill(self, instance: Instance) -> None:
        """See Runtime.kill."""
        if Fault.IMMORTAL in self.faults and instance.token in self.living:
            raise WorkspaceFailure("a process of the workspace did not end", hint="sandlot repair")
        self.die(instance)

    def fetch(self, instance: Instance, socket: Path, target: str, folder: Path, bounds: Bounds) -> None:
        """See Runtime.fetch: nobody asks."""

    def parting(self, instance: Instance, socket: Path) -> contextlib.AbstractContextManager[Fetch | None]:  # noqa: ARG002  the contract's
        """See Runtime.parting: nobody needs it."""
        return contextlib.nullcontext()

    def show_trust(self, instance: Instance, socket: Path, folder: Path) -> None:
        """See Runtime.show_trust: nobody asks."""

    def strays(self, known: frozenset[str], *, remove: bool = False) -> int:  # noqa: ARG002  the contract's words
        """See Runtime.strays."""
        return 0

    def die(self, instance: Instance) -> None:
        """End an instance as if it had crashed."""
        listener = self.living.pop(instance.token, None)
        if listener is not None:
            listener.close()


class _Listener:
    """Stands in for an agent."""

    def __init__(self, path: Path, runtime: FakeRuntime) -> None:
        self._path = path
        self._runtime = runtime
        self._clients: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="fake-agent")
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                client.recv(1 << 16)
                if self._runtime.answer is not None:
                    client.sendall(self._runtime.answer)
                    client.close()
                    continue
            self._clients.append(client)

    def close(self) -> None:
        """Everything it held is closed, and its thread has ended."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread out of accept
        self._thread.join()
        self._listening.close()
        for client in self._clients:
            client.close()
        self._path.unlink(missing_ok=True)
