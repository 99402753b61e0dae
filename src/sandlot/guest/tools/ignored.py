"""What git would ignore below a folder."""

from __future__ import annotations

import os

from sandlot.guest.tools import ToolError
from sandlot.guest.tools.tree import identity

MOST = 200_000
"""At most this many ignored paths are remembered; a tree with more of them is searched as if nothing were ignored."""


def ignored(folder: int) -> set[bytes]:
    """Paths relative to an open folder that git ignores there; an ignored folder stands for all that is in it.

    Empty outside of a work tree, and when git is missing or fails: then everything is searched.
    """
    if not _in_work_tree(folder):
        return set()
    import subprocess

    from sandlot.guest.tools import git

    # A repository may name a program as its file system monitor; nothing of it is needed to read ignore rules.
    options = [b"-c", b"core.fsmonitor=false", b"-c", b"core.untrackedCache=false", b"-c", b"safe.directory=*"]
    command = [b"ls-files", b"--others", b"--ignored", b"--exclude-standard", b"--directory", b"-z"]
    try:
        process = git.start([*options, *command], folder, git.environment(), subprocess.DEVNULL)
    except ToolError:
        return set()
    found: set[bytes] = set()
    rest = b""
    try:
        assert process.stdout is not None  # noqa: S101  # a pipe was asked for
        while chunk := process.stdout.read(65536):
            *paths, rest = (rest + chunk).split(b"\0")
            found.update(path.rstrip(b"/") for path in paths)
            if len(found) > MOST:
                return set()
        return found if process.wait() == 0 else set()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _in_work_tree(folder: int) -> bool:
    """Whether a ``.git`` exists in the folder or above it: cheaper than asking git, which then decides."""
    current = os.open(b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        while True:
            try:
                os.stat(b".git", dir_fd=current, follow_symlinks=False)
                return True
            except OSError:
                pass
            above = os.open(b"..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=current)
            same = identity(os.fstat(above)) == identity(os.fstat(current))
            os.close(current)
            current = above
            if same:
                return False
    finally:
        os.close(current)
