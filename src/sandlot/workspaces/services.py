"""Services of a workspace: started, asked how they are, stopped, and their logs.

A service is a numbered command whose worker inside watches over it (guest/service.py). While it runs its worker is the
only one who knows its state, and is asked; afterwards the record it left beside the output is read. Whatever is wrong
with a service is part of the answer, never an exception.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sandlot.errors import (
    AgentUnresponsive,
    CommandInterrupted,
    CommandNotFound,
    NameTaken,
    SandlotError,
    ServiceNotFound,
    StateUnwritable,
    UsageError,
)
from sandlot.model.command import CommandKind, CommandOutcome, CommandRecord, CommandState
from sandlot.model.service import Readiness, Restart, RestartPolicy, ServiceInfo, ServiceState
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import PROJECT
from sandlot.runtimes.channel import Channel, raise_failure
from sandlot.wire import messages, service
from sandlot.workspaces.cancellation import Cancellation
from sandlot.workspaces.command_files import CommandFiles, exit_record, held, replay
from sandlot.workspaces.commands import CANCEL_WAIT_S, MARGIN_S, RESPONSIVE_S, refresh
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import connect, socket_of
from sandlot.workspaces.naming import check_name
from sandlot.workspaces.requests import exec_request, register, with_revealed
from sandlot.workspaces.service_reports import ended, info_of, report_of, silent
from sandlot.workspaces.standard_input import standard_input

__all__ = ["all_of", "find", "follow", "inspect", "start", "stop"]

NO_LIMIT_MS = 10 * 365 * 86_400_000
LEAST_BACKOFF_MS = 10
SETTLE_S = 0.2
"""How long a service without a readiness check has to have run before its start is called a success."""


def start(
    context: Context,
    record: WorkspaceRecord,
    name: str,
    argv: Sequence[str],
    *,
    cwd: str = PROJECT,
    env: Mapping[str, str] | None = None,
    readiness: Readiness | None = None,
    restart: RestartPolicy | None = None,
    wait: bool = True,
    cancellation: Cancellation | None = None,
    reveal: Sequence[str] = (),
) -> ServiceInfo:
    """Start a service and say how it is: at once, or with ``wait`` when it is ready, runs without a check, or is over.

    A call with ``wait`` that does not come to its end (ctrl-C, ``cancellation``, our death) ends the service. Raises
    UsageError, and NameTaken when a service of that name runs.
    """
    check_name(name, "service")
    cancellation = cancellation or Cancellation()
    cancellation.check()
    # What a Python program prints would stay in its buffer, and the log empty, for as long as a service lives.
    env = {"PYTHONUNBUFFERED": "1", **(env or {})}
    env = with_revealed(context, record, env, reveal)
    request = exec_request(context, record, argv, cwd=cwd, env=env, background=not wait, revealed=reveal)
    spec = _spec(request, readiness or Readiness(), restart or RestartPolicy())
    record, channel = connect(context, record)
    with channel, CommandFiles() as files:
        command = register(
            context, record, files, request, argv, cwd=cwd, kind=CommandKind.SERVICE,
            name=lambda _: _free(context, record, name), revealed=reveal,
        )  # fmt: skip
        try:
            with cancellation.waking(channel.shutdown):
                with files, standard_input(None) as stdin:
                    channel.send(messages.SERVICE, spec.fields(), [stdin, *files.descriptors])
                info = _meet(channel, command, spec, wait)
            cancellation.check()
            if info is not None and not info.state.over:
                return info
            refresh(context, record)
            return info or inspect(context, record, command)
        except BaseException:
            channel.close()
            _abandon(context, record, command)
            cancellation.check()  # whatever it looked like from here
            raise


def _free(context: Context, record: WorkspaceRecord, name: str) -> str:
    """Called while nobody else can add to the history."""
    for each in context.store.commands_of_kind(record.id, CommandKind.SERVICE):
        if each.name == name and each.outcome is None and held(_folder(context, record, each)):
            raise NameTaken(
                f"workspace {record.label} has a service {name!r} that runs",
                hint=f"sandlot workspace service stop ID {name}, or choose another name",
            )
    return name


def _spec(request: messages.Exec, readiness: Readiness, restart: RestartPolicy) -> service.Spec:
    check = readiness.check.value.encode()
    least, most = service.CHECKS[check]
    if not least <= len(readiness.words) <= most:
        raise UsageError(f"the readiness check {readiness.check} does not go with {len(readiness.words)} words")
    return service.Spec(
        request,
        check=check,
        words=[os.fsencode(word) for word in readiness.words],
        interval_ms=max(1, round(readiness.interval_s * 1000)),
        ready_ms=min(NO_LIMIT_MS, max(1, round(readiness.timeout_s * 1000))),
        max_restarts=restart.max_restarts if restart.mode is Restart.ON_FAILURE else 0,
        backoff_ms=max(LEAST_BACKOFF_MS, round(restart.backoff_s * 1000)),
        longest_backoff_ms=round(max(restart.backoff_s, restart.longest_backoff_s) * 1000),
        steady_ms=round(restart.steady_s * 1000),
    )


def _meet(channel: Channel, command: CommandRecord, spec: service.Spec, wait: bool) -> ServiceInfo | None:
    """Follow the start as far as the caller wants to; None: the worker ended without a word."""
    limit = max(spec.ready_ms, spec.longest_backoff_ms) / 1000 + MARGIN_S
    info = None
    while True:
        running = info is not None and info.state is ServiceState.RUNNING
        try:  # one without a check is given a moment to fail at once
            message = channel.receive(SETTLE_S if running else limit)
        except AgentUnresponsive:
            if not running:
                raise
            break
        if message is None:
            return None
        kind, fields = message
        if kind == messages.FAILED:
            raise_failure(fields)
        if kind == service.REPORT:
            info = info_of(command, report_of(fields))
            if info.state.over:
                return info
            if info.state is ServiceState.READY or not wait:
                break
    try:
        channel.send(service.KEEP)
    except CommandInterrupted:  # it has ended just now
        return None
    return info


def _abandon(context: Context, record: WorkspaceRecord, command: CommandRecord) -> None:
    """The start came to nothing: wait for the end of what was started, and write down what is known."""
    folder = _folder(context, record, command)
    end = time.monotonic() + CANCEL_WAIT_S
    while held(folder) and time.monotonic() < end:
        time.sleep(0.01)
    with contextlib.suppress(SandlotError, OSError):
        if not held(folder) and exit_record(folder) is None:  # it never came to a worker that could write that down
            outcome = CommandOutcome(CommandState.INTERRUPTED, None, None, 0, 0, 0, 0, 0, cause="cancelled")
            context.store.finish_command(record.id, command, outcome)
        refresh(context, record)


def find(context: Context, record: WorkspaceRecord, name: str) -> CommandRecord:
    """The last service of that name. Raises ServiceNotFound."""
    found = context.store.commands_of_kind(record.id, CommandKind.SERVICE)
    for each in reversed(found):
        if each.name == name:
            return each
    known = ", ".join(dict.fromkeys(str(each.name) for each in found))
    raise ServiceNotFound(
        f"workspace {record.label} has no service {name!r}", hint=f"its services: {known}" if known else None
    )


def all_of(context: Context, record: WorkspaceRecord, *, earlier: bool = False) -> list[ServiceInfo]:
    """Every service, the last one of each name (or all of them, ``earlier`` ones, too), as they are now."""
    with contextlib.suppress(StateUnwritable):  # a full disk: looking still works
        refresh(context, record)
    found = context.store.commands_of_kind(record.id, CommandKind.SERVICE)
    if not earlier:
        found = sorted({each.name: each for each in found}.values(), key=lambda each: each.number)
    end = time.monotonic() + RESPONSIVE_S
    return [inspect(context, record, each, end) for each in found]


def inspect(context: Context, record: WorkspaceRecord, command: CommandRecord, end: float | None = None) -> ServiceInfo:
    """A service as it is at this moment; ``unknown`` when nobody tells by ``end`` (of the monotonic clock)."""
    end = time.monotonic() + RESPONSIVE_S if end is None else end
    while command.outcome is None:
        if not held(_folder(context, record, command)):
            with contextlib.suppress(StateUnwritable):
                refresh(context, record)
            record = context.store.find(record.id)  # it may have been deleted
            command = context.store.command(record.id, command.number)
            break
        try:
            with Channel(socket_of(context, record), deadline_s=max(0.05, end - time.monotonic())) as channel:
                return info_of(command, _join(channel, command, end))
        except (CommandNotFound, CommandInterrupted, AgentUnresponsive):
            if time.monotonic() > end:
                return silent(command, ServiceState.UNKNOWN, "the workspace's agent does not answer")
        time.sleep(0.005)  # it is on its way in, or out
        record = context.store.find(record.id)
    return ended(command, _folder(context, record, command))


def _talk(
    context: Context,
    record: WorkspaceRecord,
    command: CommandRecord,
    cancellation: Cancellation,
    conversation: Callable[[Channel], None],
) -> None:
    """A conversation with a service's worker; none, or none to its end, when the service is over meanwhile."""
    try:
        with Channel(socket_of(context, record)) as channel, cancellation.waking(channel.shutdown):
            _join(channel, command, time.monotonic() + MARGIN_S)
            conversation(channel)
    except (CommandNotFound, CommandInterrupted, AgentUnresponsive):
        cancellation.check()
        end = time.monotonic() + RESPONSIVE_S  # its processes are seen to end a moment later
        while held(_folder(context, record, command)):
            if time.monotonic() > end:
                raise
            time.sleep(0.005)
    cancellation.check()


