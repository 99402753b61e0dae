"""file_search: lines that match, in a tree of any size."""

from __future__ import annotations

import os
import stat

from sandlot.guest.tools import ToolError
from sandlot.guest.tools.arguments import Arguments, Naming
from sandlot.guest.tools.globs import matcher
from sandlot.guest.tools.ignored import ignored
from sandlot.guest.tools.listing import LONGEST_PATH
from sandlot.guest.tools.matching import Binary, Lines, Query
from sandlot.guest.tools.reading import open_regular
from sandlot.guest.tools.tree import Descent, children, locate, open_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandlot.guest.tools import Emit

MOST_MATCHES = 1_000_000
MOST_CONTEXT = 1000
LONGEST_LINE = 65536


def file_search(args: list[bytes], _bulk: int, emit: Emit) -> list[bytes]:
    """Search the lines of a file, or of all text files below a folder, for a pattern.

    Arguments: root; path; pattern; syntax, ``regex`` (Python's ``re``, on UTF-8 text) or ``literal``; ignore case; glob
    or empty (see globs.py), relative to ``path``; ignored (1: files that git ignores too); context lines; limit
    (matching lines); most bytes of a line to show.

    Items, by path and line: path relative to ``path`` (empty when that is a file); line number; column of the first
    match in bytes from 1 (0: context); kind, ``match`` or ``context``; the line without its end, clipped around the
    match; offset in the line of what is shown; bytes of the match. Items are sent as they are found.

    Result: files searched; matching lines sent; more (1: the limit cut the list short); binary files skipped; files
    and folders that could not be read.

    Skipped below a folder: ``.git``; symlinks; what is no regular file; files with a NUL byte in their first 8 KiB (a
    later one ends the search of that file); and in a git work tree what git ignores and does not track (git answers;
    without it nothing is ignored). Hidden files are searched. A line longer than 1 MiB is searched in overlapping
    pieces, in which a match longer than 64 KiB or one that ends in ``$`` may be missed. A regular expression may take
    exponential time: the caller's timeout ends that, and keeps what was sent.
    """
    fields = Arguments(args)
    root = fields.path("root")
    path = fields.path("path", empty=True)
    pattern = fields.raw("pattern")
    literal = fields.choice("syntax", (b"regex", b"literal")) == b"literal"
    ignore_case = fields.flag("ignore case")
    matches = matcher(fields.raw("glob"))
    everything = fields.flag("ignored")
    context = fields.number("context", 0, MOST_CONTEXT)
    limit = fields.number("limit", 1, MOST_MATCHES)
    query = Query(pattern, literal, ignore_case, context, fields.number("line bytes", 16, LONGEST_LINE))
    search = _Search(query, emit, limit)
    with Naming(path):
        folder, name = locate(root, path)
        try:
            info = os.stat(name, dir_fd=folder)
            if not stat.S_ISDIR(info.st_mode):
                os.close(open_regular(folder, name, path)[0])
                search.file(folder, name, b"", 0)
                return search.result()
            top = open_path(name, os.O_RDONLY | os.O_DIRECTORY, folder)
        finally:
            os.close(folder)
        with Descent(top) as here:
            search.folder(here, matches, set() if everything else ignored(here.folder))
    return search.result()


class _Search:
    def __init__(self, query: Query, emit: Emit, limit: int) -> None:
        self.query = query
        self.emit = emit
        self.limit = limit
        self.files = self.matches = self.binary = self.unread = 0
        self.more = False

    def result(self) -> list[bytes]:
        return [b"%d" % n for n in (self.files, self.matches, self.more, self.binary, self.unread)]

    def folder(self, here: Descent, matches: Callable[[bytes], bool] | None, skip: set[bytes]) -> None:
        """Search all below the folder at which ``here`` stands, in bytewise order of the paths' components."""
        stack = [self._open(here, b"")]
        while stack and not self.more:
            prefix, names, folders = stack[-1]
            if not names:
                stack.pop()
                if stack:
                    here.leave()
                continue
            name = names.pop()
            shown = prefix + name
            if name == b".git" or shown in skip:
                continue
            if name not in folders:
                if matches is None or matches(shown):
                    self.file(here.folder, name, shown, os.O_NOFOLLOW)
            elif len(shown) < LONGEST_PATH:
                try:
                    here.enter(name)
                except OSError:
                    self.unread += 1
                    continue
                stack.append(self._open(here, shown + b"/"))

    def _open(self, here: Descent, prefix: bytes) -> tuple[bytes, list[bytes], set[bytes]]:
        try:
            names, folders = children(here.folder)
        except OSError:
            self.unread += 1
            return prefix, [], set()
        names.reverse()
        return prefix, names, folders

    def _room(self) -> bool:
        self.more = self.matches >= self.limit
        return not self.more

    def file(self, folder: int, name: bytes, shown: bytes, flags: int) -> None:
        """Search one file; what cannot be opened is counted, what is no regular file is passed over."""
        try:
            file, _ = open_regular(folder, name, shown, flags)
        except ToolError:
            return
        except FileNotFoundError:
            return  # deleted while we looked
        except OSError:
            self.unread += 1
            return

        def found(number: int, column: int, kind: bytes, text: bytes, at: int, length: int) -> None:
            self.matches += kind == b"match"
            self.emit([shown, b"%d" % number, b"%d" % column, kind, text, b"%d" % at, b"%d" % length])

        try:
            Lines(self.query, self._room, found).scan(file)
            self.files += 1
        except Binary:
            self.binary += 1
        except OSError:
            self.unread += 1
        finally:
            os.close(file)
