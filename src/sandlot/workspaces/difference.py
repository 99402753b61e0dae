"""Compare two states of a workspace's tree, from the host, at a cost that grows with what changed.

A state is a stack of layer folders, lowest first. ``old`` and ``new`` usually share most of them; only the others are
walked. Without shared layers (copy storage) both trees are walked, and content decides, since code inside can forge
times.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandlot.bases.view import View
from sandlot.errors import FileRefused, StateUnwritable
from sandlot.model.changes import ChangeStatus, FileChange, TreeChanges
from sandlot.workspaces.candidates import Selection, candidates
from sandlot.workspaces.git_diff import GitTrees, diff_trees
from sandlot.workspaces.git_names import is_refused
from sandlot.workspaces.private_git import private_git
from sandlot.workspaces.versions import SYMLINK, Version, opened, same_content

__all__ = ["DiffLimits", "changed_paths", "compare"]

_LONGEST_PATH: Final = 4000
"""Bytes; beyond PATH_MAX nobody's git could create the file."""
_NO_LINE_LIMIT_BELOW: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class DiffLimits:
    """What a patch may hold. A changed file beyond it is listed with ``omitted`` and left out of the patch."""

    file_bytes: int = 64 * 1024 * 1024
    """Of one version of one file."""
    file_lines: int = 1_000_000
    """Of one version of one file: comparing lines takes memory for each."""
    total_bytes: int = 400 * 1024 * 1024
    """Of all versions together; git apply takes no patch above 1 GiB."""
    renames: int = 400
    """Added and deleted files among which similar ones are looked for; identical ones are found at any number."""


@dataclass(frozen=True, slots=True)
class _Difference:
    """A path that differs, while both sides are open."""

    path: bytes
    before: Version | None
    after: Version | None
    same_content: bool

    @property
    def status(self) -> ChangeStatus:
        if self.before is None:
            return ChangeStatus.ADDED
        if self.after is None:
            return ChangeStatus.DELETED
        if SYMLINK in (self.before.mode, self.after.mode) and self.before.mode != self.after.mode:
            return ChangeStatus.TYPE
        return ChangeStatus.MODE if self.same_content else ChangeStatus.MODIFIED

    def listed(self, omitted: str | None = None) -> FileChange:
        """The change without line counts."""
        return FileChange(
            status=self.status,
            path=os.fsdecode(self.path),
            old_mode=None if self.before is None else self.before.mode,
            new_mode=None if self.after is None else self.after.mode,
            omitted=omitted,
        )


def compare(
    old: Sequence[Path],
    new: Sequence[Path],
    *,
    patch_to: Path | None,
    scratch: Path,
    paths: Sequence[bytes] = (),
    leave_out: Set[bytes] = frozenset(),
    limits: DiffLimits | None = None,
    find_renames: bool = True,
) -> TreeChanges:
    """What changed between two stacks of layers, sorted by path, and the whole patch in the file ``patch_to``.

    ``git apply`` takes the patch as it is; the file is empty when nothing changed. Without ``patch_to`` only statuses
    and line counts are made. ``paths`` narrows it to files and folders, ``leave_out`` are single paths
    to pass over. ``scratch`` is an existing private folder for
    temporary files. What is inside a ``.git`` stays out, and empty folders are not shown, as in git. FIFOs, sockets
    and devices count as missing.

    Raises GitFailed, StateUnwritable when there is no room, FileRefused when something cannot be read, and
    FileNotFoundError when a layer folder is gone: the caller knows why.
    """
    limits = limits or DiffLimits()
    omitted: list[FileChange] = []
    changes: list[FileChange] = []
    patch_bytes = 0
    total = 0
    with (
        _translated(),
        private_git(scratch) as git,
        GitTrees(git) as trees,
        closing(_differences(old, new, paths, leave_out)) as differences,
    ):
        for one in differences:
            size = _most(one) if not one.same_content else 0
            reason = _why_omitted(one, limits, total)
            if reason is not None:
                omitted.append(one.listed(reason))
                continue
            total += size
            if one.same_content and one.before is not None and one.after is not None:
                trees.add_mode_change(one.path, one.before.mode, one.after.mode)
            else:
                trees.add(one.path, one.before, one.after)
        if patch_to is not None:
            patch_to.write_bytes(b"")
        if not trees.empty:
            renames = limits.renames if find_renames else 0
            changes, patch_bytes = diff_trees(git, trees.finish(), renames=renames, patch_to=patch_to)
    changes += omitted
    changes.sort(key=lambda change: os.fsencode(change.path))
    return TreeChanges(tuple(changes), patch_bytes)


def changed_paths(old: Sequence[Path], new: Sequence[Path], *, paths: Sequence[bytes] = ()) -> tuple[FileChange, ...]:
    """What changed, sorted by path, without line counts and renames: no git, no temporary files.

    Raises FileRefused when something cannot be read.
    """
    with _translated(), closing(_differences(old, new, paths)) as differences:
        changes = [one.listed() for one in differences]
    return tuple(sorted(changes, key=lambda change: os.fsencode(change.path)))


def _differences(
    old: Sequence[Path], new: Sequence[Path], paths: Sequence[bytes], leave_out: Set[bytes] = frozenset()
) -> Generator[_Difference, None, None]:
    """Each path whose type, executable bit or content differs, open for as long as the iteration stands on it."""
    with View(old) as before_view, View(new, alongside=before_view) as after_view:
        for pair in candidates(before_view, after_view, Selection.of(paths)):
            if pair.path in leave_out:
                continue
            with opened(before_view, after_view, pair) as (before, after):
                if before is None and after is None:
                    continue
                same = (
                    before is not None
                    and after is not None
                    and (before.mode == SYMLINK) == (after.mode == SYMLINK)
                    and same_content(before, after)
                )
                if same and before is not None and after is not None and before.mode == after.mode:
                    continue
                yield _Difference(pair.path, before, after, same)


def _most(one: _Difference) -> int:
    return sum(version.size for version in (one.before, one.after) if version is not None)


def _why_omitted(one: _Difference, limits: DiffLimits, total: int) -> str | None:
    """Why the patch cannot hold this change, or None."""
    versions = [version for version in (one.before, one.after) if version is not None]
    if len(one.path) > _LONGEST_PATH:
        return "its path is too long for git"
    if is_refused(one.path, symlink=any(version.mode == SYMLINK for version in versions)):
        return "git refuses its name"
    if one.same_content:
        return None
    if any(version.size > limits.file_bytes for version in versions):
        return f"it is larger than {limits.file_bytes} bytes"
    if total + _most(one) > limits.total_bytes:
        return f"all changes together are larger than {limits.total_bytes} bytes"
    long = [version for version in versions if version.size > _NO_LINE_LIMIT_BELOW]
    if any(version.lines(limits.file_lines) > limits.file_lines for version in long):
        return f"it has more than {limits.file_lines} lines"
    return None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except PermissionError as error:
        name = f"{os.fsdecode(error.filename)!r}" if error.filename else "a file"
        raise FileRefused(f"cannot read {name}: {error.strerror}") from error
    except OSError as error:
        raise StateUnwritable(f"cannot compare the trees: {error.strerror}") from error
