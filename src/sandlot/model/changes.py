"""What a diff says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ChangeStatus", "FileChange", "TreeChanges"]


class ChangeStatus(StrEnum):
    """What happened to a path: ``mode`` is the executable bit alone, ``type`` a file that became a symlink, say."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    RENAMED = "renamed"
    MODE = "mode"
    TYPE = "type"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed path. Bytes of a name that are not UTF-8 are lone surrogates, as os.fsdecode gives them."""

    status: ChangeStatus
    path: str
    old_path: str | None = None
    """Where it was before, for ``renamed``."""
    additions: int | None = None
    """Lines; None for binary files."""
    deletions: int | None = None
    old_mode: str | None = None
    """Git's file mode, such as ``100644``; None when the path did not exist."""
    new_mode: str | None = None
    omitted: str | None = None
    """Why the patch text leaves it out (larger than the diff's file limit), or None."""

    @property
    def binary(self) -> bool:
        return self.additions is None


@dataclass(frozen=True, slots=True)
class TreeChanges:
    """The difference between two states of a tree, and the file that holds the whole patch."""

    files: tuple[FileChange, ...]
    patch_bytes: int = 0

    @property
    def additions(self) -> int:
        return sum(change.additions or 0 for change in self.files)

    @property
    def deletions(self) -> int:
        return sum(change.deletions or 0 for change in self.files)
