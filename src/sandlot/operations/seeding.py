"""The arguments of everything that makes a workspace from a source."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.source import Source, classify
from sandlot.errors import PathNotFound, UsageError
from sandlot.model.base import OriginKind
from sandlot.model.isolation import IsolationLevel, RuntimeChoice
from sandlot.model.workspace import Lifetime
from sandlot.operations.operation import argument
from sandlot.runtimes.base import HOME
from sandlot.settings import duration
from sandlot.workspaces.context import Context

__all__ = ["SeedRequest", "idle_timeout_of", "lifetime_of", "source_of", "toolchains_of"]

_TOO_MUCH = ("/", "/dev", "/etc", "/home", "/run", "/tmp", "/var", "/var/lib", "/var/tmp")  # noqa: S108  refused
_TAKEN = ("bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr", "workspace")
"""Top folders that a workspace has of its own: nothing can be mounted below what it can write or what is read-only."""


@dataclass(frozen=True, kw_only=True)
class SeedRequest:
    """Where the content comes from, and how the workspace is isolated."""

    ref: str | None = argument("branch, tag or commit of a git source", default=None)
    include_ignored: bool = argument("also take files that git ignores", default=False)
    committed_only: bool = argument("take the commit alone, without uncommitted edits", default=False)
    toolchains: tuple[str, ...] = argument(
        "show this host folder (a Python or Node prefix, say) read-only at the same path and put its bin on PATH",
        default=(),
        metavar="DIR",
        host_path=True,
    )
    environment: str | None = argument(
        "what is inside besides the project: host, or a name of `sandlot env list` [default: host]",
        default=None,
        metavar="ENV",
    )
    runtime: RuntimeChoice | None = argument(
        "what isolates the workspace: namespaces, a virtual machine, or the cheapest that isolates enough "
        "[default: bubblewrap]",
        default=None,
    )
    min_isolation: IsolationLevel = argument("fail unless isolated at least this much", default=IsolationLevel.NONE)


def source_of(request: SeedRequest, text: str | None) -> Source:
    """The source that a request names; None is an empty workspace."""
    if text is None:
        if request.ref or request.include_ignored or request.committed_only:
            raise UsageError(
                "ref, include-ignored and committed-only need a source", hint="sandlot workspace create SOURCE"
            )
        return Source(OriginKind.NOTHING)
    return classify(
        text,
        ref=request.ref,
        include_ignored=request.include_ignored,
        committed_only=request.committed_only,
        cwd=Path.cwd(),
    )


def toolchains_of(request: SeedRequest) -> tuple[str, ...]:
    """Absolute, existing folders. Raises PathNotFound, UsageError."""
    found = []
    for text in request.toolchains:
        path = os.path.abspath(os.path.expanduser(text))
        if not os.path.isdir(path):
            raise PathNotFound(f"the toolchain folder {path} does not exist")
        # A whole home or the root would show secrets.
        home = os.path.realpath(os.path.expanduser("~"))
        real = os.path.realpath(path)
        if real == home or home.startswith(real.rstrip("/") + "/") or real in _TOO_MUCH:
            raise UsageError(f"{path} is too much to show", hint="name the folder that holds bin/ and lib/")
        below_own = f"{path}/".startswith((f"{HOME}/", "/var/run/"))
        if path.split("/")[1] in _TAKEN or below_own:
            raise UsageError(f"{path} cannot be shown at its own path inside", hint="/usr is inside already")
        if ":" in path:
            raise UsageError(f"{path} cannot be put on PATH: its name has a colon", hint="name a link to it")
        found.append(path)
    return tuple(found)


def lifetime_of(context: Context, idle_timeout: str | None, retention: str | None) -> Lifetime:
    """The lifetime that durations name; None means the user's setting."""
    return Lifetime(
        context.settings.idle_timeout if idle_timeout is None else idle_timeout_of(idle_timeout),
        context.settings.retention if retention is None else duration(retention),
    )


def idle_timeout_of(text: str) -> int | None:
    """Seconds; None: never. Raises UsageError for none at all: the workspace would stop while it starts."""
    found = duration(text)
    if found == 0:
        raise UsageError("the idle timeout must be at least one second", hint="never: no limit")
    return found
