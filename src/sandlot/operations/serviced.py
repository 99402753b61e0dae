"""A service as answers show it, and the arguments that name one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from sandlot.errors import UsageError
from sandlot.model.command import Output
from sandlot.model.service import Readiness, ReadyCheck, ServiceInfo
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.networking import PortInfo, network_info
from sandlot.operations.operation import argument
from sandlot.workspaces import command_files, service_reports
from sandlot.workspaces.context import Context
from sandlot.workspaces.secrets import redactor_of

__all__ = ["OneService", "ServiceResult", "readiness_of", "service_result"]

LAST_LINES = 20
LAST_BYTES = 8 * 1024
_NOTHING: tuple[str, ...] = ()
R = TypeVar("R", bound="ServiceResult")


@dataclass(frozen=True, kw_only=True)
class OneService(OneWorkspace):
    """Which service."""

    name: str = argument("the service's name", positional=True)


@dataclass(frozen=True, slots=True)
class ServiceResult:
    """A service as it is, and the last lines it printed."""

    service: ServiceInfo
    stdout: Output
    """Its last lines; ``service logs`` has all."""
    stderr: Output
    ports: tuple[PortInfo, ...] = ()
    """The workspace's published ports: where it can be reached while it runs, if it listens on one of them."""

    @property
    def ok(self) -> bool:
        """Whether it runs, or is on its way."""
        return not self.service.state.over


def service_result(context: Context, record: WorkspaceRecord, info: ServiceInfo, kind: type[R]) -> R:
    """The service with the end of its output."""
    stdout, stderr = (_last(context, record, info, name) for name in ("stdout", "stderr"))
    ports: tuple[PortInfo, ...] = ()
    if record.network.published:  # a start of the workspace may have picked them just now
        network = network_info(context, context.store.find(record.id))
        ports = network.ports if network.served else ()
    return kind(info, stdout, stderr, ports)


def _last(context: Context, record: WorkspaceRecord, info: ServiceInfo, name: str) -> Output:
    folder = context.paths.workspace(record.id).command(info.number)
    parts: list[bytes] = []
    start = service_reports.last_lines(folder, name, LAST_LINES)
    _, size = command_files.replay(
        folder, name, lambda _, data: parts.append(data), offset=start, limit=1 << 20,
        redactor=redactor_of(context, record),
    )  # fmt: skip
    text = b"".join(parts)[-LAST_BYTES:]
    return Output(text.decode("utf-8", "replace"), size, len(text) < size)


def readiness_of(
    file: str | None, tcp: str | None, http: str | None, command: str | None, *, timeout_s: float, interval_s: float
) -> Readiness:
    """The check that was asked for. Raises UsageError when there are two, or one makes no sense."""
    given = [each for each in (file, tcp, http, command) if each is not None]
    if len(given) > 1:
        raise UsageError("a service has one readiness check", hint="combine them in --ready-command")
    if any(not each or "\0" in each for each in given):
        raise UsageError("an empty readiness check, or one with a NUL character")
    if timeout_s <= 0 or interval_s <= 0:
        raise UsageError("the time and the interval of the readiness check must be positive")
    check, words = ReadyCheck.NONE, _NOTHING
    if file is not None:
        check, words = ReadyCheck.FILE, (file,)
    elif tcp is not None:
        check, words = ReadyCheck.TCP, _address(tcp)
    elif http is not None:
        check, words = ReadyCheck.HTTP, _url(http)
    elif command is not None:
        check, words = ReadyCheck.COMMAND, ("/bin/sh", "-c", command)
    return Readiness(check, words, timeout_s, interval_s)


def _address(text: str) -> tuple[str, str]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "localhost"
    return _checked_host(host, text), _checked_port(port, text)


def _checked_host(host: str, text: str) -> str:
    if not host or not host.isascii() or not all(char.isalnum() or char in ".:-_%" for char in host):
        raise UsageError(f"{text!r} names no host", hint="write PORT, HOST:PORT or http://HOST:PORT/PATH")
    return host


def _checked_port(port: str, text: str) -> str:
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:9]) < 65536:
        raise UsageError(
            f"{text!r} names no port from 1 to 65535", hint="write PORT, HOST:PORT or http://HOST:PORT/PATH"
        )
    return str(int(port))


def _url(text: str) -> tuple[str, str, str, str]:
    """Host, port, path with query, Host header."""
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() != "http":
        hint = "http://127.0.0.1:8000/; for https: --ready-command 'curl -kfsS https://127.0.0.1:8443/'"
        raise UsageError(f"{text!r} is not an http:// URL", hint=hint)
    rest = rest.partition("#")[0]
    at = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    place, path = rest[:at], rest[at:]
    if not path.isascii() or not (path + "x").isprintable() or " " in path or "@" in place:
        raise UsageError(f"{text!r} holds what a request line cannot", hint="percent-encode it")
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, "80"
    host = host.removeprefix("[").removesuffix("]")
    target = path if path.startswith("/") else "/" + path
    return _checked_host(host, text), _checked_port(port, text), target, place
