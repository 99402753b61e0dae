"""Bring a reviewed patch back to a folder of the host, all or nothing.

The patch may be hostile and the folder is the user's. So git never runs on the folder: the files that the patch
speaks of are copied into a private one, git applies the patch there (with a git folder of ours: no configuration,
attributes, filters or hooks of anybody), and what came of it is checked and then moved into place by us. The index
and the refs of the user's repository are not touched.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandlot.bases.beneath import BLOCKED, FOLDER_FLAGS, Folders
from sandlot.bases.copying import Copying
from sandlot.bases.links import escapes
from sandlot.bases.view import Entry, View
from sandlot.errors import FileRefused, PatchRejected, PathNotFound, UnsafePath
from sandlot.process import Completed
from sandlot.workspaces.git_names import is_git_internal
from sandlot.workspaces.installing import Change, Content, Installation, Moved
from sandlot.workspaces.patch_paths import PatchedFile, read_patch
from sandlot.workspaces.private_git import PrivateGit, private_git

__all__ = ["Applied", "apply_to_host"]

_MODE: Final = re.compile(rb"100[0-7]{3}|120000")
_LONGEST_DETAIL: Final = 300


@dataclass(frozen=True, slots=True)
class Applied:
    """What a patch changed, or would change."""

    files: tuple[str, ...]
    """Paths below the target, sorted."""


def apply_to_host(
    patch: Path,
    target: Path,
    *,
    scratch: Path,
    check_only: bool = False,
    allow_escaping_links: bool = False,
) -> Applied:
    """Apply a patch to the host folder ``target``, or only check that it would apply.

    ``scratch`` is an existing private folder for temporary files. Untracked and ignored files are treated like any
    other; modes and owners of files that stay are kept. Symlinks that are new or changed must stay inside ``target``
    unless ``allow_escaping_links``.

    Raises PathNotFound, UnsafePath (``details`` names every path), PatchRejected (``details``: one line for each hunk
    or file that does not fit), GitFailed and FileRefused; nothing has changed then.
    """
    with _translated(target):
        files = _read(patch)
        _refuse_unsafe(files)
        root = _open_target(target)
        try:
            with private_git(scratch) as git:
                return _apply(git, patch, files, root, check_only=check_only, links=allow_escaping_links)
        finally:
            os.close(root)


def _apply(
    git: PrivateGit, patch: Path, files: list[PatchedFile], root: int, *, check_only: bool, links: bool
) -> Applied:
    staging = git.root / "tree"
    staging.mkdir(mode=0o700)
    host = Folders([os.dup(root)], borrow=False)
    try:
        before = _stage(host, staging, sorted({path for file in files for path in file.paths}))
        _run_git(git, patch.absolute(), staging)
        with View([staging]) as view:
            changes = _changes(view, before)
            _check(view, host, changes, links=links)
            if changes and not check_only:
                with Installation(root) as installation:
                    installation.run(changes)
                    installation.commit()
    finally:
        host.close()
    return Applied(tuple(os.fsdecode(change.path) for change in changes))


def _read(patch: Path) -> list[PatchedFile]:
    try:
        files = read_patch(patch)
    except OSError as error:
        raise PathNotFound(f"cannot read the patch {patch}: {error.strerror}") from error
    if not files:
        raise PatchRejected("the patch changes nothing", hint="sandlot workspace diff ID")
    return files


def _refuse_unsafe(files: list[PatchedFile]) -> None:
    """Refuse by name, before anything is touched."""
    unsafe = sorted({path for file in files for path in file.paths if _is_unsafe(path)})
    if unsafe:
        raise UnsafePath("the patch leaves the folder it is for", details=tuple(_shown(path) for path in unsafe))
    odd = [
        f"{_shown(path)}: {'a submodule' if mode == b'160000' else 'mode ' + _shown(mode)}"
        for file in files
        for mode in file.modes
        if not _MODE.fullmatch(mode)
        for path in sorted(file.paths) or [b"?"]
    ]
    if odd:
        raise PatchRejected("the patch holds more than files and symlinks", details=tuple(odd))


def _is_unsafe(path: bytes) -> bool:
    return any(part in (b"", b".", b"..") for part in path.split(b"/")) or b"\0" in path or is_git_internal(path)


def _open_target(target: Path) -> int:
    try:
        return os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PathNotFound(f"{target} is not a folder on the host") from error


def _stage(host: Folders, staging: Path, paths: list[bytes]) -> dict[bytes, os.stat_result]:
    """Copy the named files into the private folder; answers what each of them is on the host."""
    found: dict[bytes, os.stat_result] = {}
    unsafe: list[str] = []
    with Copying(os.open(staging, FOLDER_FLAGS), permissions=0o755, plain=True) as copy:
        for path in paths:
            parent, _, name = path.rpartition(b"/")
            folder = host.get(0, parent)
            if folder == BLOCKED and (link := _symlink_above(host, path)) and link not in paths:
                unsafe.append(f"{_shown(path)}: {_shown(link)} is a symlink")
            if folder < 0:
                continue
            try:
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(info.st_mode):
                continue
            if not (stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)):
                raise PatchRejected(f"{_shown(path)} is neither a file nor a symlink on the host")
            copy.make(parent)
            copy.add(folder, path, info)
            found[path] = info
            # git rewrites what it changes, and so gives it a time of today: that is how changes are told.
            out = copy.folder(parent)
            os.utime(name, (0, 0), dir_fd=out, follow_symlinks=False)
    if unsafe:
        raise UnsafePath("the patch writes through a symlink of the host", details=tuple(unsafe))
    return found


def _symlink_above(host: Folders, path: bytes) -> bytes | None:
    """The parent of a path that is a symlink, if one is."""
    cut = -1
    while (cut := path.find(b"/", cut + 1)) >= 0:
        if host.get(0, path[:cut]) >= 0:
            continue
        parent, _, name = path[:cut].rpartition(b"/")
        info = os.stat(name, dir_fd=host.get(0, parent), follow_symlinks=False)
        return path[:cut] if stat.S_ISLNK(info.st_mode) else None
    return None


def _run_git(git: PrivateGit, patch: Path, staging: Path) -> None:
    arguments = ["apply", "--whitespace=nowarn", "-p1"]
    outcome = git.run([*arguments, str(patch)], work_tree=staging)
    if outcome.returncode != 0:
        # Once more in the private folder, for the sake of every hunk that does not fit.
        every = git.run([*arguments, "--reject", str(patch)], work_tree=staging)
        raise PatchRejected(
            "the patch does not apply; nothing was changed",
            hint="bring the workspace up to date with the host, or apply the patch by hand",
            details=_conflicts(outcome, every),
        )


def _conflicts(first: Completed, every: Completed) -> tuple[str, ...]:
    """One line for each hunk or file that git complained about."""
    found: dict[str, None] = {}
    for outcome in (every, first):
        for line in outcome.stderr.splitlines():
            if line.startswith(b"error: patch failed: "):
                found[f"{_shown(line[21:])}: the hunk does not fit"] = None
            elif line.startswith(b"error: ") and not line.startswith(
                (b"error: while searching for", b"error: No valid")
            ):
                found[_shown(line[7:])] = None
    named = [text.rpartition(":")[0].rpartition(":")[0] for text in found if text.endswith("the hunk does not fit")]
    redundant = {f"{name}: patch does not apply" for name in named}
    return tuple(text for text in found if text not in redundant) or (_shown(first.message.encode()),)


def _changes(view: View, before: dict[bytes, os.stat_result]) -> list[Change]:
    """What git did in the private folder, sorted by path."""
    changes: list[Change] = []
    untouched: set[bytes] = set()
    for entry in view.walk():
        if entry.is_folder:
            continue
        if not (entry.is_file or entry.is_symlink):
            raise PatchRejected(f"the patch makes {_shown(entry.path)} something else than a file or symlink")
        if entry.info.st_mtime_ns == 0 and entry.path in before:
            untouched.add(entry.path)
            continue
        changes.append(Change(entry.path, before.get(entry.path), _content(view, entry)))
    kept = untouched | {change.path for change in changes}
    changes += [Change(path, info, None) for path, info in before.items() if path not in kept]
    return sorted(changes, key=lambda change: change.path)


def _content(view: View, entry: Entry) -> Content:
    if entry.is_symlink:
        return Content(view.readlink(entry), None, executable=False)
    return Content(None, lambda: view.open(entry), executable=bool(entry.info.st_mode & 0o100))


def _check(view: View, host: Folders, changes: list[Change], *, links: bool) -> None:
    """Refuse what only shows in the result: paths our reading of the patch missed, files in the way, bad links."""
    unsafe = [_shown(change.path) for change in changes if _is_unsafe(change.path)]
    if unsafe:
        raise UnsafePath("the patch leaves the folder it is for", details=tuple(unsafe))
    removed = {change.path for change in changes if change.after is None}
    in_the_way = [_shown(one.path) for one in changes if one.before is None and _is_taken(host, one.path, removed)]
    if in_the_way:
        details = tuple(f"{path}: exists on the host" for path in in_the_way)
        raise PatchRejected("the patch does not apply; nothing was changed", details=details)
    if links:
        return
    readlink = _link_reader(view, host, removed)
    outside = [
        f"{_shown(change.path)} -> {_shown(change.after.target)}"
        for change in changes
        if change.after is not None
        and change.after.target is not None
        and escapes(change.path, change.after.target, readlink)
    ]
    if outside:
        raise UnsafePath(
            "the patch makes symlinks that lead out of the folder",
            hint="look at them, then allow them with --allow-escaping-links",
            details=tuple(outside),
        )


def _is_taken(host: Folders, path: bytes, removed: set[bytes]) -> bool:
    """Whether a new file's place is taken by something that the patch does not remove."""
    cut = -1
    while (cut := path.find(b"/", cut + 1)) >= 0:
        folder = host.get(0, path[:cut])
        if folder == BLOCKED:
            return path[:cut] not in removed
        if folder < 0:
            return False
    parent, _, name = path.rpartition(b"/")
    try:
        info = os.stat(name, dir_fd=host.get(0, parent), follow_symlinks=False)
    except FileNotFoundError:
        return False
    return not (stat.S_ISDIR(info.st_mode) and _becomes_empty(host, path, removed))


