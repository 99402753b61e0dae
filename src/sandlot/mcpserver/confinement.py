"""Paths of the host that a tool's arguments name: only below one folder, never through a symlink, never hidden.

A string check is not enough: the folder may hold symlinks (an earlier export may have put them there). So the path is
walked, one component at a time, from an open descriptor of the folder, and no component may be a symlink. Between this
check and the use the tree must not change under us: whoever reads holds one lock shared, whoever exports holds it
alone, in whichever server of the user they are. Nobody but our exports writes there on a workspace's behalf. What is
locked is the state folder itself, which all servers of a user have in common.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator

from sandlot.errors import PathNotFound, StateUnwritable, TargetExists, UnsafePath, WorkspaceBusy

__all__ = ["destination_below", "exclusively", "shared", "source_below"]

LOCK_WAIT_S = 30.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def source_below(root: str, text: str, what: str) -> str:
    """The absolute path of an existing folder or file below ``root`` (or ``root`` itself).

    ``what`` is how the error calls the folder. Raises UnsafePath, PathNotFound.
    """
    parts = _parts(root, text, what)
    with _walked(root, parts[:-1], text, what) as parent:
        if parts:
            try:
                found = os.open(parts[-1], _LOOK, dir_fd=parent)
            except OSError as error:
                raise _missing(text, what, error) from error
            mode = os.fstat(found).st_mode
            os.close(found)
            if stat.S_ISLNK(mode):
                raise _through_symlink(text, what)
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise UnsafePath(f"{text!r} is neither a folder nor a file", hint="")
    return os.path.join(root, *parts)


def destination_below(root: str, text: str, what: str, *, overwrite: bool = False) -> str:
    """The absolute path of something that is to be made below ``root``.

    No component may begin with a dot: what is exported comes from inside, and must not become a hook of git, a setting
    of an editor or of an agent. Raises UnsafePath, PathNotFound, TargetExists.
    """
    parts = _parts(root, text, what)
    if not parts:
        raise UnsafePath(f"{text!r} is {what} itself", hint="name a new file or folder below it")
    hidden = [part for part in parts if part.startswith(".")]
    if hidden:
        raise UnsafePath(f"{hidden[0]!r} is a hidden name, and exports make none", hint="choose a name without a dot")
    with _walked(root, parts[:-1], text, what) as parent:
        try:
            mode = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return os.path.join(root, *parts)
        except OSError as error:
            raise _missing(text, what, error) from error
        if stat.S_ISLNK(mode):
            raise _through_symlink(text, what)
        if not overwrite:
            raise TargetExists(f"{text!r} exists", hint="choose a new name")
    return os.path.join(root, *parts)


def _parts(root: str, text: str, what: str) -> list[str]:
    if "\0" in text or not text:
        raise UnsafePath(f"{text!r} is no path", hint=f"name a path below {what}")
    path = os.path.normpath(text)
    if os.path.isabs(path):
        path = _relative(root, path)
    if path == ".." or path.startswith("../"):
        raise UnsafePath(f"{text!r} is not below {what}", hint=f"name a path below {what}")
    return [part for part in path.split("/") if part not in ("", ".")]


def _relative(root: str, path: str) -> str:
    """An absolute path, as seen from ``root``, whichever symlinks lead to ``root`` itself; ``..``: it is not below."""
    parts = path.split("/")[1:]
    for count in range(len(parts) + 1):
        try:
            if os.path.samefile("/" + "/".join(parts[:count]), root):
                return "/".join(parts[count:]) or "."
        except OSError:
            break
    return ".."


@contextlib.contextmanager
def _walked(root: str, parts: list[str], text: str, what: str) -> Iterator[int]:
    """A descriptor of the folder that ``parts`` lead to, without any symlink on the way."""
    try:
        here = os.open(root, _FOLDER)
    except OSError as error:
        raise PathNotFound(f"{what} is gone", hint="") from error
    try:
        for part in parts:
            try:
                below = os.open(part, _FOLDER, dir_fd=here)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_symlink(part, here):
                    raise _through_symlink(text, what) from error
                raise _missing(text, what, error) from error
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _is_symlink(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _through_symlink(text: str, what: str) -> UnsafePath:
    return UnsafePath(f"{text!r} leads through a symlink", hint=f"name a path below {what} that holds none")


def _missing(text: str, what: str, error: OSError) -> PathNotFound:
    reason = "does not exist" if error.errno == errno.ENOENT else error.strerror or "cannot be used"
    return PathNotFound(f"{text!r} below {what}: {reason}", hint=f"name a path below {what}")


@contextlib.contextmanager
def shared(state: str) -> Iterator[None]:
    """While the block reads what a path of the host named, no export of any server changes it."""
    with _locked(state, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def exclusively(state: str) -> Iterator[None]:
    """While the block exports, no server reads what a path of the host named, or exports. Raises WorkspaceBusy."""
    with _locked(state, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _locked(state: str, kind: int) -> Iterator[None]:
    try:
        os.makedirs(state, mode=0o700, exist_ok=True)
        descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateUnwritable(f"the state folder {state} cannot be used: {error.strerror}") from error
    try:
        end = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise WorkspaceBusy("other calls use folders of the host", hint="try again") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
