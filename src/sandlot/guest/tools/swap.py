"""Changing many paths of a tree so that all of the changes happen or none.

New content is staged in ``<root>/.sandlot-stage-<random>/``, and what it replaces is kept there until the end::

    journal     one record for each step, written before the step; locked (flock) while its process lives
    new/<n>     content waiting for its place
    old/<n>     what was in a place
    ...         whatever else the tool needs while it works

A failure or a signal undoes the steps in reverse order. After a SIGKILL the folder is still there and nobody holds its
lock: the next tool that changes many paths, or ``recover``, then undoes them. A crash of the whole machine is not
covered: nothing is synced.
"""

from __future__ import annotations

import errno
import os
import stat

from sandlot.guest.tools import ToolError
from sandlot.guest.tools.arguments import Arguments, Naming, display
from sandlot.guest.tools.bulk import write_all
from sandlot.guest.tools.interruption import Interruptible
from sandlot.guest.tools.place import Blocked, Place
from sandlot.guest.tools.staged import spare_name
from sandlot.guest.tools.tree import children, open_path, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from sandlot.guest.tools import Emit

PREFIX = b".sandlot-stage-"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

LARGEST_JOURNAL = 256 * 1024 * 1024

KEPT, PLACED, MADE, REMOVED, CHMOD = b"kept", b"placed", b"made", b"removed", b"chmod"
"""Steps: path set aside as old/<n>; new/<n> put where nothing was; folder made; folder of mode <n> removed; folder had
mode <n>."""
VOID, DONE = b"void", b"done"
"""The step before failed and changed nothing; everything is in place."""


