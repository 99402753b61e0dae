"""Where a patch is tried: copies of the files it names, and a git that knows nothing but them."""

from __future__ import annotations

import os
import stat

from sandlot.guest.tools import ToolError, git
from sandlot.guest.tools.arguments import Naming, display
from sandlot.guest.tools.bulk import write_all
from sandlot.guest.tools.copying import copy
from sandlot.guest.tools.place import Blocked, Place
from sandlot.guest.tools.reading import kind_of
from sandlot.guest.tools.swap import Swap
from sandlot.guest.tools.tree import make_parents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SAMPLE = 1024 * 1024


class Original:
    """A file or symlink of the real tree as it was copied, and what tells whether either was changed since."""

    __slots__ = ("copied", "info")

    def __init__(self, info: os.stat_result, copied: tuple[int, ...]) -> None:
        self.info = info
        self.copied = copied


def look(info: os.stat_result) -> tuple[int, ...]:
    """What differs when a file was changed or replaced."""
    return info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns


class Scratch:
    """``stage/tree`` with the copies, ``stage/git`` as git's folder; both go with the stage."""

    def __init__(self, swap: Swap, sha256: bool) -> None:
        self._real = swap.place
        self._stage = swap.stage
        for folder in (b"tree", b"git", b"git/objects", b"git/refs", b"git/info"):
            os.mkdir(folder, 0o700, dir_fd=swap.stage)
        self._write(b"git/HEAD", b"ref: refs/heads/none\n")
        # What the tree's .gitattributes say about line endings, filters or encodings is not for us to do.
        self._write(b"git/info/attributes", b"* -text !eol -filter -ident !working-tree-encoding !whitespace\n")
        kind = b"[extensions]\n\tobjectformat = sha256\n" if sha256 else b""
        self._write(b"git/config", b"[core]\n\trepositoryformatversion = %d\n%s" % (sha256, kind))
        self.tree = os.open(b"tree", _FOLDER, dir_fd=swap.stage)
        self.place = Place(self.tree)
        self.originals: dict[bytes, Original | None] = {}

    def close(self) -> None:
        """Release the descriptors."""
        self.place.forget()
        os.close(self.tree)

    def _write(self, name: bytes, content: bytes) -> None:
        file = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self._stage)
        try:
            write_all(file, content)
        finally:
            os.close(file)

    def exists(self, path: bytes) -> bool:
        """Whether there is something at a path after what was applied so far."""
        return self.info(path) is not None

    def info(self, path: bytes) -> os.stat_result | None:
        """The file or symlink at a path after what was applied so far.

        A folder is nothing, and so is what lies behind a parent that is none.
        """
        try:
            info = (self.place if path in self.originals else self._real).info(path)
        except Blocked:
            return None
        return None if info is None or stat.S_ISDIR(info.st_mode) else info

    def fetch(self, paths: list[bytes]) -> None:
        """Copy the files at these paths, once. Raises ToolError for what a patch must not touch."""
        wanted = [path for path in dict.fromkeys(paths) if path not in self.originals]
        touched = {*paths, *self.originals}
        for path in wanted:
            with Naming(path):
                self.originals[path] = self._copy(path, touched)

    def _copy(self, path: bytes, touched: set[bytes]) -> Original | None:
        try:
            info = self._real.info(path)
        except Blocked as blocked:
            if blocked.parent in touched:
                return None  # the patch deals with that one; git sees to the order
            raise _refuse_parent(path, blocked.parent, self._real.info(blocked.parent)) from None
        if info is None or stat.S_ISDIR(info.st_mode):
            return None  # where a folder is in the way, putting the result in its place fails
        if not (stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)):
            raise ToolError(
                "patch_rejected", "the patch cannot be applied", [f"{display(path)}: is {kind_of(info.st_mode)}"]
            )
        self._make_parents(path)
        try:
            target, name = self.place.parent(path)
        except Blocked as blocked:
            raise _refuse_parent(path, blocked.parent, self.place.info(blocked.parent)) from None
        source, _ = self._real.parent(path)
        copy(source, name, target, name)
        return Original(info, look(os.stat(name, dir_fd=target, follow_symlinks=False)))

    def _make_parents(self, path: bytes) -> None:
        make_parents(b"/proc/self/fd/%d" % self.tree, path)

    def line_ending(self, path: bytes) -> bytes | None:
        """How most of a file's lines end, by its first megabyte; None when it has no lines or is no file."""
        info = self.info(path)
        if info is None or not stat.S_ISREG(info.st_mode):
            return None
        folder, name = self.place.parent(path)
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            sample = os.pread(file, _SAMPLE, 0)
        finally:
            os.close(file)
        lines = sample.count(b"\n")
        if not lines:
            return None
        return b"\r\n" if sample.count(b"\r\n") * 2 > lines else b"\n"

    def write_patch(self, pieces: Iterable[bytes]) -> None:
        """Put a canonical patch where ``apply`` finds it."""
        file = os.open(b"patch", os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self._stage)
        try:
            for piece in pieces:
                write_all(file, piece)
        finally:
            os.close(file)

    def apply(self, *options: bytes) -> tuple[bool, bytes]:
        """Apply the written patch to the copies: all of it, or nothing and why (git's stderr)."""
        env = git.environment(
            GIT_DIR="../git",
            GIT_WORK_TREE=".",
            GIT_CONFIG_NOSYSTEM="1",
            GIT_CONFIG_GLOBAL="/dev/null",
            GIT_ATTR_NOSYSTEM="1",
            HOME="/nonexistent",
            XDG_CONFIG_HOME="/nonexistent",
        )
        # Names that only Windows could not have are fine here; .git was refused before.
        fixed = [b"-c", b"core.protectNTFS=false", b"-c", b"core.protectHFS=false"]
        self.place.forget()
        status, message = git.run([*fixed, b"apply", b"--whitespace=nowarn", *options, b"../patch"], self.tree, env)
        return status == 0, message


def _refuse_parent(path: bytes, parent: bytes, info: os.stat_result | None) -> ToolError:
    if info is not None and stat.S_ISLNK(info.st_mode):
        return ToolError(
            "unsafe_path", f"the patch names {display(path)}, which lies behind the symlink {display(parent)}"
        )
    what = "is no folder" if info is None else f"is {kind_of(info.st_mode)}"
    return ToolError("patch_rejected", "the patch cannot be applied", [f"{display(path)}: {display(parent)} {what}"])
