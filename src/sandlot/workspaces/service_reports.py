"""What is known of a service: from the reports of its worker, and when it is over from what that wrote down."""

from __future__ import annotations

import contextlib
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

from sandlot.errors import ProtocolError
from sandlot.model.command import CommandRecord
from sandlot.model.service import ServiceInfo, ServiceState
from sandlot.wire import frames, service

__all__ = ["ended", "info_of", "last_lines", "report_of", "silent"]

TAIL_WINDOW = 1 << 20
"""Bytes in which the last lines of a stream are looked for."""

_CAUSES = {
    "reset": (ServiceState.STOPPED, "the workspace was reset"),
    "cancelled": (ServiceState.STOPPED, "its start was cancelled"),
    "ended": (ServiceState.INTERRUPTED, "the workspace ended while it ran"),
    "killed": (ServiceState.INTERRUPTED, "its supervisor was killed, or could not write down how it ended"),
}


def report_of(fields: list[bytes]) -> service.Report:
    """What a worker said. Raises ProtocolError."""
    try:
        return service.Report.parse(fields)
    except ValueError as error:
        raise ProtocolError(f"the workspace sent a malformed report: {error}") from error


def ended(command: CommandRecord, folder: Path) -> ServiceInfo:
    """What the worker wrote down at the end, behind the exit record; else what is known without it."""
    with contextlib.suppress(OSError, ValueError, frames.FrameError), open(folder / "exit", "rb") as file:
        found = frames.Decoder().feed(file.read(4096))
        if len(found) > 1 and found[1][0] == service.REPORT:
            return info_of(command, service.Report.parse(found[1][2]))
    cause = command.outcome.cause if command.outcome else ""
    state, reason = _CAUSES.get(cause, (ServiceState.INTERRUPTED, "nobody could write down how it ended"))
    return silent(command, state, reason)


def silent(command: CommandRecord, state: ServiceState, reason: str) -> ServiceInfo:
    """A service of which no report is to be had."""
    return ServiceInfo(
        name=command.name or "",
        number=command.number,
        state=state,
        reason=reason,
        argv=command.argv,
        cwd=command.cwd,
        pid=None,
        restarts=0,
        exit_code=None,
        signal=None,
        started_at=command.started_at,
        since=None,
        ready_at=None,
        isolation=command.isolation,
    )


def info_of(command: CommandRecord, report: service.Report) -> ServiceInfo:
    """A service as its worker reported it."""
    return ServiceInfo(
        name=command.name or "",
        number=command.number,
        state=ServiceState(report.state.decode()),
        reason=report.reason.decode("utf-8", "replace"),
        argv=command.argv,
        cwd=command.cwd,
        pid=report.pid or None,
        restarts=report.restarts,
        exit_code=None if report.exit_code < 0 else report.exit_code,
        signal=_signal_name(report.signal),
        started_at=command.started_at,
        since=_moment(report.since_ms),
        ready_at=_moment(report.ready_ms),
        isolation=command.isolation,
    )


def _signal_name(number: int) -> str | None:
    if not number:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _moment(milliseconds: int) -> str | None:
    if not milliseconds:
        return None
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def last_lines(folder: Path, name: str, count: int) -> int:
    """The offset at which the last ``count`` lines of a stream begin, as far as TAIL_WINDOW reaches."""
    try:
        with open(folder / name, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - TAIL_WINDOW)
            file.seek(start)
            data = file.read(size - start)
    except FileNotFoundError:
        return 0
    at = len(data) - data.endswith(b"\n")
    for _ in range(count):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return start
    return start + at + 1
