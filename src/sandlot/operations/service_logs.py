"""Read what a service has printed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sandlot.errors import UsageError
from sandlot.model.service import ServiceInfo
from sandlot.operations.executed import ANSWER_BYTES
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.operations.serviced import OneService
from sandlot.workspaces import command_files, service_reports, services
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import touch
from sandlot.workspaces.secrets import redactor_of


class LogStream(StrEnum):
    """What of a service's output is meant."""

    BOTH = "both"
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, kw_only=True)
class Request(OneService):
    """Which service, and how much."""

    tail: int | None = argument("only the last lines of each stream", default=None, least=0, most=1_000_000)
    follow: bool = argument("go on with what it prints, until it is over or ctrl-C", default=False, short="f")
    stream: LogStream = argument("which output", default=LogStream.BOTH)
    limit: int | None = argument(
        "most bytes of each stream, from its end [default: 64K, or all when printed]", default=None, kind="size"
    )


@dataclass(frozen=True, slots=True)
class Result:
    """The service as it is, and what it printed."""

    service: ServiceInfo
    stdout: str
    """Bytes that are not UTF-8 are lone surrogates (os.fsencode gives them back); empty when it was streamed."""
    stderr: str
    stdout_bytes: int
    """Bytes there are to read; the beginning and the last 64 KiB are kept of a stream beyond the quota."""
    stderr_bytes: int


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Read, and follow if asked to."""
    record = context.store.find(request.workspace)
    command = services.find(context, record, request.name)
    services.inspect(context, record, command)  # has its worker write down the end of an over-long output
    touch(context, record)
    folder = context.paths.workspace(record.id).command(command.number)
    names = ["stdout", "stderr"] if request.stream is LogStream.BOTH else [request.stream.value]
    parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    sink: Callable[[str, bytes], None] = caller.output or (lambda name, data: parts[name].append(data))
    if request.follow and caller.output is None:
        raise UsageError("there is nowhere to follow the output to", hint="leave --json out, or call it with a sink")
    limit = request.limit if request.limit is not None or caller.output else ANSWER_BYTES
    redactor = redactor_of(context, record)
    sizes = {"stdout": 0, "stderr": 0}
    offsets: dict[str, int] = {}
    for name in names:
        begin = 0 if request.tail is None else service_reports.last_lines(folder, name, request.tail)
        if limit is not None:
            begin = max(begin, _size(folder / name) - limit)
        offsets[name], sizes[name] = command_files.replay(
            folder, name, sink, offset=begin, limit=limit, redactor=redactor
        )
    if request.follow:
        services.follow(context, record, command, sink, offsets, cancellation=caller.cancellation)
    info = services.inspect(context, record, context.store.command(record.id, command.number))
    texts = {name: os.fsdecode(b"".join(pieces)) for name, pieces in parts.items()}
    return Result(info, texts["stdout"], texts["stderr"], sizes["stdout"], sizes["stderr"])


def _size(path: os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


OPERATION = Operation(
    name="service_logs",
    command=("workspace", "service", "logs"),
    summary="Read what a service has printed, over all of its restarts, or follow it.",
    request=Request,
    run=run,
    effect=Effect(read_only=True, idempotent=True),
    streams=True,
    examples=(
        "sandlot workspace service logs fix-123 web --tail 50",
        "sandlot workspace service logs fix-123 web --follow --stream stderr",
    ),
)
