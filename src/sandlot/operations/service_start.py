"""Start a service in a workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.model.service import Restart, RestartPolicy
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.operations.secreted import RevealRequest
from sandlot.operations.serviced import OneService, ServiceResult, readiness_of, service_result
from sandlot.settings import seconds
from sandlot.workspaces import services
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneService, RevealRequest):
    """What to run, when it counts as ready, and what happens when it fails."""

    command: tuple[str, ...] = argument(
        "the program and its arguments", default=(), positional=True, kind="command", metavar="COMMAND"
    )
    shell: str | None = argument("run this text by /bin/sh -c instead", default=None, short="c", metavar="TEXT")
    cwd: str = argument("working folder inside, absolute or below /workspace", default="/workspace", metavar="DIR")
    env: dict[str, str] = argument("an environment variable", factory=dict, kind="pairs", metavar="NAME=VALUE")
    ready_file: str | None = argument("ready when this path exists inside", default=None, metavar="PATH")
    ready_tcp: str | None = argument(
        "ready when this port inside takes connections", default=None, metavar="[HOST:]PORT"
    )
    ready_http: str | None = argument(
        "ready when a GET, made inside, is answered with 200 to 399", default=None, metavar="URL"
    )
    ready_command: str | None = argument(
        "ready when /bin/sh -c of this text exits with 0", default=None, metavar="TEXT"
    )
    ready_timeout: str = argument("it has failed when it is not ready after this long", default="30s", kind="duration")
    ready_interval: str = argument("look this often; at the start more often", default="250ms", kind="duration")
    restart: Restart = argument("start it again when it fails", default=Restart.NONE)
    max_restarts: int = argument("in a row, until it stays failed", default=5, least=1, most=1000)
    backoff: str = argument(
        "wait this long before the first restart, twice as long each further time, 30s at most", default="500ms",
        kind="duration",
    )  # fmt: skip
    no_wait: bool = argument("answer as soon as it is started, not when it is ready", default=False)


@dataclass(frozen=True, slots=True)
class Result(ServiceResult):
    """The service, ready or running; or how it failed, with what it printed last."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Start it once; whether that went well is in the answer."""
    if (request.shell is None) == (not request.command):
        raise UsageError("give either a command behind -- or --shell", hint="as in: -- python3 -m http.server 8000")
    argv = ["/bin/sh", "-c", request.shell] if request.shell is not None else list(request.command)
    readiness = readiness_of(
        request.ready_file,
        request.ready_tcp,
        request.ready_http,
        request.ready_command,
        timeout_s=_seconds(request.ready_timeout),
        interval_s=_seconds(request.ready_interval),
    )
    backoff = min(30.0, _seconds(request.backoff))
    record = context.store.find(request.workspace)
    info = services.start(
        context,
        record,
        request.name,
        argv,
        cwd=request.cwd,
        env=request.env,
        readiness=readiness,
        restart=RestartPolicy(request.restart, request.max_restarts, backoff),
        wait=not request.no_wait,
        cancellation=caller.cancellation,
        reveal=request.reveal,
    )
    return service_result(context, record, info, Result)


def _seconds(text: str) -> float:
    found = seconds(text)
    return 10 * 365 * 86400.0 if found is None else min(found, 10 * 365 * 86400.0)


OPERATION = Operation(
    name="service_start",
    command=("workspace", "service", "start"),
    summary="Start a named long-running process in a workspace and wait until it is ready.",
    request=Request,
    run=run,
    examples=(
        "sandlot workspace service start fix-123 web --ready-tcp 8000 -- python3 -m http.server 8000",
        "sandlot workspace service start fix-123 db --ready-command 'pg_isready -q' --restart on-failure -- ./run-db",
        "sandlot workspace service start fix-123 worker --no-wait -c 'exec ./worker.sh --verbose'",
    ),
)
