"""A shell as answers show it."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.command import CommandState

__all__ = ["ShellInfo"]


@dataclass(frozen=True, slots=True)
class ShellInfo:
    """The facts about one shell, running or ended."""

    name: str
    number: int
    """Its number in the workspace's history."""
    state: CommandState
    """``killed``: it was closed. ``interrupted``: it ended with the workspace (stop, reset)."""
    argv: tuple[str, ...]
    cwd: str
    rows: int
    columns: int
    started_at: str
    exit_code: int | None
    """0-255; None while it runs, and when it did not exit by itself."""
    signal: str | None
    duration_ms: int | None
    """None while it runs."""
    total_bytes: int
    """Bytes printed so far: the cursor of whatever comes next."""

    @property
    def running(self) -> bool:
        return self.state is CommandState.RUNNING
