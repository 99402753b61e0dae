"""What callers of the SDK say, in the words of the operations."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Literal, TypeVar

from sandlot.errors import UsageError

__all__ = ["Duration", "Progress", "Sink", "command_fields", "duration", "word"]

Progress = Callable[[str, int, int], None]
"""(phase, done, total) while a workspace is seeded."""
Sink = Callable[[Literal["stdout", "stderr"] | str, bytes], None]
"""(stream, bytes) while a command runs."""
Duration = float | None | Literal["default"]
"""Seconds; None: never (or no limit); ``"default"``: the user's setting."""
Word = TypeVar("Word", bound=StrEnum)


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


def command_fields(command: Sequence[str] | str) -> dict[str, Any]:
    """A string goes to a shell, a sequence is an argument vector."""
    return {"shell": command} if isinstance(command, str) else {"command": tuple(map(os.fspath, command))}