def _join(channel: Channel, command: CommandRecord, end: float) -> service.Report:
    left = max(0.05, end - time.monotonic())
    return report_of(channel.call(messages.JOIN, [b"%d" % command.number], timeout_s=left, answer=messages.JOINED))


def stop(
    context: Context,
    record: WorkspaceRecord,
    command: CommandRecord,
    *,
    grace_s: float,
    cancellation: Cancellation | None = None,
) -> ServiceInfo:
    """SIGTERM for all of its processes, SIGKILL for what is left after ``grace_s``; one that is over stays as it is.

    None of its processes is left afterwards. ``cancellation`` ends the waiting, not the stopping.
    """
    cancellation = cancellation or Cancellation()
    cancellation.check()
    if command.outcome is None and held(_folder(context, record, command)):

        def end(channel: Channel) -> None:
            channel.send(service.STOP, [b"%d" % round(grace_s * 1000)])
            while (message := channel.receive(grace_s + MARGIN_S)) is not None:
                if message[0] == service.REPORT and info_of(command, report_of(message[1])).state.over:
                    break

        _talk(context, record, command, cancellation, end)
    refresh(context, record)
    return inspect(context, record, context.store.command(record.id, command.number))


def follow(
    context: Context,
    record: WorkspaceRecord,
    command: CommandRecord,
    sink: Callable[[str, bytes], None],
    offsets: Mapping[str, int],
    *,
    cancellation: Cancellation | None = None,
) -> None:
    """Hand what a service has printed from these offsets on to ``sink``, and then what it prints, until it is over.

    What comes after the quota of a stream is not passed on. Raises WorkspaceBusy when too many follow it.
    """
    cancellation = cancellation or Cancellation()
    at = dict(offsets)
    folder = _folder(context, record, command)

    def pass_on() -> None:
        for name, offset in at.items():
            room = context.settings.output_quota - offset
            if room > 0:
                at[name], _ = replay(folder, name, sink, offset=offset, limit=room)

    cancellation.check()
    pass_on()

    def listen(channel: Channel) -> None:
        channel.send(service.FOLLOW)
        while (message := channel.receive(None)) is not None:
            if message[0] == messages.OUTPUT:
                pass_on()
            elif message[0] == messages.FAILED:
                raise_failure(message[1])

    while command.outcome is None and held(folder):  # its worker lets go of who does not keep up: then we come back
        _talk(context, record, command, cancellation, listen)
        pass_on()
    pass_on()


def _folder(context: Context, record: WorkspaceRecord, command: CommandRecord) -> Path:
    return context.paths.workspace(record.id).command(command.number)
