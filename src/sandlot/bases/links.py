"""Whether a symlink leads out of the tree it stands in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["escapes"]

_MOST_STEPS: Final = 4096
"""Components looked at before a chain of links counts as leading out; the kernel gives up after 40 links."""


def escapes(path: bytes, target: bytes, readlink: Callable[[bytes], bytes | None]) -> bool:
    """Whether the symlink at ``path`` (relative to the tree's root) with this ``target`` leads out of the tree.

    Follows further links on the way: ``readlink`` answers the target of a path that is a symlink in the tree, else
    None. A target that does not exist is judged by its text. Absolute targets always lead out.
    """
    resolved = path.split(b"/")[:-1]
    pending = target.split(b"/")[::-1]
    if target.startswith(b"/"):
        return True
    for _ in range(_MOST_STEPS):
        if not pending:
            return False
        part = pending.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not resolved:
                return True
            resolved.pop()
            continue
        resolved.append(part)
        further = readlink(b"/".join(resolved))
        if further is None:
            continue
        if further.startswith(b"/"):
            return True
        resolved.pop()
        pending.extend(further.split(b"/")[::-1])
    return True
