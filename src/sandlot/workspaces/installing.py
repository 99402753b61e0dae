"""Change files of a host folder all or nothing.

New content is first written into a temporary folder inside the target; then every step is a rename. Each step is
noted before it is taken, with what undoes it, so a failure or ctrl-C at any moment leads back to the old state. After
a ``kill -9`` the originals are still in the temporary folder, ``.sandlot-...``.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandlot.bases.beneath import FOLDER_FLAGS, Folders
from sandlot.bases.copying import copy_range
from sandlot.bases.renaming import rename_new, swap
from sandlot.bases.trees import remove_tree
from sandlot.errors import FileRefused

__all__ = ["Change", "Content", "Installation", "Moved"]

_BOTH: Final = 0o111


class Moved(Exception):
    """Something at ``path`` in the target is not any more what was checked."""

    def __init__(self, path: bytes) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, slots=True)
class Content:
    """What a path shall hold: a symlink's target, or the file open in ``source``."""

    target: bytes | None
    source: Callable[[], int] | None
    """Opens the file; the caller closes the descriptor."""
    executable: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One path: what is there now as it was checked (None: nothing), and what shall be (None: nothing)."""

    path: bytes
    before: os.stat_result | None
    after: Content | None


class Installation:
    """Changes to the folder ``root`` (a descriptor, not taken over), undone on leaving unless ``commit`` was called."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._name = b".sandlot-" + os.urandom(8).hex().encode()
        self._temporary = -1
        self._places = Folders([os.dup(root)], borrow=False)
        self._undo: list[Callable[[], None]] = []
        self._aside_folders = 0

    def __enter__(self) -> Installation:
        try:
            os.mkdir(self._name, 0o700, dir_fd=self._root)
            self._temporary = os.open(self._name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        except BaseException:
            self._places.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # A second ctrl-C must not stop the way back.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            failed = not self._roll_back()
            self._places.close()
            os.close(self._temporary)
            if failed:
                raise FileRefused(
                    "the patch could not be applied, and not everything could be put back",
                    hint=f"the missing originals are in {os.fsdecode(self._name)} in the target folder",
                )
            remove_tree(Path(f"/proc/self/fd/{self._root}") / os.fsdecode(self._name))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _roll_back(self) -> bool:
        """Undo whatever is noted, the last step first; whether all of it could be."""
        complete = True
        while self._undo:
            try:
                self._undo.pop()()
            except (OSError, Moved):
                complete = False
        return complete

    def commit(self) -> None:
        """Keep what was done."""
        self._undo.clear()

    def run(self, changes: list[Change]) -> None:
        """Make all changes. Raises Moved, or OSError; leaving the block then undoes what was done."""
        for number, change in enumerate(changes):
            if change.after is not None:
                self._prepare(number, change, change.after)
        for number, change in enumerate(changes):
            if change.before is not None and change.after is None:
                self._take_away(number, change.path, change.before)
        for change in changes:
            if change.before is not None and change.after is None:
                self._drop_empty_parents(change.path)
        for number, change in enumerate(changes):
            if change.after is not None and change.before is not None:
                self._replace(number, change.path, change.before)
            elif change.after is not None:
                self._put(number, change.path)

    def _prepare(self, number: int, change: Change, content: Content) -> None:
        """Write the new content under a temporary name, with the mode it shall have."""
        name = b"n%d" % number
        if content.target is not None:
            os.symlink(content.target, name, dir_fd=self._temporary)
            return
        before = change.before
        regular = before is not None and stat.S_ISREG(before.st_mode)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(name, flags, 0o777 if content.executable else 0o666, dir_fd=self._temporary)
        try:
            assert content.source is not None  # noqa: S101 - a Content is one of the two
            source = content.source()
            try:
                copy_range(source, file, 0, os.fstat(source).st_size)
            finally:
                os.close(source)
            owner = before if before is not None else os.fstat(self._root)
            if os.geteuid() == 0 and (owner.st_uid, owner.st_gid) != (0, 0):
                os.fchown(file, owner.st_uid, owner.st_gid)
            if before is not None and regular:
                os.fchmod(file, _with_executable(stat.S_IMODE(before.st_mode), content.executable))
        finally:
            os.close(file)

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        parent, _, name = path.rpartition(b"/")
        fd = self._places.get(0, parent)
        if fd < 0:
            raise Moved(path)
        return fd, name

    def _take_away(self, number: int, path: bytes, before: os.stat_result) -> None:
        aside = b"o%d" % number
        parent, name = self._parent(path)
        self._undo.append(lambda: self._bring_back(aside, path))
        rename_new(parent, name, self._temporary, aside)
        if not _is_same(before, os.stat(aside, dir_fd=self._temporary, follow_symlinks=False)):
            raise Moved(path)

    def _bring_back(self, aside: bytes, path: bytes) -> None:
        try:
            os.stat(aside, dir_fd=self._temporary, follow_symlinks=False)
        except FileNotFoundError:  # noted, but not taken away yet
            return
        parent, name = self._parent(path)
        os.rename(aside, name, src_dir_fd=self._temporary, dst_dir_fd=parent)

    def _replace(self, number: int, path: bytes, before: os.stat_result) -> None:
        fresh = b"n%d" % number
        mine = os.stat(fresh, dir_fd=self._temporary, follow_symlinks=False).st_ino
        parent, name = self._parent(path)
        self._undo.append(lambda: self._swap_back(fresh, path, mine))
        try:
            swap(self._temporary, fresh, parent, name)
        except FileNotFoundError as error:
            raise Moved(path) from error
        if not _is_same(before, os.stat(fresh, dir_fd=self._temporary, follow_symlinks=False)):
            raise Moved(path)

    def _swap_back(self, fresh: bytes, path: bytes, mine: int) -> None:
        parent, name = self._parent(path)
        try:
            swapped = os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino == mine
        except FileNotFoundError:
            return
        if swapped:
            swap(self._temporary, fresh, parent, name)

    def _put(self, number: int, path: bytes) -> None:
        fresh = b"n%d" % number
        mine = os.stat(fresh, dir_fd=self._temporary, follow_symlinks=False).st_ino
        self._make_parents(path)
        parent, name = self._parent(path)
        self._undo.append(lambda: self._take_back(path, mine))
        try:
            rename_new(self._temporary, fresh, parent, name)
        except FileExistsError as error:
            raise Moved(path) from error

    def _take_back(self, path: bytes, mine: int) -> None:
        parent, name = self._parent(path)
        try:
            if os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino == mine:
                os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass

    def _make_parents(self, path: bytes) -> None:
        cut = -1
        while (cut := path.find(b"/", cut + 1)) >= 0:
            folder = path[:cut]
            if self._places.get(0, folder) >= 0:
                continue
            parent, name = self._parent(folder)
            self._undo.append(lambda folder=folder: self._drop(folder))  # type: ignore[misc] # bound now, on purpose
            try:
                os.mkdir(name, dir_fd=parent)
            except FileExistsError as error:
                raise Moved(folder) from error
            if os.geteuid() == 0:
                owner = os.fstat(self._root)
                os.chown(name, owner.st_uid, owner.st_gid, dir_fd=parent, follow_symlinks=False)

    def _drop(self, folder: bytes) -> None:
        self._places.forget(0, folder)
        parent, name = self._parent(folder)
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
                raise

    def _drop_empty_parents(self, path: bytes) -> None:
        """Remove the folders that a deletion left empty, as git does."""
        while (path := path.rpartition(b"/")[0]) and (fd := self._places.get(0, path)) >= 0:
            if os.listdir(fd):
                return
            self._aside_folders += 1
            aside = b"d%d" % self._aside_folders
            parent, name = self._parent(path)
            self._places.forget(0, path)
            self._undo.append(lambda aside=aside, path=path: self._bring_back(aside, path))  # type: ignore[misc] # as above
            rename_new(parent, name, self._temporary, aside)
            moved = os.open(aside, FOLDER_FLAGS, dir_fd=self._temporary)
            try:
                if os.listdir(moved):
                    raise Moved(path)
            finally:
                os.close(moved)


def _is_same(before: os.stat_result, now: os.stat_result) -> bool:
    """Whether a file is what it was: its ctime may differ, as a rename sets it."""
    return (before.st_ino, before.st_mtime_ns, before.st_size, before.st_mode) == (
        now.st_ino,
        now.st_mtime_ns,
        now.st_size,
        now.st_mode,
    )


def _with_executable(mode: int, executable: bool) -> int:
    if not executable:
        return mode & ~_BOTH
    return mode if mode & 0o100 else mode | (mode & 0o444) >> 2
