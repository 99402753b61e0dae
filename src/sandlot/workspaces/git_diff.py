"""git as the engine of a comparison: two small trees go in, the list of changes and the patch come out.

Only paths that changed go in, so the cost is that of the change. One ``git diff-tree`` then answers for everything:
statuses, line counts, renames and the patch text.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandlot.bases.copying import copy_range
from sandlot.errors import GitFailed, StateUnwritable
from sandlot.model.changes import ChangeStatus, FileChange
from sandlot.workspaces.git_pack import PackWriter
from sandlot.workspaces.private_git import PrivateGit
from sandlot.workspaces.versions import SYMLINK, Version

__all__ = ["GitTrees", "diff_trees"]

_Entries = list[tuple[bytes, bytes, bytes]]
_STATUS: Final = {
    b"A": ChangeStatus.ADDED,
    b"D": ChangeStatus.DELETED,
    b"M": ChangeStatus.MODIFIED,
    b"R": ChangeStatus.RENAMED,
    b"T": ChangeStatus.TYPE,
}


class GitTrees:
    """The old and the new tree of a comparison, being written into a private git folder."""

    def __init__(self, git: PrivateGit) -> None:
        self._pack = PackWriter(git.root / "objects")
        self._sides: tuple[dict[bytes, _Entries], dict[bytes, _Entries]] = ({b"": []}, {b"": []})
        self.empty = True
        """Whether nothing was added."""

    def __enter__(self) -> GitTrees:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pack.__exit__(*exception)

    def add(self, path: bytes, before: Version | None, after: Version | None) -> None:
        """A path that differs."""
        for folders, version in zip(self._sides, (before, after), strict=True):
            if version is not None:
                self._place(folders, path, version.mode, self._pack.add_blob(version.size, version.chunks()))

    def add_mode_change(self, path: bytes, before: str, after: str) -> None:
        """A path of which only the mode differs; its content does not matter, so it is not read."""
        blob = self._pack.add_blob(0, [])
        for folders, mode in zip(self._sides, (before, after), strict=True):
            self._place(folders, path, mode, blob)

    def finish(self) -> tuple[str, str]:
        """Complete both trees; returns their ids."""
        old, new = (self._write(folders) for folders in self._sides)
        self._pack.finish()
        return old, new

    def _place(self, folders: dict[bytes, _Entries], path: bytes, mode: str, blob: bytes) -> None:
        self.empty = False
        folder, _, name = path.rpartition(b"/")
        parent = folder
        while parent not in folders:
            folders[parent] = []
            parent = parent.rpartition(b"/")[0]
        folders[folder].append((name, mode.encode(), blob))

    def _write(self, folders: dict[bytes, _Entries]) -> str:
        """Write the folders, the deepest first, since a folder holds the ids of those in it."""
        for folder in sorted(folders, key=lambda path: path.count(b"/"), reverse=True):
            if folder:
                parent, _, name = folder.rpartition(b"/")
                folders[parent].append((name, b"40000", self._pack.add_tree(folders[folder])))
        return self._pack.add_tree(folders[b""]).hex()


def diff_trees(
    git: PrivateGit, trees: tuple[str, str], *, renames: int, patch_to: Path | None
) -> tuple[list[FileChange], int]:
    """The changes between two trees, and how many bytes of patch went to ``patch_to``.

    ``renames``: how many added and deleted files are compared to find renames; 0 finds none. Raises GitFailed, and
    StateUnwritable when the patch cannot be written.
    """
    arguments = ["diff-tree", "-r", "--raw", "--numstat", "-z", "--no-color", "--no-ext-diff", "--no-textconv"]
    arguments += ["--full-index", "--abbrev=40", "--src-prefix=a/", "--dst-prefix=b/"]
    arguments += ["-M", f"-l{renames}"] if renames else ["--no-renames"]
    arguments += ["-p", "--binary"] if patch_to is not None else []
    answer = os.open(git.root / "answer", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        outcome = git.run([*arguments, *trees], stdout_to=answer)
        if outcome.returncode != 0:
            raise GitFailed(f"git diff-tree: {outcome.message}")
        size = os.fstat(answer).st_size
        if size == 0:
            return [], 0
        with mmap.mmap(answer, size, access=mmap.ACCESS_READ) as text:
            changes, start = _parse(text, size)
        if renames and _confuses_apply(changes):
            return diff_trees(git, trees, renames=0, patch_to=patch_to)
        if patch_to is None:
            return changes, 0
        return changes, _save_patch(answer, start, size, patch_to)
    finally:
        os.close(answer)


def _confuses_apply(changes: list[FileChange]) -> bool:
    """Whether a symlink was renamed and became a folder where it was.

    The patch of an exact rename has no mode, so git apply does not see that the symlink goes away, and refuses the
    files below the folder as being beyond it.
    """
    links = {change.old_path for change in changes if change.old_path is not None and change.new_mode == SYMLINK}
    return bool(links) and any(
        change.path[:end] in links
        for change in changes
        for end in (at for at, char in enumerate(change.path) if char == "/")
    )


def _save_patch(answer: int, start: int, size: int, patch_to: Path) -> int:
    try:
        patch = os.open(patch_to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            return copy_range(answer, patch, start, size, to=0)
        finally:
            os.close(patch)
    except OSError as error:
        raise StateUnwritable(f"cannot write the patch to {patch_to}: {error.strerror}") from error


@dataclass(slots=True)
class _Fields:
    """Zero-terminated fields of an answer, read one after the other."""

    text: mmap.mmap
    size: int
    at: int = 0

    def next(self) -> bytes:
        end = self.text.find(b"\0", self.at)
        if end < 0:
            raise GitFailed("git diff-tree: the answer ends early")
        field = self.text[self.at : end]
        self.at = end + 1
        return field

    def starts_with(self, byte: bytes) -> bool:
        return self.text[self.at : self.at + 1] == byte


def _parse(text: mmap.mmap, size: int) -> tuple[list[FileChange], int]:
    """(the changes, where the patch starts): raw records, then line counts, then an empty field, then the patch."""
    fields = _Fields(text, size)
    raw = list(_raw_records(fields))
    counts = dict(_counts(fields))
    if fields.starts_with(b"\0"):
        fields.at += 1
    return [_change(record, counts) for record in raw], fields.at


@dataclass(frozen=True, slots=True)
class _Raw:
    old_mode: bytes
    new_mode: bytes
    same_blob: bool
    status: bytes
    path: bytes
    old_path: bytes | None


def _raw_records(fields: _Fields) -> Iterator[_Raw]:
    while fields.starts_with(b":"):
        old_mode, new_mode, old_blob, new_blob, status = fields.next()[1:].split(b" ")
        path = fields.next()
        old_path = None
        if status[:1] == b"R":
            old_path, path = path, fields.next()
        yield _Raw(old_mode, new_mode, old_blob == new_blob, status[:1], path, old_path)


def _counts(fields: _Fields) -> Iterator[tuple[bytes, tuple[int | None, int | None]]]:
    while fields.at < fields.size and not fields.starts_with(b"\0"):
        added, deleted, path = fields.next().split(b"\t", 2)
        if not path:  # a rename: the old path, then the new one
            fields.next()
            path = fields.next()
        yield path, (None, None) if added == b"-" else (int(added), int(deleted))


def _change(record: _Raw, counts: dict[bytes, tuple[int | None, int | None]]) -> FileChange:
    status = _STATUS[record.status]
    if status == ChangeStatus.MODIFIED and record.same_blob:
        status = ChangeStatus.MODE
    additions, deletions = counts.get(record.path, (0, 0))
    return FileChange(
        status=status,
        path=os.fsdecode(record.path),
        old_path=None if record.old_path is None else os.fsdecode(record.old_path),
        additions=additions,
        deletions=deletions,
        old_mode=None if status == ChangeStatus.ADDED else record.old_mode.decode(),
        new_mode=None if status == ChangeStatus.DELETED else record.new_mode.decode(),
    )
