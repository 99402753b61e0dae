"""One user's workspaces."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack

from sandlot.model.isolation import IsolationLevel, RuntimeChoice
from sandlot.operations.operation import Caller
from sandlot.paths import Paths
from sandlot.sdk.environments import Environments
from sandlot.sdk.words import (
    Duration,
    LimitWords,
    Progress,
    Sink,
    caller_of,
    command_fields,
    duration,
    limit_fields,
    network_fields,
    word,
)
from sandlot.sdk.workspace import Workspace
from sandlot.settings import Settings
from sandlot.workspaces.context import Context

if TYPE_CHECKING:
    import builtins
    from types import TracebackType

    from sandlot.bases.store import BaseInfo, Pruned
    from sandlot.model.network import NetworkMode
    from sandlot.model.secret import Secret
    from sandlot.operations import doctor, prepare
    from sandlot.operations.described import WorkspaceInfo
    from sandlot.operations.run import Result as RunResult
    from sandlot.workspaces.cancellation import Cancellation
    from sandlot.workspaces.reaper import Leftovers

__all__ = ["Sandlot"]


class Sandlot:
    """One user's workspaces. Use as a context manager, or call ``close``; safe to use from several threads."""

    def __init__(self, state_dir: str | os.PathLike[str] | None = None) -> None:
        """``state_dir``: keep everything below this folder, instead of the user's state folder."""
        paths = Paths.default() if state_dir is None else Paths.at(Path(state_dir))
        self._context = Context(paths, Settings.load())
        self._first = threading.Lock()
        self._ready = False

    def __enter__(self) -> Sandlot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def paths(self) -> Paths:
        """Where its state is on disk."""
        return self._context.paths

    def close(self) -> None:
        """Close what is open; workspaces go on."""
        self._context.close()

    def call(self, operation: str, *, caller: Caller | None = None, **request: Any) -> Any:
        """Run an operation by its name, with its request's fields; what all the typed methods do."""
        from sandlot.operations import catalog
        from sandlot.workspaces import reaper

        if not self._ready and operation not in ("repair", "doctor"):
            with self._first:  # one thread opens the store, and looks once after what killed processes left
                if not self._ready:
                    reaper.reconcile(self._context)
                    self._ready = True
        found = catalog.load(operation)
        return found.invoke(self._context, found.request(**request), caller)

    def create(
        self,
        source: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        ref: str | None = None,
        include_ignored: bool = False,
        committed_only: bool = False,
        toolchains: Sequence[str | os.PathLike[str]] = (),
        idle_timeout: Duration = "default",
        retention: Duration = "default",
        network: NetworkMode | str | None = None,
        allow: Sequence[str] = (),
        allow_preset: Sequence[str] = (),
        allow_private: Sequence[str] = (),
        publish: Sequence[int | str] = (),
        environment: str | None = None,
        runtime: RuntimeChoice | str | None = None,
        min_isolation: IsolationLevel | str = IsolationLevel.NONE,
        secrets: Mapping[str, Secret] | None = None,
        progress: Progress | None = None,
        **limits: Unpack[LimitWords],
    ) -> Workspace:
        """A new workspace from a folder, git checkout or URL, archive, ``base:ID``, or nothing.

        ``network`` is ``off`` unless told otherwise, ``allowlist`` when hosts are allowed: ``allow`` names them
        (``HOST``, ``*.HOST``, ``HOST:PORT``), ``allow_preset`` those of your package tools, ``allow_private`` a
        HOST:PORT whose address is private. ``publish`` makes ports inside (``8000``, ``"8080:8000"``) reachable at
        127.0.0.1.
        ``environment``: what is inside besides the project, a name of ``environments.list``; None: the user's setting.
        ``runtime``: ``bubblewrap``, ``qemu``, or ``auto`` for the cheapest that reaches ``min_isolation``; None: the
        user's setting. Nothing is ever isolated less than was asked for: that is an error.
        ``secrets``: what it can use at certain hosts but not read, by the name of its environment variable.
        ``limits``: ``memory="2G", cpus=1.5, processes=512, open_files=4096, disk="10G", inodes=100_000, tmp="1G",
        max_duration=3600``; numbers are bytes, counts or seconds, None is no limit.

        Raises NameTaken, PathNotFound, SeedUnreadable, ArchiveRefused, GitFailed, IsolationUnavailable, StartFailed,
        StateUnwritable, PortTaken, NetworkUnavailable.
        """
        result = self.call(
            "workspace_create",
            caller=Caller(progress=progress) if progress else None,
            source=None if source is None else os.fspath(source),
            name=name,
            labels=dict(labels or {}),
            ref=ref,
            include_ignored=include_ignored,
            committed_only=committed_only,
            toolchains=tuple(os.fspath(path) for path in toolchains),
            idle_timeout=duration(idle_timeout),
            retention=duration(retention),
            secrets=tuple((secrets or {}).items()),
            **limit_fields(limits),
            **network_fields(network, allow, allow_preset, allow_private, publish),
            environment=environment,
            runtime=None if runtime is None else word(RuntimeChoice, runtime),
            min_isolation=word(IsolationLevel, min_isolation),
        )
        return Workspace(self, result.workspace, base=result.base, owned=True)

    def get(self, workspace: str) -> Workspace:
        """The workspace with this id or name. Raises WorkspaceNotFound."""
        return Workspace(self, self.call("workspace_status", workspace=workspace).workspace)

    def list(
        self, *, labels: Mapping[str, str] | None = None, name: str | None = None, state: str | None = None
    ) -> builtins.list[WorkspaceInfo]:
        """Facts about the workspaces that fit, most recently active first."""
        from sandlot.model.workspace import WorkspaceState

        wanted = None if state is None else word(WorkspaceState, state)
        return list(self.call("workspace_list", labels=dict(labels or {}), name=name, state=wanted).workspaces)

    def run(
        self,
        command: Sequence[str] | str,
        *,
        source: str | os.PathLike[str] | None = None,
        cwd: str = "/workspace",
        env: Mapping[str, str] | None = None,
        stdin: bytes | BinaryIO | None = None,
        timeout: Duration = "default",
        toolchains: Sequence[str | os.PathLike[str]] = (),
        environment: str | None = None,
        runtime: RuntimeChoice | str | None = None,
        min_isolation: IsolationLevel | str = IsolationLevel.NONE,
        secrets: Mapping[str, Secret] | None = None,
        reveal: Sequence[str] = (),
        network: NetworkMode | str | None = None,
        allow: Sequence[str] = (),
        allow_preset: Sequence[str] = (),
        allow_private: Sequence[str] = (),
        publish: Sequence[int | str] = (),
        on_output: Sink | None = None,
        max_output: int = 64 * 1024,
        cancellation: Cancellation | None = None,
        **limits: Unpack[LimitWords],
    ) -> RunResult:
        """Run one command in a workspace that is deleted afterwards. A string goes to ``/bin/sh -c``.

        ``environment``, ``runtime``, ``min_isolation``, ``limits``: as of ``create``.
        """
        result: RunResult = self.call(
            "workspace_run",
            caller=Caller(output=on_output, stdin=stdin, cancellation=cancellation),
            **command_fields(command),
            source=None if source is None else os.fspath(source),
            cwd=cwd,
            env=dict(env or {}),
            timeout=duration(timeout),
            toolchains=tuple(os.fspath(path) for path in toolchains),
            environment=environment,
            runtime=None if runtime is None else word(RuntimeChoice, runtime),
            min_isolation=word(IsolationLevel, min_isolation),
            secrets=tuple((secrets or {}).items()),
            reveal=tuple(reveal),
            **limit_fields(limits),
            **network_fields(network, allow, allow_preset, allow_private, publish),
            max_output=max_output,
        )
        return result

    @property
    def environments(self) -> Environments:
        """What can be inside workspaces besides their projects."""
        return Environments(self)

    def prepare(
        self,
        environment: str | None = None,
        *,
        runtime: str | None = None,
        progress: Progress | None = None,
        on_output: Sink | None = None,
    ) -> prepare.Result:
        """Build what an environment (the user's default) needs; prove create, exec, reset and delete."""
        caller = caller_of(progress, on_output)
        result: prepare.Result = self.call(
            "prepare",
            caller=caller,
            environment=environment,
            runtime=None if runtime is None else word(RuntimeChoice, runtime),
        )
        return result

    def bases(self) -> builtins.list[BaseInfo]:
        """The shared trees in the store, the last used one first."""
        return list(self.call("base_list").bases)

    def prune_bases(self, *bases: str, unused_for: float = 0, dry_run: bool = False) -> Pruned:
        """Remove bases (those named, or all) that nothing stands on, not used for ``unused_for`` seconds."""
        pruned: Pruned = self.call(
            "base_prune", bases=bases, unused_for=duration(unused_for) or "0s", dry_run=dry_run
        ).pruned
        return pruned

    def doctor(self, *, deep: bool = False) -> doctor.Result:
        """What works on this machine, found out by running it."""
        result: doctor.Result = self.call("doctor", deep=deep)
        return result

    def repair(self) -> Leftovers:
        """Clean up after killed processes; rebuild a damaged database."""
        found: Leftovers = self.call("repair").found
        return found
