"""Bringing a repository's objects into a copy of it: by hard links where that is safe, else by copying or packing."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from sandlot.bases.gitview import GitView
from sandlot.bases.progress import Progress
from sandlot.bases.repository import read_small
from sandlot.bases.scan import shown
from sandlot.errors import SeedUnreadable

__all__ = ["bring_objects"]

_FANOUT = re.compile(r"[0-9a-f]{2}")
_LOOSE = re.compile(r"[0-9a-f]{38}|[0-9a-f]{62}")
_PACK = re.compile(r"pack-[0-9a-f]{40,64}\.(?:pack|idx|rev|promisor|mtimes)")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COPY_AT_ONCE = 1 << 30


class _Vanished(Exception):
    """An object file went away between listing and linking: the source repacked itself."""


def bring_objects(view: GitView, target: Path, progress: Progress) -> int:
    """Fill the empty folder ``target`` with the objects of a repository; returns the bytes written.

    Object files never change, so those of our own are linked; everything is copied when they are not, or on another
    file system. Objects borrowed from other repositories (alternates) are packed: only what the refs and the index
    reach, never the lender's other history. Raises SeedUnreadable, GitFailed, OSError for our own side.
    """
    (target / "pack").mkdir(parents=True)
    (target / "info").mkdir()
    objects = view.repository.common_dir / "objects"
    alternates = read_small(objects / "info" / "alternates") or b""
    if alternates.strip() or _has_links(objects):
        progress("packing history")
        arguments = ["--revs", "--all", "--indexed-objects", "--delta-base-offset", "--quiet"]
        if view.config.partial:
            arguments.append("--missing=allow-any")
        view.git("pack-objects", *arguments, os.fspath(target / "pack" / "pack"), doing="cannot pack the history")
        return sum(path.stat().st_size for path in (target / "pack").iterdir())
    progress("linking history")
    for attempt in (1, 2):
        try:
            return _bring(objects, target)
        except _Vanished as gone:
            if attempt == 2:
                raise SeedUnreadable(
                    f"{gone} vanished while it was read", hint="try again when git is not repacking there"
                ) from gone
    raise AssertionError("not reached")


def _has_links(objects: Path) -> bool:
    return (
        objects.is_symlink()
        or (objects / "pack").is_symlink()
        or any(entry.is_symlink() for entry in os.scandir(objects))
    )


def _bring(objects: Path, target: Path) -> int:
    written = 0
    for folder in _entries(objects):
        if folder.name == "pack":
            # A pack counts only with its index: the index comes last.
            names = sorted(entry.name for entry in _entries(Path(folder.path)) if _PACK.fullmatch(entry.name))
            names.sort(key=lambda name: name.endswith(".idx"))
        elif _FANOUT.fullmatch(folder.name) and folder.is_dir(follow_symlinks=False):
            names = [entry.name for entry in _entries(Path(folder.path)) if _LOOSE.fullmatch(entry.name)]
            (target / folder.name).mkdir(exist_ok=True)
        else:
            continue
        for name in names:
            written += _bring_file(Path(folder.path) / name, target / folder.name / name)
    return written


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SeedUnreadable(f"cannot read {shown(folder, b'')}: {error.strerror}") from error


def _bring_file(source: Path, target: Path) -> int:
    try:
        info = os.lstat(source)
        if not stat.S_ISREG(info.st_mode):
            raise SeedUnreadable(f"{shown(source, b'')} is no object file")
        if _ours(info) and not os.listxattr(source, follow_symlinks=False):
            try:
                os.link(source, target, follow_symlinks=False)
                return 0
            except FileExistsError:  # a second attempt
                return 0
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    raise
        fd = os.open(source, _READ)
    except FileNotFoundError as error:
        raise _Vanished(shown(source, b"")) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise SeedUnreadable(f"cannot read {shown(source, b'')}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SeedUnreadable(f"{shown(source, b'')} is no object file")
        return _copy(fd, target)
    finally:
        os.close(fd)


def _ours(info: os.stat_result) -> bool:
    """Whether a file is as we would write it: a link to it is then as good as a copy."""
    return info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) in (0o444, 0o440, 0o400)


def _copy(source: int, target: Path) -> int:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while done := _copy_some(source, fd):
            written += done
        os.fchmod(fd, 0o444)
        return written
    finally:
        os.close(fd)


def _copy_some(source: int, target: int) -> int:
    try:
        return os.copy_file_range(source, target, _COPY_AT_ONCE)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return os.sendfile(target, source, None, _COPY_AT_ONCE)
