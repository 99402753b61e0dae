"""Starting, finding and ending a workspace's gateway."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from sandlot import process
from sandlot.errors import NetworkUnavailable, PortTaken, StateUnwritable
from sandlot.model.network import PROXY_PORT, NetworkMode, PublishedPort
from sandlot.model.workspace import Instance, WorkspaceRecord
from sandlot.runtimes.base import StorageKind
from sandlot.workspaces.context import Context
from sandlot.workspaces.network import open_network
from sandlot.workspaces.network.gateway import MESSAGE

__all__ = ["Gateway", "alive", "kill", "starting"]

READY_S = 30.0
"""How long a gateway may take to be ready; 60 ms is usual, a loaded machine needs more."""
GRACE_S = 3.0
"""How long a gateway may take to end its own helpers."""
_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE")
"""What a gateway sees of our environment, above all whom this machine trusts."""


class Gateway:
    """A gateway that is being started. It is on a leash: until ``release`` it ends when we do."""

    def __init__(self, context: Context, record: WorkspaceRecord) -> None:
        guest = record.storage == StorageKind.GUEST
        if record.network.mode is NetworkMode.OPEN and (problem := open_network.problem(guest=guest)) is not None:
            raise NetworkUnavailable(
                f"the network mode open needs {problem[0]}", hint=f"{problem[1]}; or name the hosts: --allow HOST"
            )
        self._network = record.network
        own = context.paths.workspace(record.id).generation(record.generation)
        self._log = own.gateway_log
        self._keeper = str(own.socket) if guest else ""
        before = _held_by_predecessor(record)
        plan = {
            "workspace": record.id,
            "label": record.label,
            "state": str(context.paths.state),
            "cache": str(context.paths.cache),
            "network": asdict(record.network),
            "proxy": 0 if record.network.mode is NetworkMode.OFF else PROXY_PORT,
            "open": record.network.mode is NetworkMode.OPEN,
            "predecessor": record.retired.gateway_pid if record.retired else 0,
            "ports": [{**asdict(each), "late": each in before} for each in record.network.published],
        }
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, _log(self._log) as log:
            argv = [sys.executable, "-S", "-E", "-B", "-c", _CODE, str(theirs.fileno())]
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            environment["SANDLOT_PATH"] = os.pathsep.join(filter(None, sys.path))
            child = process.spawn_detached(argv, env=environment, log=log, pass_fds=[theirs.fileno()])
        self._identity = process.identify(child.pid)
        try:
            self._say(plan)
        except BaseException:
            self.abandon()
            raise

    def join(self, record: WorkspaceRecord, instance: Instance) -> WorkspaceRecord:
        """The record, once the workspace of ``instance`` is served: with who serves it, and with the host's ports.

        Raises PortTaken, NetworkUnavailable.
        """
        ports = self._hear()["ports"]
        self._say({"pid": instance.agent_pid, "keeper": self._keeper})
        self._hear()
        if self._identity is None:
            raise self._failed("it ended at once")
        published = tuple(_moved(each, port) for each, port in zip(self._network.published, ports, strict=True))
        instance = replace(instance, gateway_pid=self._identity.pid, gateway_start=self._identity.start_time)
        return replace(record, instance=instance, network=replace(record.network, published=published))

    def release(self) -> None:
        """Let it outlive us."""
        with contextlib.suppress(OSError):  # it is gone: the next one who connects sees that
            self._control.send(b"release")
        self._control.close()

    def abandon(self) -> None:
        """End it."""
        self._control.close()
        if self._identity is not None:
            process.terminate(self._identity, grace_s=GRACE_S)

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(message).encode())
        except OSError as error:
            raise self._failed("it ended at once") from error

    def _hear(self) -> dict[str, Any]:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        data = self._control.recv(MESSAGE) if poller.poll(READY_S * 1000) else b"{}"
        answer: dict[str, Any] = json.loads(data or b"{}")
        if answer.get("forbidden"):
            raise PortTaken(
                f"port {answer['taken']} of 127.0.0.1 can be had by root alone",
                hint="name one from 1024 on, or let sandlot pick: --publish PORT",
            )
        if "taken" in answer:
            raise PortTaken(f"port {answer['taken']} of 127.0.0.1 is taken already")
        if not answer or "error" in answer:
            raise self._failed(answer.get("error") or "it did not become ready")
        return answer

    def _failed(self, why: str) -> NetworkUnavailable:
        lines: tuple[str, ...] = ()
        with contextlib.suppress(OSError):
            lines = tuple(self._log.read_text(errors="replace").splitlines()[-20:])
        return NetworkUnavailable(f"the workspace's network gateway could not be started: {why}", details=lines)


_CODE = (
    "import os, sys; sys.path[:0] = os.environ.pop('SANDLOT_PATH').split(os.pathsep); "
    "from sandlot.workspaces.network.gateway import main; main()"
)


@contextlib.contextmanager
def starting(context: Context, record: WorkspaceRecord) -> Iterator[Gateway]:
    """A gateway for a workspace, which is gone again if the block fails."""
    gateway = Gateway(context, record)
    try:
        yield gateway
    except BaseException:
        gateway.abandon()
        raise


def alive(instance: Instance) -> bool:
    """Whether the gateway of an instance still runs."""
    return process.ProcessIdentity(instance.gateway_pid, instance.gateway_start, instance.boot).alive()


def kill(instance: Instance) -> None:
    """End the gateway of an instance, if it has one."""
    if instance.gateway_pid:
        gateway = process.ProcessIdentity(instance.gateway_pid, instance.gateway_start, instance.boot)
        process.terminate(gateway, grace_s=GRACE_S)


def _held_by_predecessor(record: WorkspaceRecord) -> tuple[PublishedPort, ...]:
    """Ports that a reset takes over: the gateway of the instance it replaces goes on until the new one is recorded."""
    retired = record.retired
    return record.network.published if retired is not None and retired.gateway_pid and alive(retired) else ()


def _moved(port: PublishedPort, host_port: int) -> PublishedPort:
    moved = port.host_port if port.host_port not in (0, host_port) else 0
    return replace(port, host_port=host_port, moved_from=moved)


@contextlib.contextmanager
def _log(path: os.PathLike[str]) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateUnwritable(f"cannot write {path}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
