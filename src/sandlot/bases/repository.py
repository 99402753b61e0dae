"""Finding the git folder of a working copy, and refusing one that would lead us to somebody else's repository.

A working copy unpacked from an unknown archive may name any git folder on this machine as its own (by a ``.git`` file,
a ``commondir``, a symlink), and its content would then be in the workspace. So a git folder outside the source counts
only when it points back.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.scan import shown
from sandlot.errors import GitFailed

__all__ = ["Repository", "bare_repository", "find_repository", "read_small"]

SMALL = 1 << 20
_PARTS = ("objects", "refs", "packed-refs", "config", "shallow", "info", "reftable")


@dataclass(frozen=True, slots=True)
class Repository:
    """Where the parts of a repository are."""

    root: Path
    """The working copy, or the repository itself when it is bare."""
    git_dir: Path
    """What belongs to this working copy: HEAD, index."""
    common_dir: Path
    """What all linked working copies share: objects, refs, config."""
    bare: bool = False


def read_small(path: Path, limit: int = SMALL) -> bytes | None:
    """The content of a regular file, or None when it is no such thing. Never blocks, never follows a symlink.

    Raises GitFailed when it is longer than ``limit`` bytes or cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise GitFailed(f"cannot read {shown(path, b'')}: {error.strerror}") from error
    with open(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return None
        if info.st_size > limit:
            raise GitFailed(f"{shown(path, b'')} is too large for what it is: {info.st_size} bytes")
        return file.read(limit)


def bare_repository(root: Path) -> Repository:
    """A folder that is a repository without a working copy. Raises GitFailed."""
    real = Path(os.path.realpath(root))
    _check(root, real, real)
    return Repository(root, real, real, bare=True)


def find_repository(root: Path, *, trusted: tuple[Path, ...] = ()) -> Repository | None:
    """The repository of the working copy ``root``, or None when its ``.git`` is not one.

    ``trusted`` are git folders that may hold this one (a submodule's is inside the superproject's). Raises GitFailed
    when ``.git`` leads somewhere it should not.
    """
    link = root / ".git"
    try:
        info = os.lstat(link)
    except OSError:
        return None
    if stat.S_ISDIR(info.st_mode):
        git_dir = Path(os.path.realpath(link))
    else:
        named = _named_git_dir(root, link, info)
        if named is None:
            return None
        git_dir = named
        if not _belongs(root, git_dir, trusted):
            raise GitFailed(
                f"{shown(link, b'')} leads to {shown(git_dir, b'')}, which knows nothing of this working copy",
                hint=f"if it is yours: git --git-dir={git_dir} config core.worktree {os.path.realpath(root)}",
            )
    common_dir = _common_dir(git_dir)
    if not (common_dir / "objects").is_dir() or not os.path.lexists(git_dir / "HEAD"):
        return None
    _check(root, git_dir, common_dir)
    return Repository(root, git_dir, common_dir)


def _named_git_dir(root: Path, link: Path, info: os.stat_result) -> Path | None:
    if stat.S_ISLNK(info.st_mode):
        git_dir = Path(os.path.realpath(link))
    else:
        text = read_small(link)
        if text is None or not text.startswith(b"gitdir: "):
            return None
        git_dir = Path(os.path.realpath(root / os.fsdecode(text[len(b"gitdir: ") :].rstrip(b"\r\n"))))
    return git_dir if git_dir.is_dir() else None


def _belongs(root: Path, git_dir: Path, trusted: tuple[Path, ...]) -> bool:
    real_root = os.path.realpath(root)
    if any(git_dir.is_relative_to(folder) for folder in (Path(real_root), *trusted)):
        return True
    back = read_small(git_dir / "gitdir")  # of a linked working copy: the path of its .git file
    if back is not None:
        named = os.path.join(git_dir, os.fsdecode(back.strip(b"\r\n")))
        return os.path.realpath(os.path.dirname(named)) == real_root and os.path.basename(named) == ".git"
    return os.path.realpath(git_dir / _work_tree(git_dir)) == real_root


def _work_tree(git_dir: Path) -> str:
    """``core.worktree`` of a git folder, as git writes it; '' (the folder itself) when it has none."""
    section = ""
    for line in (read_small(git_dir / "config") or b"").decode("utf-8", "surrogateescape").splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text.lower()
        name, equals, value = text.partition("=")
        if section == "[core]" and equals and name.strip().lower() == "worktree":
            return value.strip().strip('"')
    return ""


def _common_dir(git_dir: Path) -> Path:
    text = read_small(git_dir / "commondir")
    if text is None:
        return git_dir
    common = Path(os.path.realpath(git_dir / os.fsdecode(text.rstrip(b"\r\n"))))
    if git_dir.parent != common / "worktrees":
        raise GitFailed(f"{shown(git_dir, b'')} claims to be part of {shown(common, b'')} and is not inside it")
    return common


def _check(root: Path, git_dir: Path, common_dir: Path) -> None:
    """Refuse a git folder whose parts are symlinks to elsewhere."""
    for folder in {git_dir, common_dir}:
        for part in _PARTS:
            path = folder / part
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(common_dir):
                raise GitFailed(
                    f"{shown(path, b'')} is a symlink that leaves the repository", hint="seed from a clone of it"
                )
    if not (common_dir / "objects").is_dir():
        raise GitFailed(f"{shown(root, b'')} is not a git repository")
