"""One command in a workspace's history."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sandlot.model.isolation import IsolationLevel

__all__ = ["CommandKind", "CommandOutcome", "CommandRecord", "CommandState", "Output"]


class CommandState(StrEnum):
    """``interrupted``: the workspace (or the command's supervisor) ended before the command did."""

    RUNNING = "running"
    EXITED = "exited"
    SIGNALED = "signaled"
    TIMED_OUT = "timed_out"
    KILLED = "killed"
    INTERRUPTED = "interrupted"


class CommandKind(StrEnum):
    """``service`` and ``shell``: a numbered command with a name that can be talked to while it runs."""

    COMMAND = "command"
    SERVICE = "service"
    SHELL = "shell"


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """How a command ended."""

    state: CommandState
    exit_code: int | None
    """0-255, or None when it did not exit by itself."""
    signal: str | None
    """Name of the signal that ended it, such as ``SIGSEGV``."""
    duration_ms: int
    cpu_ms: int
    max_rss_bytes: int
    stdout_bytes: int
    """Bytes written, kept or not."""
    stderr_bytes: int
    survivors: int = 0
    """Processes of its tree that could not be killed within the deadline."""
    cause: str = ""
    """What interrupted it: ``reset``, ``ended`` (its workspace was stopped or killed), ``killed`` (its supervisor was),
    ``cancelled`` (a service, before it could begin)."""
    limit: str | None = None
    """The limit of the workspace (a word of ``LimitHit``) that ended it, or that it ran into before it failed."""


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A numbered entry of ``workspace_logs``; survives reset and stop."""

    number: int
    argv: tuple[str, ...]
    cwd: str
    background: bool
    started_at: str
    timeout_ms: int
    generation: int
    token: str
    """The instance it ran in: a command of another instance cannot be running."""
    outcome: CommandOutcome | None = None
    isolation: IsolationLevel = IsolationLevel.NONE
    kind: CommandKind = CommandKind.COMMAND
    name: str | None = None
    """Name of a service or shell."""
    revealed: tuple[str, ...] = ()
    """Secrets whose values it was given."""

    @property
    def state(self) -> CommandState:
        return CommandState.RUNNING if self.outcome is None else self.outcome.state


@dataclass(frozen=True, slots=True)
class Output:
    """What an answer carries of one stream: head and tail, never more than asked for."""

    text: str
    """UTF-8 with replacement characters; a line saying how much was left out stands between head and tail."""
    total_bytes: int
    truncated: bool
    """Whether ``text`` is not all of it; ``workspace logs`` reads the rest."""
    lost_bytes: int = 0
    """Bytes beyond the quota that are on disk nowhere."""
