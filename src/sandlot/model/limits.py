"""What a workspace may use, and who holds it to that."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

__all__ = ["LIMIT_NAMES", "Enforcement", "LimitHit", "Limits"]


class Enforcement(StrEnum):
    """Who holds a workspace to a limit; found out by trying, never assumed."""

    KERNEL = "kernel"
    """The kernel refuses, or ends a process; nothing gets past it."""
    POLLED = "polled"
    """A watcher inside looks many times a second and ends what uses too much; who is fast overshoots for a moment."""
    NONE = "none"
    """Nobody."""


class LimitHit(StrEnum):
    """The limit that ended a command, or that it ran into."""

    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"
    INODES = "inodes"
    TMP = "tmp"
    DURATION = "duration"
    OPEN_FILES = "open_files"
    """Told by the message that a failed command ended with: nobody counts refusals of open files."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None means: no limit. Everything but ``open_files`` and ``max_duration_s`` is for the workspace as a whole."""

    memory: int | None = None
    """Bytes that processes, /tmp and /dev/shm hold together."""
    cpus: float | None = None
    """Processors' worth of time."""
    processes: int | None = None
    """Processes and threads."""
    open_files: int | None = None
    """Open files of each process."""
    disk: int | None = None
    """Bytes that changes to the project and the home hold on the host's disk."""
    inodes: int | None = None
    """Files and folders among those changes, and in /tmp and /dev/shm each."""
    tmp: int = 1 << 30
    """Bytes in /tmp and in /dev/shm, each; there is always one, for they are memory."""
    max_duration_s: float | None = None
    """Longest run of one command, in seconds; services and shells have none."""


LIMIT_NAMES = tuple(each.name.removesuffix("_s") for each in fields(Limits))
"""The limits as users name them, in the order in which they are shown."""
