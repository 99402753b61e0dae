"""Names git treats as its own, or refuses to have in a tree, on any file system (git's verify_path)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_git_internal", "is_refused"]

_INVISIBLE: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
"""Characters that HFS+ leaves out when it compares names."""
_GIT: Final = re.compile(r"(?:\.git|git~[0-9]+)[ .]*(?::.*)?", re.IGNORECASE | re.DOTALL)
_MODULES: Final = re.compile(
    r"(?:\.git(?:modules|attributes|ignore)|\.mailmap|(?:git|gi|mailma|maba)[0-9a-z]*~[0-9]+)[ .]*(?::.*)?",
    re.IGNORECASE | re.DOTALL,
)


def is_git_internal(path: bytes) -> bool:
    """Whether a component of the path is git's own folder, in any spelling that some file system takes for it."""
    return any(_GIT.fullmatch(part) for part in _components(path))


def is_refused(path: bytes, *, symlink: bool) -> bool:
    """Whether ``git apply`` would not accept this path in a patch."""
    parts = _components(path)
    return any(_GIT.fullmatch(part) for part in parts) or (symlink and any(_MODULES.fullmatch(part) for part in parts))


def _components(path: bytes) -> list[str]:
    text = _INVISIBLE.sub("", path.decode("utf-8", "surrogateescape"))
    return re.split(r"[/\\]", text)
