"""Build an environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.source import Source, classify
from sandlot.model.base import OriginKind
from sandlot.model.environment import Environment
from sandlot.operations.environments import SetupRequest
from sandlot.operations.networking import EgressRequest, network_of
from sandlot.operations.operation import Caller, Operation
from sandlot.settings import duration
from sandlot.workspaces import setups
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(SetupRequest, EgressRequest):
    """What to build."""


@dataclass(frozen=True, slots=True)
class Result:
    """The environment."""

    name: str
    environment: Environment
    cached: bool
    """Whether it was here already."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Build what is not there."""
    if request.parent is None and not request.setup:
        environment, cached = setups.build_packages(
            context, request.name, fresh=request.fresh, progress=caller.progress, output=caller.output
        )
    else:
        environment, cached = setups.build_setup(
            context,
            request.name,
            setups.Setup(
                parent=request.parent or "",
                commands=request.setup,
                source=classify(request.source, cwd=Path.cwd()) if request.source else Source(OriginKind.NOTHING),
                network=network_of(request),
                timeout_s=duration(request.timeout),
            ),
            fresh=request.fresh,
            progress=caller.progress,
            output=caller.output,
        )
    return Result(request.name, environment, cached)


OPERATION = Operation(
    name="env_build",
    command=("env", "build"),
    summary="Build an environment: from the distribution's packages, or by a setup in another one; once.",
    request=Request,
    run=run,
    examples=(
        "sandlot env build debian:12",
        "sandlot env build tools --from debian:12 --setup 'apt-get update && apt-get install -y jq' "
        "--allow-preset debian-packages",
        "sandlot env build web --from debian:12-node --source ./tools --setup 'npm install -g .' "
        "--allow-preset npm-packages",
    ),
    streams=True,
)
