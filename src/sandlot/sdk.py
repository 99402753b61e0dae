"""The Python SDK: typed methods over the operations.

::

    with Sandlot() as sandlot, sandlot.create(".") as workspace:
        result = workspace.exec(["pytest", "-q"])
        workspace.patch(fix)
        print(workspace.diff().patch)

A workspace made by ``create``, ``fork`` or ``run`` in a ``with`` statement is deleted at its end; one got by ``get`` is
the caller's and stays. Everything raises subclasses of ``SandlotError``.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar

from sandlot.errors import UsageError, WorkspaceNotFound
from sandlot.model.isolation import IsolationLevel
from sandlot.operations.operation import Caller
from sandlot.paths import Paths
from sandlot.settings import Settings
from sandlot.workspaces.context import Context

if TYPE_CHECKING:
    import builtins
    from types import TracebackType

    from sandlot.bases.store import BaseInfo, Pruned
    from sandlot.model.command import CommandRecord
    from sandlot.operations import (
        apply,
        diff,
        doctor,
        export,
        file_delete,
        file_list,
        file_read,
        file_search,
        file_write,
        logs,
        patch_apply,
        snapshot_create,
        snapshot_list,
        summary,
        sync_push,
    )
    from sandlot.operations.described import WorkspaceInfo
    from sandlot.operations.executed import CommandResult
    from sandlot.operations.run import Result as RunResult
    from sandlot.operations.status import Result as StatusResult
    from sandlot.operations.wait import Result as WaitResult
    from sandlot.workspaces.cancellation import Cancellation
    from sandlot.workspaces.reaper import Leftovers

__all__ = ["Files", "Sandlot", "Snapshots", "Workspace"]

Progress = Callable[[str, int, int], None]
"""(phase, done, total) while a workspace is seeded."""
Sink = Callable[[Literal["stdout", "stderr"] | str, bytes], None]
"""(stream, bytes) while a command runs."""
Duration = float | None | Literal["default"]
"""Seconds; None: never (or no limit); ``"default"``: the user's setting."""
Word = TypeVar("Word", bound=StrEnum)


def _duration(value: Duration) -> str | None:
    if value == "default":
        return None
    try:
        number = math.inf if value is None else float(value)
        if number == math.inf:
            return "never"
        if not number >= 0:  # NaN included
            raise ValueError
    except (TypeError, ValueError):
        raise UsageError(f"{value!r} is not a duration", hint="give seconds, None for never, or 'default'") from None
    return f"{math.ceil(number * 1000)}ms"


