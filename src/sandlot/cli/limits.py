"""A workspace's limits, for people."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["print_hit", "rows"]

_SIZES = ("memory", "disk", "tmp")
_OPTIONS = {"duration": "max-duration", "open_files": "open-files"}


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
    how = "the command was ended" if outcome.state == "killed" else "the command ran into it"
    print(f"sandlot: limit reached: {outcome.limit.replace('_', ' ')}; {how}", file=sys.stderr)
    print(f"hint: sandlot workspace stop ID, then sandlot workspace update ID --{option} MORE", file=sys.stderr)
