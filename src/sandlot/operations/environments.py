"""An environment as answers show it."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.bases.environments.store import EnvironmentInfo
from sandlot.model.environment import Environment
from sandlot.operations.operation import argument
from sandlot.workspaces.context import Context
from sandlot.workspaces.preparation import Readiness, readiness

__all__ = ["EnvironmentRow", "SetupRequest", "row_of"]


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """One environment, as ``env list`` shows it."""

    names: tuple[str, ...]
    digest: str
    """Empty: it has not been built."""
    kind: str
    """``host``, ``packages``, ``image`` or ``setup``."""
    source: str
    files: int = 0
    bytes: int = 0
    created_at: str = ""
    used_at: str = ""
    readiness: Readiness = Readiness.COLD
    """``warm``, ``cold`` (something is to be built first) or ``stale`` (what it was made from has changed)."""
    workspaces: int = 0
    """How many workspaces stand on it."""


def row_of(context: Context, info: EnvironmentInfo, workspaces: int) -> EnvironmentRow:
    """The row of one that is there."""
    ready = readiness(context, info.names[0] if info.names else "", info.environment)
    found: Environment = info.environment
    return EnvironmentRow(
        info.names, found.digest, found.kind, found.source, found.files, found.bytes, found.created_at, info.used_at,
        ready, workspaces,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SetupRequest:
    """Which environment is built, and how."""

    name: str = argument("what to build: a name of `sandlot env list`, or a new one for a setup", positional=True)
    parent: str | None = argument("the environment to run the setup in", default=None, metavar="ENV")
    setup: tuple[str, ...] = argument("a command for /bin/sh to run in it, as root", default=(), metavar="COMMAND")
    source: str | None = argument(
        "what the setup finds in /workspace: a folder, archive or repository, as for create",
        default=None,
        host_path=True,
    )
    timeout: str = argument("end each command of a setup after this long", default="30m", kind="duration")
    fresh: bool = argument("build anew, whether or not the result is known", default=False)
