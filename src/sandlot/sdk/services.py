"""The services of a workspace."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandlot.model.service import Restart
from sandlot.operations.operation import Caller
from sandlot.sdk.words import Sink, command_fields, duration, word

if TYPE_CHECKING:
    from sandlot.model.service import ServiceInfo
    from sandlot.operations import service_logs, service_start, service_status, service_stop
    from sandlot.sdk.workspace import Workspace
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Services"]


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one workspace: named processes that are meant to go on. Times are in seconds.

    A service that fails is an answer (``service.state``, ``service.reason``, its last lines), never an exception.
    """

    _workspace: Workspace

    def start(
        self,
        name: str,
        command: Sequence[str] | str,
        *,
        cwd: str = "/workspace",
        env: Mapping[str, str] | None = None,
        ready_file: str | None = None,
        ready_tcp: str | int | None = None,
        ready_http: str | None = None,
        ready_command: Sequence[str] | str | None = None,
        ready_timeout: float | None = 30.0,
        ready_interval: float = 0.25,
        restart: Restart | str = Restart.NONE,
        max_restarts: int = 5,
        backoff: float = 0.5,
        wait: bool = True,
        reveal: Sequence[str] = (),
        cancellation: Cancellation | None = None,
    ) -> service_start.Result:
        """Start one and wait until it is ready (or runs, without a check), or is over; strings go to ``/bin/sh -c``.

        The check is made inside: a path that exists, ``PORT`` or ``HOST:PORT`` that takes connections, a URL that is
        answered with 200 to 399, or a command that exits with 0. A call that is interrupted or cancelled ends the
        service. ``reveal`` names secrets whose values it gets. Raises SecretNotFound, NameTaken while one of that name
        runs, UsageError.
        """
        check = ready_command if ready_command is None or isinstance(ready_command, str) else shlex.join(ready_command)
        result: service_start.Result = self._workspace.call(
            "service_start",
            caller=Caller(cancellation=cancellation),
            name=name,
            **command_fields(command),
            cwd=cwd,
            env=dict(env or {}),
            ready_file=ready_file,
            ready_tcp=None if ready_tcp is None else str(ready_tcp),
            ready_http=ready_http,
            ready_command=check,
            ready_timeout=duration(ready_timeout),
            ready_interval=duration(ready_interval),
            restart=word(Restart, restart),
            max_restarts=max_restarts,
            backoff=duration(backoff),
            no_wait=not wait,
            reveal=tuple(reveal),
        )
        return result

    def list(self, *, all: bool = False) -> list[ServiceInfo]:
        """How each of them is now; with ``all`` earlier ones of the same names, too."""
        return list(self._workspace.call("service_list", all=all).services)

    def status(self, name: str) -> service_status.Result:
        """How one is now, and what it printed last. Raises ServiceNotFound."""
        result: service_status.Result = self._workspace.call("service_status", name=name)
        return result

    def logs(
        self, name: str, *, tail: int | None = None, stream: str = "both", limit: int = 64 * 1024
    ) -> service_logs.Result:
        """What it has printed, over all of its restarts: at most ``limit`` bytes of each stream, from its end."""
        from sandlot.operations.service_logs import LogStream

        result: service_logs.Result = self._workspace.call(
            "service_logs", name=name, tail=tail, stream=word(LogStream, stream), limit=limit
        )
        return result

    def follow(
        self,
        name: str,
        *,
        on_output: Sink,
        tail: int | None = None,
        stream: str = "both",
        cancellation: Cancellation | None = None,
    ) -> ServiceInfo:
        """Hand over what it has printed, or its last ``tail`` lines, then what it prints, until it is over."""
        from sandlot.operations.service_logs import LogStream

        info: ServiceInfo = self._workspace.call(
            "service_logs",
            caller=Caller(output=on_output, cancellation=cancellation),
            name=name,
            tail=tail,
            stream=word(LogStream, stream),
            follow=True,
        ).service
        return info

    def stop(self, name: str, *, grace: float = 5.0, cancellation: Cancellation | None = None) -> service_stop.Result:
        """SIGTERM, SIGKILL for what is left after ``grace``; one that is over is left as it is."""
        result: service_stop.Result = self._workspace.call(
            "service_stop", caller=Caller(cancellation=cancellation), name=name, grace=duration(grace) or "never"
        )
        return result
