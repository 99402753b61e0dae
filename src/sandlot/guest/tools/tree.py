"""Walking folders by descriptor: paths of any length, few descriptors, no symlink followed unless said so."""

from __future__ import annotations

import errno
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

HELD = 64
"""How many folders above the current one a Descent keeps open. A deeper one is found again through ``..``."""

_CHUNK = 4000  # below PATH_MAX (4096, limits.h), which bounds one system call's path and not the depth of a tree
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENCODING = sys.getfilesystemencoding()


def open_path(path: bytes, flags: int, dir_fd: int | None = None, mode: int = 0o600) -> int:
    """``os.open`` for a path of any length; symlinks are followed as the kernel does. Raises OSError."""
    base = dir_fd
    try:
        while len(path) > _CHUNK:
            cut = path.rfind(b"/", 1, _CHUNK)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            head, path = path[:cut], path[cut:].lstrip(b"/") or b"."
            step = os.open(head, _PLACE, dir_fd=base)
            if base is not None and base != dir_fd:
                os.close(base)
            base = step
        return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=base)
    finally:
        if base is not None and base != dir_fd:
            os.close(base)


def locate(root: bytes, path: bytes, dir_fd: int | None = None) -> tuple[int, bytes]:
    """(descriptor of the parent folder, last component) of a path, relative to ``root`` unless absolute.

    Symlinks among the parents are followed, a last one is not. The caller closes the descriptor. Raises OSError.
    """
    if root and not path.startswith(b"/"):
        path = root + b"/" + path
    path = path.rstrip(b"/")
    if not path:
        return os.open(b"/", _PLACE), b"."
    parent, slash, name = path.rpartition(b"/")
    folder = open_path((parent or b"/") if slash else b".", _PLACE, dir_fd)
    return folder, name


def locate_target(root: bytes, path: bytes) -> tuple[int, bytes, os.stat_result | None]:
    """Like ``locate``, but a last symlink is followed, even to something that does not exist yet.

    The third value is what is there (never a symlink), or None.
    """
    folder, name = locate(root, path)
    try:
        for _ in range(40):  # as many as the kernel follows (path_resolution(7))
            try:
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return folder, name, None
            if not stat.S_ISLNK(info.st_mode):
                return folder, name, info
            target = os.readlink(name, dir_fd=folder)
            before = folder
            folder, name = locate(b"", target, before)
            os.close(before)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    except BaseException:
        os.close(folder)
        raise


def make_parents(root: bytes, path: bytes) -> int:
    """Make the folders above ``path`` that are missing; how many were made. Raises OSError, having undone its part."""
    if not path.startswith(b"/"):
        path = root + b"/" + path
    path = path.rstrip(b"/")
    try:
        os.close(locate(b"", path)[0])
        return 0
    except FileNotFoundError:
        pass
    parts = [part for part in path.split(b"/")[:-1] if part]
    made = reached = 0
    folder = os.open(b"/", _PLACE)
    try:
        for part in parts:
            try:
                step = os.open(part, _PLACE, dir_fd=folder)
                reached += 1
            except FileNotFoundError:
                try:
                    os.mkdir(part, dir_fd=folder)
                    made += 1
                except FileExistsError:
                    pass  # somebody else made it just now; a dangling symlink fails in the next line
                reached += 1
                step = os.open(part, _PLACE, dir_fd=folder)
            os.close(folder)
            folder = step
        return made
    except BaseException:
        unmake_parents(b"/" + b"/".join([*parts[:reached], b"x"]), made)
        raise
    finally:
        os.close(folder)


def unmake_parents(path: bytes, count: int) -> None:
    """Remove ``count`` folders above an absolute ``path``, nearest first; one that is in use stays."""
    for _ in range(count):
        path = path.rstrip(b"/").rpartition(b"/")[0]
        try:
            folder, name = locate(b"", path)
        except OSError:
            return
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError:
            return
        finally:
            os.close(folder)


def identity(info: os.stat_result) -> tuple[int, int]:
    """What says that two names are the same thing."""
    return info.st_dev, info.st_ino


