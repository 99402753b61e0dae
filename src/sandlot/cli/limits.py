"""A workspace's limits, for people."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["print_hit", "rows"]

_SIZES = ("memory", "disk", "tmp")
_OPTIONS = {"duration": "max-duration"}


def rows(limits: Any) -> list[tuple[str, str]]:
    """What create and status say of them: value and who holds it to that."""
    held: dict[str, list[str]] = {}
    for each in limits:
        held.setdefault(each.enforcement or "", []).append(f"{each.name.replace('_', ' ')} {_value(each)}")
    words = {"kernel": "limits", "polled": "", "none": "not enforced", "": "limits"}
    found = []
    for word in ("kernel", "polled", "none", ""):
        if word in held:
            mark = f" ({word})" if word else ""
            found.append((words[word], ", ".join(held[word]) + mark))
    return found


def _value(limit: Any) -> str:
    if limit.name in _SIZES:
        amount = float(limit.value)
        for unit in ("B", "KiB", "MiB"):
            if amount < 1024:
                return f"{amount:.0f} {unit}"
            amount /= 1024
        return f"{amount:.1f} GiB"
    return f"{limit.value:g} s" if limit.name == "max_duration" else f"{limit.value:.12g}"


def print_hit(outcome: Any) -> None:
    """Which limit ended a command, or was in its way."""
    if outcome.limit is None:
        return
    option = _OPTIONS.get(outcome.limit, outcome.limit)
    if outcome.state == "killed":
        print(f"sandlot: limit reached: {outcome.limit}; the command was ended", file=sys.stderr)
    else:
        print(f"sandlot: limit reached: {outcome.limit}; the command ran into it", file=sys.stderr)
    print(f"hint: a new workspace can have more (--{option}); workspace status shows the limits", file=sys.stderr)