class Swap:
    """One set of changes below an open root folder. Leaving the block without ``finish`` undoes them.

    Paths are relative to the root. Methods raise OSError and Blocked.
    """

    def __init__(self, root: int, interruptible: Interruptible) -> None:
        self.place = Place(root)
        self.stage = self.new = self.old = self._journal = -1
        self._root = root
        self._name = b""
        self._interruptible = interruptible
        self._count = 0
        self._finished = False

    def __enter__(self) -> Swap:
        import fcntl

        making = spare_name(b"making")
        self._name = making
        try:
            os.mkdir(making, 0o700, dir_fd=self._root)
            self.stage = os.open(making, _FOLDER, dir_fd=self._root)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            self._journal = os.open(b"journal", flags, 0o600, dir_fd=self.stage)
            fcntl.flock(self._journal, fcntl.LOCK_EX)
            for name in (b"new", b"old"):
                os.mkdir(name, 0o700, dir_fd=self.stage)
            self.new = os.open(b"new", _FOLDER, dir_fd=self.stage)
            self.old = os.open(b"old", _FOLDER, dir_fd=self.stage)
            # Only a folder whose journal is locked already carries the name that recover looks for.
            name = PREFIX + os.urandom(8).hex().encode()
            os.rename(making, name, src_dir_fd=self._root, dst_dir_fd=self._root)
            self._name = name
        except BaseException:
            self._close()
            _discard(self._root, self._name)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._interruptible.hold()
        failed: list[str] = []
        if not self._finished:
            self.place.forget()
            failed = undo(self._root, self.stage)
            if not failed:
                self._note(DONE, b"0", b"")
        if not failed:
            _discard(self._root, self._name)
        self._close()
        if failed:
            raise ToolError("file_refused", "the change failed and could not be undone completely", failed)

    def spare(self) -> bytes:
        """The next free name in ``new``."""
        self._count += 1
        return b"%d" % self._count

    def set_aside(self, path: bytes) -> None:
        """Take away what is at a path, which is no folder."""
        number = self.spare()
        folder, name = self.place.parent(path)
        self._note(KEPT, number, path)
        os.rename(name, number, src_dir_fd=folder, dst_dir_fd=self.old)

    def put(self, number: bytes, path: bytes) -> None:
        """Move ``new/<number>`` to a path, in place of the file or symlink that may be there."""
        folder, name = self.place.parent(path)
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            self._note(PLACED, number, path)
        else:
            if stat.S_ISDIR(info.st_mode):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._keep(path)
        os.rename(number, name, src_dir_fd=self.new, dst_dir_fd=folder)

    def _keep(self, path: bytes) -> None:
        """A second name for what is there, so that its path is never without a file; else take it away."""
        number = self.spare()
        folder, name = self.place.parent(path)
        self._note(KEPT, number, path)
        try:
            os.link(name, number, src_dir_fd=folder, dst_dir_fd=self.old, follow_symlinks=False)
        except OSError:
            os.rename(name, number, src_dir_fd=folder, dst_dir_fd=self.old)

    def make_folder(self, path: bytes, mode: int = 0o777) -> None:
        """Make a folder; its mode is subject to the umask."""
        folder, name = self.place.parent(path)
        self._note(MADE, b"0", path)
        try:
            os.mkdir(name, mode, dir_fd=folder)
        except OSError:
            self._note(VOID, b"0", b"")  # else the undoing would remove a folder that somebody else made
            raise

    def make_parents(self, path: bytes) -> None:
        """Make the folders above a path that are missing."""
        missing: list[bytes] = []
        parent = path.rpartition(b"/")[0]
        while parent and self.place.info(parent) is None:
            missing.append(parent)
            parent = parent.rpartition(b"/")[0]
        for folder in reversed(missing):
            self.make_folder(folder)

    def remove_folder(self, path: bytes) -> bool:
        """Remove an empty folder; False when it is not empty."""
        folder, name = self.place.parent(path)
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        self._note(REMOVED, b"%o" % stat.S_IMODE(info.st_mode), path)
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                raise
            return False
        return True

    def chmod_folder(self, path: bytes, mode: int) -> None:
        """Set a folder's permission bits."""
        folder, name = self.place.parent(path)
        below = os.open(name, _FOLDER, dir_fd=folder)
        try:
            self._note(CHMOD, b"%o" % stat.S_IMODE(os.fstat(below).st_mode), path)
            os.fchmod(below, mode)
        finally:
            os.close(below)

    def finish(self) -> None:
        """All is in place; from here on nothing is undone."""
        self._interruptible.hold()
        self._note(DONE, b"0", b"")
        self._finished = True

    def _note(self, step: bytes, number: bytes, path: bytes) -> None:
        write_all(self._journal, _record(step, number, path))

    def _close(self) -> None:
        self.place.forget()
        for descriptor in (self.new, self.old, self.stage, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self.new = self.old = self.stage = self._journal = -1


def _record(step: bytes, number: bytes, path: bytes) -> bytes:
    return b"%s\0%s\0%s\0" % (step, number, path)


def _discard(root: int, name: bytes) -> None:
    """Remove a stage that nothing is to be undone from; its journal, which says so, goes last."""
    try:
        stage = os.open(name, _FOLDER, dir_fd=root)
        try:
            for child in children(stage)[0]:
                if child != b"journal":
                    remove(stage, child)
            try:
                os.unlink(b"journal", dir_fd=stage)
            except FileNotFoundError:
                pass  # it failed before there was one
        finally:
            os.close(stage)
        os.rmdir(name, dir_fd=root)
    except OSError:
        pass  # recover removes the rest


def _discard_empty(root: int, name: bytes) -> None:
    try:
        os.rmdir(name, dir_fd=root)
    except OSError:
        pass  # not empty: not ours


def _records(stage: int) -> list[tuple[bytes, bytes, bytes]]:
    """The steps in the journal, none once it is done; a last one not written completely was not begun either."""
    journal = os.open(b"journal", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=stage)
    with open(journal, "rb") as file:
        content = file.read()
    if content.endswith(_record(DONE, b"0", b"")):
        return []
    fields = content.split(b"\0")[:-1]
    return [(fields[i], fields[i + 1], fields[i + 2]) for i in range(0, len(fields) - 2, 3)]


def undo(root: int, stage: int) -> list[str]:
    """Undo the steps of a journal, last first; what could not be undone. A step that was not done yet is no failure."""
    failed: list[str] = []
    try:
        records = _records(stage)
    except OSError as error:
        return [f"the journal cannot be read: {error.strerror}"]
    place = Place(root)
    void = False
    for step, number, path in reversed(records):
        if void or step == VOID:
            void = step == VOID
            continue
        try:
            _undo_step(place, stage, step, number, path)
        except FileNotFoundError:
            pass  # never done, or undone already
        except Blocked as error:
            failed.append(f"{display(path)}: {display(error.parent)} is not a folder any more")
        except (OSError, ValueError) as error:
            failed.append(f"{display(path)}: {error}")
    place.forget()
    return failed


def _undo_step(place: Place, stage: int, step: bytes, number: bytes, path: bytes) -> None:
    folder, name = place.parent(path)
    if step == KEPT:
        os.rename(b"old/" + number, name, src_dir_fd=stage, dst_dir_fd=folder)
    elif step == PLACED:
        try:
            os.stat(b"new/" + number, dir_fd=stage, follow_symlinks=False)  # still waiting: not placed
        except FileNotFoundError:
            os.unlink(name, dir_fd=folder)
    elif step == MADE:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOTDIR):  # somebody put a file there meanwhile
                raise
    elif step in (REMOVED, CHMOD):
        if step == REMOVED:
            try:
                os.mkdir(name, 0o700, dir_fd=folder)
            except FileExistsError:
                return
        below = os.open(name, _FOLDER, dir_fd=folder)
        try:
            os.fchmod(below, int(number, 8))
        finally:
            os.close(below)


def recover(args: list[bytes], _bulk: int, _emit: Emit) -> list[bytes]:
    """Undo, or clean up after, changes whose process was killed.

    Arguments: root. Items: none.

    Result: how many unfinished changes were undone or cleaned up; how many could not be, and are left as they are.
    """
    root = Arguments(args).path("root")
    with Naming(root):
        top = open_path(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return [b"%d" % count for count in recover_in(top)]
        finally:
            os.close(top)


def recover_in(root: int) -> tuple[int, int]:
    """``recover`` for an open root. Raises OSError."""
    import fcntl

    cleaned = left = 0
    for name in children(root)[0]:
        if not name.startswith(PREFIX):
            continue
        with Interruptible() as interruptible:
            try:
                stage = os.open(name, _FOLDER, dir_fd=root)
            except OSError:
                continue  # not ours
            try:
                flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                journal = os.open(b"journal", flags, dir_fd=stage)
            except OSError:
                os.close(stage)
                _discard_empty(root, name)
                continue
            try:
                info = os.fstat(journal)
                if not stat.S_ISREG(info.st_mode) or info.st_size > LARGEST_JOURNAL:
                    continue  # not ours
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
                interruptible.hold()
                failed = undo(root, stage)
                if not failed:
                    write_all(journal, _record(DONE, b"0", b""))
            except BlockingIOError:
                continue  # at work
            finally:
                os.close(journal)
                os.close(stage)
            if failed:
                left += 1
                continue
            _discard(root, name)
            cleaned += 1
    return cleaned, left