def lies_within(folder: int, outer: tuple[int, int]) -> bool:
    """Whether an open folder is the one with identity ``outer`` or lies somewhere below it."""
    current = os.open(b".", _PLACE, dir_fd=folder)
    try:
        here = identity(os.fstat(current))
        while here != outer:
            above = os.open(b"..", _PLACE, dir_fd=current)
            os.close(current)
            current = above
            there = identity(os.fstat(current))
            if there == here:
                return False
            here = there
        return True
    finally:
        os.close(current)


def children(folder: int) -> tuple[list[bytes], set[bytes]]:
    """(names in bytewise order, which of them are folders) of an open folder. Raises OSError."""
    names: list[bytes] = []
    folders: set[bytes] = set()
    with os.scandir(folder) as found:
        for entry in found:
            name = entry.name.encode(_ENCODING, "surrogateescape")
            names.append(name)
            if entry.is_dir(follow_symlinks=False):
                folders.add(name)
    names.sort()
    return names, folders


class Descent:
    """A position in a tree: ``folder`` is open for reading. Owns the descriptor it was given."""

    def __init__(self, folder: int) -> None:
        self.folder = folder
        self._above: list[tuple[int, tuple[int, int]]] = []
        """For each ancestor its descriptor, or -1 and its identity."""

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @property
    def depth(self) -> int:
        return len(self._above)

    def enter(self, name: bytes) -> None:
        """Go into a folder of the current one, never through a symlink. Raises OSError and stays where it was."""
        below = os.open(name, _FOLDER, dir_fd=self.folder)
        if len(self._above) < HELD:
            self._above.append((self.folder, (0, 0)))
        else:
            self._above.append((-1, identity(os.fstat(self.folder))))
            os.close(self.folder)
        self.folder = below

    def leave(self) -> None:
        """Go back to the folder above. Raises OSError (ESTALE) when the current one was moved elsewhere meanwhile."""
        above, known = self._above[-1]
        if above < 0:
            above = os.open(b"..", _FOLDER, dir_fd=self.folder)
            if identity(os.fstat(above)) != known:
                os.close(above)
                raise OSError(errno.ESTALE, "a folder was moved while it was read")
        self._above.pop()
        os.close(self.folder)
        self.folder = above

    def close(self) -> None:
        for held, _ in self._above:
            if held >= 0:
                os.close(held)
        self._above.clear()
        if self.folder >= 0:
            os.close(self.folder)
            self.folder = -1


def remove(folder: int, name: bytes) -> tuple[int, int]:
    """Delete an entry of an open folder and all below it; (files, folders) removed. Raises OSError.

    A folder of ours that may not be searched or written is opened up first: the caller asked for all of it to go.
    """
    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=folder)
        return 1, 0
    return _remove_folder(folder, name)


def _open_up(name: bytes, folder: int) -> None:
    """Give us the right to list and change a folder, when we lack it and may."""
    place = os.open(name, _PLACE | os.O_NOFOLLOW, dir_fd=folder)
    try:
        info = os.fstat(place)
        if stat.S_ISDIR(info.st_mode) and info.st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{place}", 0o700)
    except OSError:
        pass  # not ours: what cannot be removed will say so
    finally:
        os.close(place)


def _remove_folder(folder: int, name: bytes) -> tuple[int, int]:
    files = folders = 0
    _open_up(name, folder)
    top = os.open(name, _FOLDER, dir_fd=folder)
    with Descent(top) as here:
        names, kinds = children(here.folder)
        pending = [(b"", names, kinds)]
        while pending:
            own, names, kinds = pending[-1]
            if not names:
                pending.pop()
                if pending:
                    here.leave()
                    os.rmdir(own, dir_fd=here.folder)
                    folders += 1
                continue
            child = names.pop()
            if child in kinds:
                _open_up(child, here.folder)
                here.enter(child)
                pending.append((child, *children(here.folder)))
            else:
                os.unlink(child, dir_fd=here.folder)
                files += 1
    os.rmdir(name, dir_fd=folder)
    return files, folders + 1
