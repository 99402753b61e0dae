"""Make an environment of an OCI image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.environments.importing import import_environment
from sandlot.model.environment import Environment
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.workspaces.context import Context
from sandlot.workspaces.environments import store_of


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which image."""

    image: str = argument(
        "HOST/IMAGE:TAG of a registry, an OCI layout folder, or an archive of docker save, podman save, skopeo copy",
        positional=True,
        host_path=True,
    )
    name: str | None = argument("what to call it [the image's own IMAGE:TAG]", default=None)


@dataclass(frozen=True, slots=True)
class Result:
    """The environment."""

    name: str
    environment: Environment
    cached: bool
    """Whether this very image was here already."""


def run(context: Context, request: Request, caller: Caller) -> Result:
    """Fetch, check, unpack, store."""
    with context.bases.in_use():
        name, environment, cached = import_environment(
            store_of(context), request.image, request.name, cwd=Path.cwd(), progress=caller.progress
        )
    return Result(name, environment, cached)


OPERATION = Operation(
    name="env_import",
    command=("env", "import"),
    summary="Make an environment of an OCI image: every digest is checked, nothing of it is run.",
    request=Request,
    run=run,
    effect=Effect(idempotent=True),
    examples=(
        "sandlot env import registry.example.org/tools/python:3.12 --name py",
        "sandlot env import ./image.tar --name tools",
        "sandlot env import ./layout@v2 --name tools:v2",
    ),
)
