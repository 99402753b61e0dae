"""The shells of a workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandlot.errors import ShellNotFound, WorkspaceNotFound
from sandlot.operations.operation import Caller
from sandlot.sdk.words import Duration, duration

if TYPE_CHECKING:
    import builtins
    from types import TracebackType

    from sandlot.model.shell import ShellInfo
    from sandlot.operations import shell_read, shell_write
    from sandlot.sdk.workspace import Workspace
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Shell", "Shells"]


class Shell:
    """One shell. In a ``with`` statement it is closed at the end."""

    def __init__(self, workspace: Workspace, info: ShellInfo) -> None:
        self._workspace = workspace
        self.info = info
        """Its facts as of the last call that answered with them."""

    def __repr__(self) -> str:
        return f"<Shell {self.info.name}>"

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (ShellNotFound, WorkspaceNotFound):
            pass  # it went with its workspace

    def call(self, operation: str, *, caller: Caller | None = None, **request: Any) -> Any:
        """Run an operation on this shell by its name."""
        return self._workspace.call(operation, caller=caller, shell=str(self.info.number), **request)

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    def write(self, text: str = "", *, keys: Sequence[str] = (), enter: bool = False) -> shell_write.Result:
        """Type a text, then press keys (``ctrl-c``, ``up``, ``tab``...), then Enter. Raises ShellEnded, ShellBusy."""
        result: shell_write.Result = self.call("shell_write", text=text, keys=tuple(keys), enter=enter)
        return result

    def read(
        self,
        cursor: int | None = None,
        *,
        max_bytes: int = 64 * 1024,
        plain: bool = False,
        wait: Duration = "default",
        idle: Duration = "default",
        cancellation: Cancellation | None = None,
    ) -> shell_read.Result:
        """What it has printed from byte ``cursor`` on, or the end of it; also of a shell that has ended.

        ``plain``: what a terminal would show of that, without escape codes; without a cursor, the screen and the lines
        above it. ``wait``: seconds to wait for something behind the cursor. ``idle``: until nothing more has come for
        so many seconds; alone for 30 s at most, and without ``cursor`` even if nothing new comes at all. Neither is an
        error when the time is up.
        """
        result: shell_read.Result = self.call(
            "shell_read", caller=Caller(cancellation=cancellation), cursor=cursor, max_bytes=max_bytes, plain=plain,
            wait=duration(wait), idle=duration(idle),
        )  # fmt: skip
        self.info = result.shell
        return result

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of its terminal. Raises ShellEnded."""
        self.info = self.call("shell_resize", rows=rows, columns=columns).shell

    def signal(self, signal: str) -> None:
        """Signal what runs in its foreground. Raises ShellEnded."""
        self.info = self.call("shell_signal", signal=signal).shell

    def close(self) -> ShellInfo:
        """Hang up and end everything that was started in it; one that has ended is left as it is."""
        self.info = self.call("shell_close").shell
        return self.info


@dataclass(frozen=True, slots=True)
class Shells:
    """The shells of one workspace."""

    _workspace: Workspace

    def open(
        self,
        command: Sequence[str] = (),
        *,
        name: str | None = None,
        cwd: str = "/workspace",
        env: Mapping[str, str] | None = None,
        rows: int = 24,
        columns: int = 80,
    ) -> Shell:
        """A new shell, bash (else sh) unless told otherwise. Raises NameTaken, LimitReached, UsageError."""
        result = self._workspace.call(
            "shell_open", command=tuple(command), name=name, cwd=cwd, env=dict(env or {}), rows=rows, columns=columns
        )
        return Shell(self._workspace, result.shell)

    def get(self, shell: str) -> Shell:
        """The shell with this name or number, running or ended. Raises ShellNotFound."""
        return Shell(self._workspace, self._workspace.call("shell_read", shell=shell, max_bytes=1).shell)

    def list(self, *, running: bool = False, limit: int = 100) -> builtins.list[ShellInfo]:
        """Facts about running and ended shells, the newest first."""
        return list(self._workspace.call("shell_list", running=running, limit=limit).shells)
