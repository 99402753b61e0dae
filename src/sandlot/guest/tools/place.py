"""Finding paths below a root without following any symlink."""

from __future__ import annotations

import errno
import os

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Blocked(Exception):
    """A parent of a path is a symlink or no folder."""

    def __init__(self, parent: bytes) -> None:
        super().__init__(parent)
        self.parent = parent


class Place:
    """Finds parent folders below a root without following any symlink; remembers the last one."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._path: bytes | None = None
        self._folder = -1

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """(descriptor of the parent, last component); the descriptor stays ours, and valid until the next call.

        Raises FileNotFoundError when a parent is missing, Blocked when it is no folder.
        """
        parent, _, name = path.rpartition(b"/")
        if parent != self._path:
            self.forget()
            self._folder = self._walk(parent)
            self._path = parent
        return self._folder, name

    def info(self, path: bytes) -> os.stat_result | None:
        """What is at a path, or None."""
        try:
            folder, name = self.parent(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def forget(self) -> None:
        """Release the remembered folder, which may be about to change."""
        if self._folder >= 0:
            os.close(self._folder)
        self._folder = -1
        self._path = None

    def _walk(self, path: bytes) -> int:
        folder = os.open(b".", _FOLDER, dir_fd=self.root)
        done = 0
        try:
            for part in path.split(b"/") if path else ():
                done += len(part) + 1
                if part in (b"", b".", b".."):
                    raise Blocked(path[: done - 1])
                try:
                    below = os.open(part, _FOLDER, dir_fd=folder)
                except OSError as error:
                    if error.errno in (errno.ENOTDIR, errno.ELOOP):
                        raise Blocked(path[: done - 1]) from None
                    raise
                os.close(folder)
                folder = below
        except BaseException:
            os.close(folder)
            raise
        return folder
