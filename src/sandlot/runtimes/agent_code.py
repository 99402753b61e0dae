"""The agent's code: what every runtime takes inside."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sandlot import guest, wire

__all__ = ["sources"]


@cache
def sources() -> tuple[tuple[str, Path], ...]:
    """(path below the folder that is put inside, source file) of every module, sorted within its package."""
    found = []
    for package in (guest, wire):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            found.append((f"sandlot/{root.name}/{file.relative_to(root)}", file))
    return tuple(found)
