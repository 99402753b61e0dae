"""One workspace."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack

from sandlot.errors import WorkspaceNotFound
from sandlot.operations.operation import Caller
from sandlot.sdk.files import Files
from sandlot.sdk.secrets import Secrets
from sandlot.sdk.services import Services
from sandlot.sdk.shells import Shells
from sandlot.sdk.snapshots import Snapshots
from sandlot.sdk.words import Duration, LimitWords, Sink, command_fields, duration, limit_fields, network_fields

if TYPE_CHECKING:
    from types import TracebackType

    from sandlot.model.command import CommandRecord
    from sandlot.model.network import NetworkMode
    from sandlot.operations import apply, diff, export, logs, patch_apply, summary, sync_push
    from sandlot.operations.described import WorkspaceInfo
    from sandlot.operations.executed import CommandResult
    from sandlot.operations.status import Result as StatusResult
    from sandlot.operations.wait import Result as WaitResult
    from sandlot.sdk.client import Sandlot
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Workspace"]


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
    def secrets(self) -> Secrets:
        """Its secrets."""
        return Secrets(self)

    @property
    def services(self) -> Services:
        """Its services."""
        return Services(self)

    @property
    def shells(self) -> Shells:
        """Its shells."""
        return Shells(self)

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
        reveal: Sequence[str] = (),
        on_output: Sink | None = None,
        max_output: int = 64 * 1024,
        cancellation: Cancellation | None = None,
    ) -> CommandResult:
        """Run a command; a string goes to ``/bin/sh -c``. A failing command is a result, not an exception.

        ``timeout`` (120 s unless told otherwise) ends the whole process tree and keeps the output so far.
        ``on_output`` gets output as it comes; what it raises ends the command, too. ``max_output`` bounds the bytes of
        each stream in the answer: head and tail are kept, ``logs`` reads the rest. ``cancellation`` ends the tree from
        another thread. ``reveal`` names secrets whose values this one command gets; they are blanked out of what it
        prints. Raises CommandInterrupted when the workspace ended first, Cancelled, SecretNotFound.
        """
        result: CommandResult = self.call(
            "workspace_exec",
            caller=Caller(output=on_output, stdin=stdin, cancellation=cancellation),
            **command_fields(command),
            cwd=cwd,
            env=dict(env or {}),
            timeout=duration(timeout),
            background=background,
            reveal=tuple(reveal),
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
            timeout=duration(timeout) or "never",
            max_output=max_output,
        )
        return result

    def kill(self, number: int, *, signal: str | None = None) -> CommandRecord:
        """End a running command's tree, or send its main process a signal."""
        record: CommandRecord = self.call("workspace_kill", number=number, signal=signal).command
        return record

    def logs(
        self, number: int | None = None, *, stream: str = "stdout", offset: int = 0, limit: int = 64 * 1024,
        after: int = 0, count: int = 50, search: str | None = None, wait: Duration = "default",
    ) -> logs.Result:  # fmt: skip
        """A page of the command history, or a part of one command's output, once it has ended or ``wait`` is over."""
        result: logs.Result = self.call(
            "workspace_logs", number=number, stream=stream, offset=offset, limit=limit, after=after, count=count,
            search=search, wait=duration(wait),
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
        include_ignored: bool = False, allow_escaping_links: bool = False, allow_secrets: bool = False,
    ) -> apply.Result:  # fmt: skip
        """Bring the changes since the baseline, or the snapshot ``to``, to the host folder the workspace came from.

        Only with ``yes`` for real. Raises PatchRejected, UnsafePath, SecretExposed; nothing was changed then.
        """
        result: apply.Result = self.call(
            "workspace_apply", paths=paths, to=to, target=None if target is None else os.fspath(target), yes=yes,
            include_ignored=include_ignored, allow_escaping_links=allow_escaping_links, allow_secrets=allow_secrets,
        )  # fmt: skip
        return result

    def export(
        self, path: str, destination: str | os.PathLike[str], *, overwrite: bool = False, allow_secrets: bool = False
    ) -> export.Result:
        """Copy a file or folder to the host, complete or not at all.

        Raises PathNotFound, TargetExists, SecretExposed.
        """
        result: export.Result = self.call(
            "workspace_export", path=path, destination=os.fspath(destination), overwrite=overwrite,
            allow_secrets=allow_secrets,
        )  # fmt: skip
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
        network: NetworkMode | str | None = None,
        allow: Sequence[str] = (),
        allow_preset: Sequence[str] = (),
        allow_private: Sequence[str] = (),
        disallow: Sequence[str] = (),
        publish: Sequence[int | str] = (),
        unpublish: Sequence[int] = (),
        **limits: Unpack[LimitWords],
    ) -> WorkspaceInfo:
        """Rename, merge and clear labels, change lifetime, network and limits; what is not named stays.

        A change of the network ends the connections that are open. ``limits``: as of ``Sandlot.create``; of a workspace
        that is stopped, or ``max_duration`` alone. Raises NameTaken, PortTaken, NetworkUnavailable, Conflict.
        """
        self.info = self.call(
            "workspace_update",
            name=name,
            clear_name=clear_name,
            labels=dict(labels or {}),
            clear_labels=tuple(clear_labels),
            idle_timeout=duration(idle_timeout),
            retention=duration(retention),
            disallow=tuple(disallow),
            unpublish=tuple(str(port) for port in unpublish),
            **limit_fields(limits),
            **network_fields(network, allow, allow_preset, allow_private, publish),
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
