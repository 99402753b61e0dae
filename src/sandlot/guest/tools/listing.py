"""file_list: what a folder holds."""

from __future__ import annotations

import os
import stat
from bisect import bisect_left, bisect_right

from sandlot.guest.tools.arguments import Arguments, Naming
from sandlot.guest.tools.globs import matcher
from sandlot.guest.tools.tree import Descent, children, locate, open_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandlot.guest.tools import Emit

LARGEST_PAGE = 1_000_000
LONGEST_PATH = 1024 * 1024
"""A folder whose relative path is longer is listed but not entered, so an entry always fits a frame."""


def file_list(args: list[bytes], _bulk: int, emit: Emit) -> list[bytes]:
    """List a folder, one page at a time.

    Arguments: root; path; depth (0: all levels, 1: only the folder itself, ...); glob or empty (see globs.py);
    hidden (1: names that start with a dot too); git (1: ``.git`` too, which also needs hidden); limit (entries on a
    page); cursor (the previous page's, or empty).

    Items: relative path; kind (``f`` file, ``d`` folder, ``l`` symlink, ``o`` other); size in bytes; permission bits in
    octal; mtime in ns; symlink target or empty. In bytewise order of the path's components, a folder before its
    content. When the path names something that is not a folder there is one item, with an empty relative path.

    Result: more (1: there is another page); cursor for it; items sent; folders that could not be read.
    """
    fields = Arguments(args)
    root = fields.path("root")
    path = fields.path("path", empty=True)
    depth = fields.number("depth", 0, 2**31)
    matches = matcher(fields.raw("glob"))
    hidden = fields.flag("hidden")
    git = fields.flag("git")
    limit = fields.number("limit", 1, LARGEST_PAGE)
    cursor = fields.path("cursor", empty=True)
    with Naming(path):
        parent, name = locate(root, path)
        try:
            info = os.stat(name, dir_fd=parent)  # a symlink to a folder is listed as that folder
            if not stat.S_ISDIR(info.st_mode):
                emit(describe(parent, name, b""))
                return [b"0", b"", b"1", b"0"]
            top = open_path(name, os.O_RDONLY | os.O_DIRECTORY, parent)
        finally:
            os.close(parent)
        with Descent(top) as here:
            page = _Page(here, emit, matches, hidden, git, limit, depth)
            page.run([part for part in cursor.split(b"/") if part])
    return [b"%d" % page.more, page.last if page.more else b"", b"%d" % page.sent, b"%d" % page.unread]


def describe(folder: int, name: bytes, shown: bytes) -> list[bytes]:
    """The fields of one item. Raises OSError when the entry is gone."""
    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    target = b""
    kind = b"o"
    if stat.S_ISREG(info.st_mode):
        kind = b"f"
    elif stat.S_ISDIR(info.st_mode):
        kind = b"d"
    elif stat.S_ISLNK(info.st_mode):
        kind = b"l"
        target = os.readlink(name, dir_fd=folder)
    mode = b"%04o" % stat.S_IMODE(info.st_mode)
    return [shown, kind, b"%d" % info.st_size, mode, b"%d" % info.st_mtime_ns, target]


class _Page:
    """One page: walks from just after the cursor until the limit is reached and one more entry is known to exist."""

    def __init__(
        self,
        here: Descent,
        emit: Emit,
        matches: Callable[[bytes], bool] | None,
        hidden: bool,
        git: bool,
        limit: int,
        depth: int,
    ) -> None:
        self.here = here
        self.emit = emit
        self.matches = matches
        self.hidden = hidden
        self.git = git
        self.limit = limit
        self.depth = depth
        self.sent = 0
        self.unread = 0
        self.more = False
        self.last = b""

    def run(self, after: list[bytes]) -> None:
        stack = [self._open(b"", after)]
        while stack:
            prefix, names, folders, after = stack[-1]
            if not names:
                stack.pop()
                if stack:
                    self.here.leave()
                continue
            name = names.pop()
            shown = prefix + name
            on_cursor = bool(after) and name == after[0]  # the folder the cursor lies in: sent on an earlier page
            if not on_cursor and not self._send(name, shown):
                return
            if name in folders and len(shown) < LONGEST_PATH and (not self.depth or len(stack) < self.depth):
                try:
                    self.here.enter(name)
                except OSError:
                    self.unread += 1
                    continue
                stack.append(self._open(shown + b"/", after[1:] if on_cursor else []))

    def _open(self, prefix: bytes, after: list[bytes]) -> tuple[bytes, list[bytes], set[bytes], list[bytes]]:
        """What is still to do in the current folder, last one first: (prefix, names, folders, rest of the cursor)."""
        try:
            names, folders = children(self.here.folder)
        except OSError:
            if not prefix:
                raise
            self.unread += 1
            names, folders = [], set()
        if after:
            # The cursor's own folder is visited again for what is in it, even when it was the last one sent.
            inside = after[0] in folders
            del names[: bisect_left(names, after[0]) if inside else bisect_right(names, after[0])]
        if not self.hidden:
            names = [name for name in names if not name.startswith(b".")]
        elif not self.git:
            names = [name for name in names if name != b".git"]
        names.reverse()
        return prefix, names, folders, after

    def _send(self, name: bytes, shown: bytes) -> bool:
        """Send an entry that matches; False when the page was full already."""
        if self.matches is not None and not self.matches(shown):
            return True
        if self.sent >= self.limit:
            self.more = True
            return False
        try:
            item = describe(self.here.folder, name, shown)
        except FileNotFoundError:
            return True  # deleted while we looked
        self.emit(item)
        self.sent += 1
        self.last = shown
        return True
