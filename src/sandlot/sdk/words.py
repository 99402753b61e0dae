"""What callers of the SDK say, in the words of the operations."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from sandlot.errors import UsageError

if TYPE_CHECKING:
    from sandlot.operations.operation import Caller

__all__ = [
    "Amount",
    "Duration",
    "LimitWords",
    "Progress",
    "Sink",
    "caller_of",
    "command_fields",
    "duration",
    "limit_fields",
    "network_fields",
    "word",
]

Progress = Callable[[str, int, int], None]
"""(phase, done, total) while a workspace is seeded."""
Sink = Callable[[Literal["stdout", "stderr"] | str, bytes], None]
"""(stream, bytes) while a command runs."""
Duration = float | None | Literal["default"]
"""Seconds; None: never (or no limit); ``"default"``: the user's setting."""
Word = TypeVar("Word", bound=StrEnum)
Amount = int | float | str | None
"""A number, words such as ``"2G"`` or ``"50%"``, or None: no limit."""


class LimitWords(TypedDict, total=False):
    """How much of the machine a workspace may use; what is left out is the user's setting."""

    memory: Amount
    """Bytes of all it runs, /tmp and /dev/shm included."""
    cpus: Amount
    """Processors, such as 1.5."""
    processes: Amount
    """Processes and threads."""
    open_files: Amount
    """Open files of each process."""
    disk: Amount
    """Bytes that its changes may take."""
    inodes: Amount
    """Files and folders among its changes, and in /tmp and /dev/shm."""
    tmp: Amount
    """Bytes in /tmp and in /dev/shm, each."""
    max_duration: Duration | str
    """Seconds that any command may take, whatever its own timeout."""


def limit_fields(limits: LimitWords) -> dict[str, Any]:
    """As an operation reads them. Raises TypeError for a word that is none of them."""
    unknown = set(limits) - set(LimitWords.__annotations__)
    if unknown:
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    found: dict[str, Any] = {}
    for name, value in limits.items():
        if name == "max_duration" and not isinstance(value, str):
            found[name] = duration(value)  # type: ignore[arg-type]  # the values of a TypedDict are objects to a loop
        else:
            found[name] = "never" if value is None else None if value == "default" else str(value)
    return found


def duration(value: Duration) -> str | None:
    """As an operation reads it; None: its default. Raises UsageError."""
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


def word(kind: type[Word], value: str) -> Word:
    """A member of an enumeration. Raises UsageError."""
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(kind)
        raise UsageError(f"{value!r} is not a {kind.__name__}", hint=f"choose one of: {known}") from None


def caller_of(progress: Progress | None, on_output: Sink | None) -> Caller:
    """What an operation is offered that tells how far it is, and streams."""
    from sandlot.operations.operation import Caller

    return Caller(output=on_output) if progress is None else Caller(progress=progress, output=on_output)


def command_fields(command: Sequence[str] | str) -> dict[str, Any]:
    """A string goes to a shell, a sequence is an argument vector."""
    return {"shell": command} if isinstance(command, str) else {"command": tuple(map(os.fspath, command))}


def network_fields(
    network: str | None,
    allow: Sequence[str],
    allow_preset: Sequence[str],
    allow_private: Sequence[str],
    publish: Sequence[int | str],
) -> dict[str, Any]:
    """What a workspace may reach, and what of it can be reached. Raises UsageError."""
    from sandlot.model.network import NetworkMode

    return {
        "network": None if network is None else word(NetworkMode, network),
        "allow": tuple(allow),
        "allow_preset": tuple(allow_preset),
        "allow_private": tuple(allow_private),
        "publish": tuple(map(str, publish)),
    }
