"""Moving through a folder tree by descriptors: never through a symlink, however deep the tree is."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

__all__ = ["FOLDER", "Descent", "tree_order"]

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def tree_order(path: bytes) -> bytes:
    """A sort key that puts a folder right before everything below it (no name holds a zero byte)."""
    return path.replace(b"/", b"\0")


class Descent:
    """A position in a tree, held by one descriptor whatever its depth. Use as a context manager.

    Going up opens ``..`` and checks that it is the very folder we came from, so a folder that is moved while we are
    in it ends in an OSError (ESTALE), not in another tree.
    """

    __slots__ = ("_above", "fd", "parts")

    def __init__(self, root: int) -> None:
        self.fd = os.open(".", FOLDER, dir_fd=root)
        self.parts: list[bytes] = []
        self._above: list[tuple[int, int]] = []

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def open(self, name: bytes) -> int:
        """A descriptor of a folder right below this one."""
        return os.open(name, FOLDER, dir_fd=self.fd)

    def enter(self, name: bytes) -> None:
        """Go into a folder right below this one."""
        deeper = self.open(name)
        here = os.fstat(self.fd)
        self._above.append((here.st_dev, here.st_ino))
        os.close(self.fd)
        self.fd = deeper
        self.parts.append(name)

    def leave(self) -> int:
        """Go up; returns the descriptor of the folder we left, which the caller closes."""
        above = os.open("..", FOLDER, dir_fd=self.fd)
        info = os.fstat(above)
        if (info.st_dev, info.st_ino) != self._above[-1]:
            os.close(above)
            raise OSError(errno.ESTALE, "the folder was moved meanwhile")
        self._above.pop()
        self.parts.pop()
        left, self.fd = self.fd, above
        return left

    def up(self) -> None:
        """Go up."""
        os.close(self.leave())

    def goto(self, parts: Sequence[bytes]) -> None:
        """Go to a folder named by its components from the root, over the common part of both places."""
        common = 0
        for here, there in zip(self.parts, parts, strict=False):
            if here != there:
                break
            common += 1
        while len(self.parts) > common:
            self.up()
        for part in parts[common:]:
            self.enter(part)
