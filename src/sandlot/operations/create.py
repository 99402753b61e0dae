"""Make a workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.described import WorkspaceInfo, describe
from sandlot.operations.limited import LimitRequest, limits_from
from sandlot.operations.networking import NetworkRequest, network_of
from sandlot.operations.operation import Caller, Operation, argument
from sandlot.operations.secreted import SecretsRequest, secrets_of
from sandlot.operations.seeding import SeedRequest, lifetime_of, source_of, toolchains_of
from sandlot.workspaces import creation
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(SeedRequest, LimitRequest, NetworkRequest, SecretsRequest):
    """What to make it from, and what to call it."""

    source: str | None = argument(
        "folder, git checkout or URL, archive (.tar .tar.gz .tgz .tar.zst .zip) or base:ID; none: empty",
        default=None,
        positional=True,
        host_path=True,
    )
    name: str | None = argument("a unique name, usable wherever an id is", default=None)
    labels: dict[str, str] = argument("a label, KEY=VALUE", factory=dict, kind="pairs", metavar="KEY=VALUE")
    idle_timeout: str | None = argument("stop it after this long without activity", default=None, kind="duration")
    retention: str | None = argument("delete it after being stopped for this long", default=None, kind="duration")


@dataclass(frozen=True, slots=True)
class Result:
    """The new workspace, running."""

    workspace: WorkspaceInfo
    base: str
    """Id of the base it stands on: ``base:ID`` as a source makes another one from the same content."""
    cached: bool
    """Whether the base existed already, so that nothing was copied."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Seed, start, answer."""
    record, base = creation.create(
        context,
        source_of(request, request.source),
        name=request.name,
        labels=request.labels,
        lifetime=lifetime_of(context, request.idle_timeout, request.retention),
        runtime=request.runtime,
        min_isolation=request.min_isolation,
        toolchains=toolchains_of(request),
        environment=request.environment,
        limits=limits_from(context, request),
        network=network_of(request),
        secrets=secrets_of(request),
        progress=caller.progress,
    )
    return Result(describe(context, record), base.id, base.cached)


OPERATION = Operation(
    name="workspace_create",
    command=("workspace", "create"),
    summary="Make an isolated workspace from a folder, a git repository, an archive, or nothing, and start it.",
    request=Request,
    run=run,
    examples=(
        "sandlot workspace create . --name fix-123 --label issue=123",
        "sandlot workspace create https://example.org/project.git --ref v2.1",
        "id=$(sandlot workspace create . --id-only)",
        "sandlot workspace create . --memory 2G --cpus 1.5 --disk 10G --max-duration 1h",
        "sandlot workspace create . --allow api.example.com --secret API_KEY=env:API_KEY@api.example.com",
    ),
)