def _word(kind: type[Word], value: str) -> Word:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(kind)
        raise UsageError(f"{value!r} is not a {kind.__name__}", hint=f"choose one of: {known}") from None


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
        runtime: str = "bubblewrap",
        min_isolation: IsolationLevel | str = IsolationLevel.NONE,
        progress: Progress | None = None,
    ) -> Workspace:
        """A new workspace from a folder, git checkout or URL, archive, ``base:ID``, or nothing.

        Raises NameTaken, PathNotFound, SeedUnreadable, ArchiveRefused, GitFailed, IsolationUnavailable, StartFailed,
        StateUnwritable.
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
            idle_timeout=_duration(idle_timeout),
            retention=_duration(retention),
            runtime=runtime,
            min_isolation=_word(IsolationLevel, min_isolation),
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

        wanted = None if state is None else _word(WorkspaceState, state)
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
        on_output: Sink | None = None,
        max_output: int = 64 * 1024,
        cancellation: Cancellation | None = None,
    ) -> RunResult:
        """Run one command in a workspace that is deleted afterwards. A string goes to ``/bin/sh -c``."""
        result: RunResult = self.call(
            "workspace_run",
            caller=Caller(output=on_output, stdin=stdin, cancellation=cancellation),
            **_command(command),
            source=None if source is None else os.fspath(source),
            cwd=cwd,
            env=dict(env or {}),
            timeout=_duration(timeout),
            toolchains=tuple(os.fspath(path) for path in toolchains),
            max_output=max_output,
        )
        return result

    def bases(self) -> builtins.list[BaseInfo]:
        """The shared trees in the store, the last used one first."""
        return list(self.call("base_list").bases)

    def prune_bases(self, *, unused_for: float = 0, dry_run: bool = False) -> Pruned:
        """Remove bases that nothing stands on and that were not used for ``unused_for`` seconds."""
        pruned: Pruned = self.call("base_prune", unused_for=_duration(unused_for) or "0s", dry_run=dry_run).pruned
        return pruned

    def doctor(self, *, deep: bool = False) -> doctor.Result:
        """What works on this machine, found out by running it."""
        result: doctor.Result = self.call("doctor", deep=deep)
        return result

    def repair(self) -> Leftovers:
        """Clean up after killed processes; rebuild a damaged database."""
        found: Leftovers = self.call("repair").found
        return found


def _command(command: Sequence[str] | str) -> dict[str, Any]:
    return {"shell": command} if isinstance(command, str) else {"command": tuple(map(os.fspath, command))}


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one workspace; paths are below /workspace or absolute inside."""

    _workspace: Workspace

    def list(
        self, path: str = ".", *, recursive: bool = False, glob: str = "", hidden: bool = True, limit: int = 1000,
        cursor: str = "",
    ) -> file_list.Result:  # fmt: skip
        """A page of entries below a folder. Raises PathNotFound."""
        result: file_list.Result = self._workspace.call(
            "file_list", path=path, recursive=recursive, glob=glob, hidden=hidden, limit=limit, cursor=cursor
        )
        return result

    def read(
        self,
        path: str,
        *,
        first_line: int | None = None,
        lines: int | None = None,
        offset: int | None = None,
        max_bytes: int | None = None,
    ) -> file_read.Result:
        """A file, or some of its lines or bytes (64 KiB unless told otherwise). Raises PathNotFound, FileRefused."""
        result: file_read.Result = self._workspace.call(
            "file_read", path=path, first_line=first_line, lines=lines, offset=offset, max_bytes=max_bytes
        )
        return result

    def write(
        self, path: str, content: str | bytes | BinaryIO, *, mode: str = "", create_only: bool = False
    ) -> file_write.Result:
        """Make or replace a file, atomically; missing folders are made. Raises FileRefused."""
        text = content if isinstance(content, str) else None
        caller = None if isinstance(content, str) else Caller(content=content)
        result: file_write.Result = self._workspace.call(
            "file_write", caller=caller, path=path, content=text, mode=mode, create_only=create_only
        )
        return result

    def search(
        self, pattern: str, path: str = ".", *, literal: bool = False, ignore_case: bool = False, glob: str = "",
        include_ignored: bool = False, context: int = 0, limit: int = 200,
    ) -> file_search.Result:  # fmt: skip
        """Lines that match a regular expression, or plain text with ``literal``. Raises UsageError, PathNotFound."""
        result: file_search.Result = self._workspace.call(
            "file_search", pattern=pattern, path=path, literal=literal, ignore_case=ignore_case, glob=glob,
            include_ignored=include_ignored, context=context, limit=limit,
        )  # fmt: skip
        return result

    def move(self, source: str, destination: str, *, overwrite: bool = False) -> None:
        """Move or rename. Raises PathNotFound, FileRefused."""
        self._workspace.call("file_move", source=source, destination=destination, overwrite=overwrite)

    def delete(self, path: str, *, recursive: bool = False) -> file_delete.Result:
        """Delete a file, or a folder with ``recursive``. Raises PathNotFound, FileRefused."""
        result: file_delete.Result = self._workspace.call("file_delete", path=path, recursive=recursive)
        return result


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The saved states of one workspace."""

    _workspace: Workspace

    def create(self, name: str) -> snapshot_create.Result:
        """Save the present files and home. Raises NameTaken, WorkspaceBusy."""
        result: snapshot_create.Result = self._workspace.call("snapshot_create", name=name)
        return result

    def list(self) -> list[snapshot_list.SnapshotInfo]:
        """Oldest first; the baseline is always there and not listed."""
        return list(self._workspace.call("snapshot_list").snapshots)

    def delete(self, name: str) -> None:
        """Forget one. Raises SnapshotNotFound."""
        self._workspace.call("snapshot_delete", name=name)


class Workspace:
    """One workspace. In a ``with`` statement it is deleted at the end if this object made it."""

    def __init__(self, sandlot: Sandlot, info: WorkspaceInfo, *, base: str | None = None, owned: bool = False) -> None:
        self._sandlot = sandlot
        self._owned = owned
        self.info = info
        """Its facts as of the last call that answered with them; ``status`` asks anew."""
        self.base = base
        """Id of the base it was made from, when this object made it."""

    def __repr__(self) -> str:
        return f"<Workspace {self.info.name or self.id}>"

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            try:
                self.delete()
            except WorkspaceNotFound:
                pass  # deleted by somebody else already, which is what was wanted

    def call(self, operation: str, *, caller: Caller | None = None, **request: Any) -> Any:
        """Run an operation on this workspace by its name."""
        return self._sandlot.call(operation, caller=caller, workspace=self.id, **request)

    @property
    def id(self) -> str:
        """Its handle; unguessable, and never used again."""
        return self.info.id

    @property
    def name(self) -> str | None:
        """Its name, if it has one."""
        return self.info.name

    @property
    def files(self) -> Files:
        """Its files."""
        return Files(self)

    @property
    def snapshots(self) -> Snapshots:
        """Its saved states."""
        return Snapshots(self)

    def exec(
        self,
        command: Sequence[str] | str,
        *,
        cwd: str = "/workspace",
        env: Mapping[str, str] | None = None,
        stdin: bytes | BinaryIO | None = None,
        timeout: Duration = "default",
        background: bool = False,
        on_output: Sink | None = None,
        max_output: int = 64 * 1024,
        cancellation: Cancellation | None = None,
    ) -> CommandResult:
        """Run a command; a string goes to ``/bin/sh -c``. A failing command is a result, not an exception.

        ``timeout`` (120 s unless told otherwise) ends the whole process tree and keeps the output so far.
        ``on_output`` gets output as it comes; what it raises ends the command, too. ``max_output`` bounds the bytes of
        each stream in the answer: head and tail are kept, ``logs`` reads the rest. ``cancellation`` ends the tree from
        another thread. Raises CommandInterrupted when the workspace ended first, Cancelled.
        """
        result: CommandResult = self.call(
            "workspace_exec",
            caller=Caller(output=on_output, stdin=stdin, cancellation=cancellation),
            **_command(command),
            cwd=cwd,
            env=dict(env or {}),
            timeout=_duration(timeout),
            background=background,
            max_output=max_output,
        )
        return result

    def wait(
        self,
        number: int,
        *,
        timeout: float | None = None,
        max_output: int = 64 * 1024,
        cancellation: Cancellation | None = None,
    ) -> WaitResult:
        """Wait for a background command; its state is ``running`` when ``timeout`` seconds were not enough."""
        result: WaitResult = self.call(
            "workspace_wait",
            caller=Caller(cancellation=cancellation),
            number=number,
            timeout=_duration(timeout) or "never",
            max_output=max_output,
        )
        return result

    def kill(self, number: int, *, signal: str | None = None) -> CommandRecord:
        """End a running command's tree, or send its main process a signal."""
        record: CommandRecord = self.call("workspace_kill", number=number, signal=signal).command
        return record

    def logs(
        self, number: int | None = None, *, stream: str = "stdout", offset: int = 0, limit: int = 64 * 1024,
        after: int = 0, count: int = 50, search: str | None = None,
    ) -> logs.Result:  # fmt: skip
        """A page of the command history, or a part of one command's output."""
        result: logs.Result = self.call(
            "workspace_logs", number=number, stream=stream, offset=offset, limit=limit, after=after, count=count,
            search=search,
        )  # fmt: skip
        return result

    def patch(
        self, patch: str | bytes | BinaryIO, *, strip: int | None = None, check: bool = False
    ) -> patch_apply.Result:
        """Apply a patch, all or nothing. Raises PatchRejected with one detail for each hunk that does not fit."""
        text = patch if isinstance(patch, str) else None
        caller = None if isinstance(patch, str) else Caller(content=patch)
        result: patch_apply.Result = self.call("patch_apply", caller=caller, patch=text, strip=strip, check=check)
        return result

    def diff(
        self, *paths: str, to: str = "baseline", stat: bool = False, include_ignored: bool = False,
        max_bytes: int = 16 << 20,
    ) -> diff.Result:  # fmt: skip
        """What changed since the baseline or a snapshot; new files that git ignores only with ``include_ignored``."""
        result: diff.Result = self.call(
            "diff", paths=paths, to=to, stat=stat, include_ignored=include_ignored, max_bytes=max_bytes
        )
        return result

    def apply(
        self, *paths: str, to: str = "baseline", target: str | os.PathLike[str] | None = None, yes: bool = False,
        include_ignored: bool = False, allow_escaping_links: bool = False,
    ) -> apply.Result:  # fmt: skip
        """Bring the changes since the baseline, or the snapshot ``to``, to the host folder the workspace came from.

        Only with ``yes`` for real. Raises PatchRejected, UnsafePath; nothing was changed then.
        """
        result: apply.Result = self.call(
            "workspace_apply", paths=paths, to=to, target=None if target is None else os.fspath(target), yes=yes,
            include_ignored=include_ignored, allow_escaping_links=allow_escaping_links,
        )  # fmt: skip
        return result

    def export(self, path: str, destination: str | os.PathLike[str], *, overwrite: bool = False) -> export.Result:
        """Copy a file or folder to the host, complete or not at all. Raises PathNotFound, TargetExists."""
        result: export.Result = self.call(
            "workspace_export", path=path, destination=os.fspath(destination), overwrite=overwrite
        )
        return result

    def sync_push(self, source: str | os.PathLike[str] | None = None, *, force: bool = False) -> sync_push.Result:
        """Bring later changes of the host folder in. Raises SyncConflict when the workspace changed the same files."""
        result: sync_push.Result = self.call(
            "workspace_sync_push", source=None if source is None else os.fspath(source), force=force
        )
        return result

    def summary(self) -> summary.Result:
        """What happened since create or the last reset."""
        result: summary.Result = self.call("workspace_summary")
        return result

    def status(self) -> StatusResult:
        """Its facts now, and what runs in it."""
        result: StatusResult = self.call("workspace_status")
        self.info = result.workspace
        return result

    def update(
        self,
        *,
        name: str | None = None,
        clear_name: bool = False,
        labels: Mapping[str, str] | None = None,
        clear_labels: Sequence[str] = (),
        idle_timeout: Duration = "default",
        retention: Duration = "default",
    ) -> WorkspaceInfo:
        """Rename, merge and clear labels, change the lifetime. Raises NameTaken."""
        self.info = self.call(
            "workspace_update",
            name=name,
            clear_name=clear_name,
            labels=dict(labels or {}),
            clear_labels=tuple(clear_labels),
            idle_timeout=_duration(idle_timeout),
            retention=_duration(retention),
        ).workspace
        return self.info

    def reset(self, to: str = "baseline") -> None:
        """Files, home, processes and /tmp back to the baseline or a snapshot; running afterwards."""
        self.info = self.call("workspace_reset", to=to).workspace

    def fork(
        self, *, name: str | None = None, count: int = 1, labels: Mapping[str, str] | None = None
    ) -> list[Workspace]:
        """New workspaces from the present state."""
        result = self.call("workspace_fork", name=name, count=count, labels=dict(labels or {}))
        return [Workspace(self._sandlot, info, owned=True) for info in result.workspaces]

    def start(self) -> None:
        """Start it; other methods that need it running do so by themselves."""
        self.info = self.call("workspace_start").workspace

    def stop(self) -> None:
        """End its processes, keep its files."""
        self.info = self.call("workspace_stop").workspace

    def delete(self) -> None:
        """Remove it completely."""
        self._sandlot.call("workspace_delete", workspaces=(self.id,))
