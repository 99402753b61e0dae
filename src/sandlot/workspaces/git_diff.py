"""git as the engine of a comparison: two small trees go in, the list of changes and the patch come out.

Only paths that changed go in (``git fast-import``), so the cost is that of the change. One ``git diff-tree`` then
answers for everything: statuses, line counts, renames and the patch text.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandlot.bases.copying import copy_range
from sandlot.errors import GitFailed, StateUnwritable
from sandlot.model.changes import ChangeStatus, FileChange
from sandlot.process import Feed
from sandlot.workspaces.git_names import quote
from sandlot.workspaces.private_git import PrivateGit
from sandlot.workspaces.versions import SYMLINK, Version

__all__ = ["GitTrees", "diff_trees"]

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
        self._git = git
        self._stack = ExitStack()
        self._feed: Feed | None = None
        self._marks = 0
        self._trees: tuple[list[bytes], list[bytes]] = ([], [])

    def __enter__(self) -> GitTrees:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def empty(self) -> bool:
        """Whether nothing was added: git is not even started then."""
        return self._feed is None

    def add(self, path: bytes, before: Version | None, after: Version | None) -> None:
        """A path that differs."""
        for tree, version in zip(self._trees, (before, after), strict=True):
            if version is not None:
                self._place(tree, path, version.mode, self._blob(version))

    def add_mode_change(self, path: bytes, before: str, after: str) -> None:
        """A path of which only the mode differs; its content does not matter, so it is not read."""
        mark = self._blob(Version(before, 0, b"", -1, (0, 0)))
        self._place(self._trees[0], path, before, mark)
        self._place(self._trees[1], path, after, mark)

    def finish(self) -> None:
        """Write both trees as commits. Raises GitFailed."""
        feed = self._start()
        for name, tree in zip((b"old", b"new"), self._trees, strict=True):
            feed.write(b"commit refs/heads/%s\ncommitter sandlot <> 0 +0000\ndata 0\n" % name)
            feed.write(b"".join(tree))
        feed.write(b"done\n")
        outcome = feed.finish()
        if outcome.returncode != 0:
            raise GitFailed(f"git fast-import: {outcome.message}")

    def _start(self) -> Feed:
        if self._feed is None:
            arguments = ["fast-import", "--quiet", "--done", "--depth=0", "--date-format=raw"]
            self._feed = self._stack.enter_context(self._git.fed(arguments))
        return self._feed

    def _blob(self, version: Version) -> int:
        feed = self._start()
        self._marks += 1
        feed.write(b"blob\nmark :%d\ndata %d\n" % (self._marks, version.size))
        for chunk in version.chunks():
            feed.write(chunk)
        feed.write(b"\n")
        return self._marks

    @staticmethod
    def _place(tree: list[bytes], path: bytes, mode: str, mark: int) -> None:
        tree.append(b"M %s :%d %s\n" % (mode.encode(), mark, quote(path)))


def diff_trees(git: PrivateGit, *, renames: int, patch_to: Path | None) -> tuple[list[FileChange], int]:
    """The changes between the two trees, and how many bytes of patch went to ``patch_to``.

    ``renames``: how many added and deleted files are compared to find renames; 0 finds none. Raises GitFailed, and
    StateUnwritable when the patch cannot be written.
    """
    arguments = ["diff-tree", "-r", "--raw", "--numstat", "-z", "--no-color", "--no-ext-diff", "--no-textconv"]
    arguments += ["--full-index", "--abbrev=40", "--src-prefix=a/", "--dst-prefix=b/"]
    arguments += ["-M", f"-l{renames}"] if renames else ["--no-renames"]
    arguments += ["-p", "--binary"] if patch_to is not None else []
    answer = os.open(git.root / "answer", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        outcome = git.run([*arguments, "refs/heads/old", "refs/heads/new"], stdout_to=answer)
        if outcome.returncode != 0:
            raise GitFailed(f"git diff-tree: {outcome.message}")
        size = os.fstat(answer).st_size
        if size == 0:
            return [], 0
        with mmap.mmap(answer, size, access=mmap.ACCESS_READ) as text:
            changes, start = _parse(text, size)
        if renames and _confuses_apply(changes):
            return diff_trees(git, renames=0, patch_to=patch_to)
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