def _becomes_empty(host: Folders, folder: bytes, removed: set[bytes]) -> bool:
    """Whether the patch removes every file below a folder of the host, and so the folder itself."""
    pending = [folder]
    while pending:
        at = pending.pop()
        names = [os.fsencode(name) for name in os.listdir(host.get(0, at))]
        if not names:
            return False
        for path in (at + b"/" + name for name in names):
            if host.get(0, path) >= 0:
                pending.append(path)
            elif path not in removed:
                return False
    return True


def _link_reader(view: View, host: Folders, removed: set[bytes]) -> Callable[[bytes], bytes | None]:
    """Symlinks as they will be: those of the result, else those of the host."""

    def readlink(path: bytes) -> bytes | None:
        entry = view.lookup(path)
        if entry is not None:
            return view.readlink(entry) if entry.is_symlink else None
        parent, _, name = path.rpartition(b"/")
        folder = host.get(0, parent)
        if path in removed or folder < 0:
            return None
        try:
            return os.readlink(name, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENAMETOOLONG):
                return None
            raise

    return readlink


def _shown(text: bytes) -> str:
    """Bytes of a stranger for a person's terminal: no control codes, not endless."""
    shown = text.decode("utf-8", "backslashreplace")
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
    return shown if len(shown) <= _LONGEST_DETAIL else shown[:_LONGEST_DETAIL] + "..."


@contextmanager
def _translated(target: Path) -> Iterator[None]:
    try:
        yield
    except Moved as error:
        details = (f"{_shown(error.path)}: changed on the host meanwhile",)
        raise PatchRejected("the patch does not apply; nothing was changed", details=details) from error
    except OSError as error:
        name = f" {os.fsdecode(error.filename)!r}" if error.filename else ""
        raise FileRefused(f"cannot apply the patch to {target}:{name} {error.strerror}") from error
