"""What a source folder holds right now: read without following a symlink and without opening a file."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sandlot.bases.descent import FOLDER, Descent, tree_order
from sandlot.errors import PathNotFound, SeedUnreadable

__all__ = ["Found", "Scan", "open_source", "scan_all", "scan_paths", "shown"]

RACY_NS = 20_000_000
"""A file that changed less than this before we looked may change again without its times showing it: clocks of
file systems tick every 4-10 ms."""

MAX_SKIPPED = 100


class Found(NamedTuple):
    """One entry of a source: a regular file, a symlink or a folder. (A tuple: there may be a million of them.)"""

    path: bytes
    info: os.stat_result
    target: bytes = b""
    """Where a symlink points."""

    @property
    def stamp(self) -> bytes:
        """Changes whenever the entry may have changed."""
        info = self.info
        if stat.S_ISDIR(info.st_mode):  # size, links and ctime of a folder also change with what it holds
            return b"%o %d %d" % (info.st_mode, info.st_mtime_ns, info.st_ino)
        return b"%o %d %d %d %d %d" % (
            info.st_mode,
            info.st_size,
            info.st_mtime_ns,
            info.st_ctime_ns,
            info.st_ino,
            info.st_nlink,
        )


@dataclass(slots=True)
class Scan:
    """The entries of a source in tree order, the root (``b""``) first."""

    entries: list[Found] = field(default_factory=list)
    skipped: list[bytes] = field(default_factory=list)
    """Sockets, devices and FIFOs."""
    started_ns: int = field(default_factory=time.time_ns)

    def racy(self, found: Found) -> bool:
        """Whether the entry changed so recently that its stamp proves nothing."""
        return found.info.st_ctime_ns >= self.started_ns - RACY_NS

    @property
    def settled(self) -> bool:
        """Whether no file changed so recently that its stamp proves nothing."""
        latest = max((e.info.st_ctime_ns for e in self.entries if not stat.S_ISDIR(e.info.st_mode)), default=0)
        return latest < self.started_ns - RACY_NS

    def digest(self) -> bytes:
        """A hash over all stamps."""
        whole = hashlib.sha256()
        whole.update(b"".join([b"%s\0%s\0" % (found.path, found.stamp) for found in self.entries]))
        whole.update(b"\0".join(self.skipped))
        return whole.digest()

    def report(self) -> tuple[str, ...]:
        """The skipped paths as an Origin lists them."""
        names = [os.fsdecode(path) for path in self.skipped[:MAX_SKIPPED]]
        return tuple(names)

    def add(self, path: bytes, info: os.stat_result, name: bytes, folder: int) -> None:
        """Take up an entry that is not a folder."""
        if stat.S_ISREG(info.st_mode):
            self.entries.append(Found(path, info))
        elif stat.S_ISLNK(info.st_mode):
            self.entries.append(Found(path, info, os.readlink(name, dir_fd=folder)))
        else:
            self.skipped.append(path)


def shown(root: Path, path: bytes) -> str:
    """A path of the source as a message names it: control codes escaped."""
    text = os.path.join(os.fspath(root), os.fsdecode(path)) if path else os.fspath(root)
    return text if text.isprintable() else ascii(text)


def open_source(root: Path) -> int:
    """A descriptor of the source folder. Raises PathNotFound, SeedUnreadable."""
    try:
        return os.open(root, FOLDER & ~os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PathNotFound(f"no folder at {shown(root, b'')}") from error
    except OSError as error:
        raise SeedUnreadable(f"cannot read {shown(root, b'')}: {error.strerror}") from error


def scan_all(
    root: Path,
    fd: int,
    *,
    forbidden: frozenset[tuple[int, int]] = frozenset(),
    leave_out: Callable[[bytes, list[bytes]], Iterable[bytes]] | None = None,
) -> Scan:
    """Everything below the source folder ``root``, open as ``fd``.

    ``forbidden`` are folders, by device and inode, that must not be in it. ``leave_out(path, names)`` gives the
    names to leave out of one folder. Raises SeedUnreadable.
    """
    scan = Scan()
    scan.entries.append(Found(b"", os.fstat(fd)))
    with Descent(fd) as place:
        pending: list[Iterator[tuple[bytes, os.stat_result]]] = []
        here = b""
        try:
            pending.append(iter(_listing(place.fd, here, leave_out)))
            while pending:
                above = b"".join([part + b"/" for part in place.parts])
                for name, info in pending[-1]:
                    here = path = above + name
                    if not stat.S_ISDIR(info.st_mode):
                        scan.add(path, info, name, place.fd)
                        continue
                    _refuse(root, Found(path, info), forbidden)
                    place.enter(name)
                    scan.entries.append(Found(path, os.fstat(place.fd)))
                    pending.append(iter(_listing(place.fd, path, leave_out)))
                    break
                else:
                    pending.pop()
                    if pending:
                        place.up()
        except OSError as error:
            raise SeedUnreadable(f"cannot read {shown(root, here)}: {error.strerror}") from error
    return scan


def _refuse(root: Path, found: Found, forbidden: frozenset[tuple[int, int]]) -> None:
    if (found.info.st_dev, found.info.st_ino) in forbidden:
        raise SeedUnreadable(
            f"the folder holds sandlot's own state: {shown(root, found.path)}",
            hint="seed a folder that does not, or move the state with SANDLOT_STATE_DIR",
        )


def _listing(
    fd: int, path: bytes, leave_out: Callable[[bytes, list[bytes]], Iterable[bytes]] | None
) -> list[tuple[bytes, os.stat_result]]:
    with os.scandir(fd) as entries:
        listing = [(os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in entries]
    listing.sort(key=lambda item: item[0])
    if leave_out is not None:
        out = set(leave_out(path, [name for name, _ in listing]))
        listing = [item for item in listing if item[0] not in out]
    return listing


def scan_paths(
    root: Path,
    fd: int,
    paths: Iterable[bytes],
    *,
    folders: Set[bytes] = frozenset(),
    forbidden: frozenset[tuple[int, int]] = frozenset(),
) -> Scan:
    """Chosen paths of a source and the folders above them; those that are not there are left out.

    A path that is a folder counts only when it is one of ``folders``. ``forbidden`` is as for scan_all. Raises
    SeedUnreadable.
    """
    scan = Scan()
    scan.entries.append(Found(b"", os.fstat(fd)))
    with Descent(fd) as place:
        above = _Above(root, scan, place, forbidden)
        path = b""
        try:
            for path in sorted(set(paths), key=tree_order):
                *parts, name = path.split(b"/")
                if not above.goto(parts):
                    continue
                try:
                    info = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not stat.S_ISDIR(info.st_mode):
                    above.report()
                    scan.add(path, info, name, place.fd)
                elif path in folders and above.goto([*parts, name]):
                    above.report()
        except OSError as error:
            raise SeedUnreadable(f"cannot read {shown(root, path)}: {error.strerror}") from error
    return scan


class _Above:
    """The folders above the path being looked at; one enters the scan only when something in it was found."""

    def __init__(self, root: Path, scan: Scan, place: Descent, forbidden: frozenset[tuple[int, int]]) -> None:
        self.root = root
        self.forbidden = forbidden
        self.scan = scan
        self.place = place
        self.found: list[Found] = []
        self.reported = 0
        self.missing: list[bytes] | None = None
        """The last folder that turned out not to be there: asking for others below it again is vain."""

    def goto(self, parts: list[bytes]) -> bool:
        """Go to a folder; False when there is none (a symlink in its place is none)."""
        if parts == self.place.parts:
            return True
        if self.missing is not None and parts[: len(self.missing)] == self.missing:
            return False
        common = 0
        for here, there in zip(self.place.parts, parts, strict=False):
            if here != there:
                break
            common += 1
        while len(self.place.parts) > common:
            self.place.up()
            self.found.pop()
        self.reported = min(self.reported, common)
        for depth in range(common, len(parts)):
            try:
                self.place.enter(parts[depth])
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                self.missing = parts[: depth + 1]
                return False
            found = Found(b"/".join(self.place.parts), os.fstat(self.place.fd))
            _refuse(self.root, found, self.forbidden)
            self.found.append(found)
        return True

    def report(self) -> None:
        """Put the folders we are in into the scan, once."""
        self.scan.entries.extend(self.found[self.reported :])
        self.reported = len(self.found)
