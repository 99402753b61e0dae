"""Where a workspace's content came from, and the immutable base made of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Base", "Origin", "OriginKind"]


class OriginKind(StrEnum):
    """What a workspace was seeded from."""

    NOTHING = "nothing"
    FOLDER = "folder"
    ARCHIVE = "archive"
    GIT = "git"
    BASE = "base"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the content of a workspace came from, as the create answer and status report it."""

    kind: OriginKind
    location: str = ""
    """Absolute path, or URL without credentials; the id of a ``base``."""
    commit: str | None = None
    """Full commit id of HEAD, for git sources that have one."""
    ref: str | None = None
    """The branch checked out at the source, or the ref that was asked for."""
    dirty: bool = False
    """Whether uncommitted or untracked changes of the source's working tree came along."""
    files: int = 0
    """Regular files and symlinks, without those in ``.git``."""
    bytes: int = 0
    """Their sizes added up."""
    skipped: tuple[str, ...] = ()
    """Paths left out because they are sockets, devices or FIFOs (at most 100 are listed)."""


@dataclass(frozen=True, slots=True)
class Base:
    """An immutable file tree: layers from lowest to highest, shared by all workspaces that start from it."""

    id: str
    layers: tuple[str, ...]
    origin: Origin
    created_at: str
    """UTC ISO 8601."""
    stored_bytes: int
    """Bytes that building this base added to the store (shared layers counted once, at their first base)."""
    cached: bool = False
    """Whether it existed already when it was asked for: nothing was copied."""
