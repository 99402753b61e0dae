"""A service: a named process that is meant to go on, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sandlot.model.isolation import IsolationLevel

__all__ = ["Readiness", "ReadyCheck", "Restart", "RestartPolicy", "ServiceInfo", "ServiceState"]


class ServiceState(StrEnum):
    """``starting``: its process runs, it is not ready yet. ``ready``: its check has succeeded. ``running``: it runs and
    has no check. ``restarting``: it has failed and is about to be started again. ``stopping``: it was told to end.
    ``exited``: it ended by itself, with 0. ``failed``: it ended in another way, could not be started, or did not get
    ready. ``stopped``: it was ended on request, or with its workspace. ``interrupted``: whatever watched over it was
    killed, and so was it. ``unknown``: the workspace's agent does not answer.
    """

    STARTING = "starting"
    READY = "ready"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    EXITED = "exited"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"

    @property
    def over(self) -> bool:
        """Whether nothing of the service runs, or will run again."""
        return self in (self.EXITED, self.FAILED, self.STOPPED, self.INTERRUPTED)


class ReadyCheck(StrEnum):
    """How to tell that a service is ready: nothing to check, a path exists, a port takes connections, an HTTP GET is
    answered with 200 to 399, a command exits with 0. All of it is tried inside the workspace."""

    NONE = "none"
    FILE = "file"
    TCP = "tcp"
    HTTP = "http"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Readiness:
    """When a service counts as ready."""

    check: ReadyCheck = ReadyCheck.NONE
    words: tuple[str, ...] = ()
    """What the check needs: a path; host, port; host, port, path, Host header; an argument vector."""
    timeout_s: float = 30.0
    """How long each start may take to get ready; then it has failed."""
    interval_s: float = 0.25
    """Between two looks; the first ones come faster."""


class Restart(StrEnum):
    """What happens when a service fails."""

    NONE = "none"
    ON_FAILURE = "on-failure"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """``on-failure``: a service that ends other than with 0, or does not get ready, is started again."""

    mode: Restart = Restart.NONE
    max_restarts: int = 5
    """In a row; then it stays failed."""
    backoff_s: float = 0.5
    """Before the first restart; doubled for each further one in a row."""
    longest_backoff_s: float = 30.0
    steady_s: float = 60.0
    """Once it has run well for this long, earlier restarts no longer count."""


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """A service as it is."""

    name: str
    number: int
    """Its number in the history of commands."""
    state: ServiceState
    reason: str
    """Why it is in this state, in one sentence; empty when there is nothing to say."""
    argv: tuple[str, ...]
    cwd: str
    pid: int | None
    """Of its main process, inside the workspace."""
    restarts: int
    """How often it was started again."""
    exit_code: int | None
    """Of the last run that has ended by itself."""
    signal: str | None
    """What ended the last run, such as ``SIGKILL``."""
    started_at: str
    since: str | None
    """It has been in this state since then; None: nobody could write that down."""
    ready_at: str | None
    isolation: IsolationLevel
