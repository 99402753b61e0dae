"""Measuring trees and nameless files, in a process of its own: it may take seconds, and the agent never waits."""

import os
import stat
import time

from sandlot.guest.usage import TMPFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NICE = 10
MOST_LINKS = 100_000
"""Hard-linked files that are remembered, so that each counts once."""
MOST_DESCRIPTORS = 500_000


class Moved(Exception):
    """A folder was moved while it was being walked; what is counted so far is a lower bound."""


class Counter:
    """Bytes on disk and inodes."""

    def __init__(self) -> None:
        self.bytes = 0
        self.inodes = 0
        self.closed = 0
        """Folders we may not look into: their owner has taken that right away, from itself and so from us."""
        self._linked: set[tuple[int, int]] = set()

    def add(self, info: os.stat_result) -> None:
        """Count a file, once for all its names."""
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            key = (info.st_dev, info.st_ino)
            if key in self._linked:
                return
            if len(self._linked) < MOST_LINKS:
                self._linked.add(key)
        self.bytes += info.st_blocks * 512
        self.inodes += 1


def start(roots: "list[int]", most_bytes: int, most_inodes: int, ours: "set[int]") -> "tuple[int, int] | None":
    """(pid, descriptor to read the result from); None when no process can be made now."""
    read, write = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(read)
        os.close(write)
        return None
    if pid == 0:
        try:
            os.nice(NICE)
            found = _measure(roots, most_bytes, most_inodes, ours)
            os.write(write, b"%d %d %d %d %d %d" % (*found, time.process_time_ns() // 1000))
        finally:
            os._exit(0)
    os.close(write)
    os.set_blocking(read, False)
    return pid, read


def _measure(roots: "list[int]", most_bytes: int, most_inodes: int, ours: "set[int]") -> "tuple[int, ...]":
    """(bytes on disk, inodes, closed folders, bytes in nameless memory files, processes that hide what is open)."""
    on_disk, memory, hidden = nameless(ours)
    counter = Counter()
    counter.bytes = on_disk
    for root in roots:
        try:
            walk(root, counter, most_bytes, most_inodes)
        except (OSError, Moved):
            continue
    return counter.bytes, counter.inodes, counter.closed, memory, hidden


def walk(root: int, counter: Counter, most_bytes: int, most_inodes: int) -> None:
    """Count a tree as deep as it may be, by changing into each folder: no path gets too long, no link is followed.

    Stops when there is more than could be allowed. Raises Moved, OSError.
    """
    os.fchdir(root)
    here = os.stat(".")
    levels: list[tuple[os.stat_result, list[str]]] = [(here, _folders(counter))]
    while levels and counter.bytes <= most_bytes and counter.inodes <= most_inodes:
        here, pending = levels[-1]
        if not pending:
            levels.pop()
            if levels:
                os.chdir("..")
                if not os.path.samestat(os.stat("."), levels[-1][0]):
                    raise Moved
            continue
        name = pending.pop()
        try:
            before = os.lstat(name)
            if not stat.S_ISDIR(before.st_mode):
                continue
            os.chdir(name)
        except FileNotFoundError:
            continue
        except OSError:
            counter.closed += 1
            continue
        now = os.stat(".")
        if not os.path.samestat(now, before):
            raise Moved
        levels.append((now, _folders(counter)))


def _folders(counter: Counter) -> "list[str]":
    """Count what is in the current folder; returns the folders there."""
    found = []
    try:
        with os.scandir(".") as entries:
            for entry in entries:
                try:
                    counter.add(entry.stat(follow_symlinks=False))
                    if entry.is_dir(follow_symlinks=False):
                        found.append(entry.name)
                except OSError:
                    continue
    except OSError:
        counter.closed += 1
    return found


def nameless(ours: "set[int]") -> "tuple[int, int, int]":
    """(bytes on disk, bytes in memory) of open files that have no name any more, and how many processes hide theirs."""
    devices = set()
    for path in TMPFS:
        devices.add(os.stat(path).st_dev)
    seen: set[tuple[int, int]] = set()
    disk = memory = hidden = 0
    left = MOST_DESCRIPTORS
    for pid in _others(ours):
        try:
            names = os.listdir("/proc/%s/fd" % pid)
        except PermissionError:
            hidden += 1
            continue
        except OSError:
            continue
        for name in names:
            left -= 1
            if left < 0:
                return disk, memory, hidden + 1
            try:
                path = "/proc/%s/fd/%s" % (pid, name)
                info = os.stat(path)
                if info.st_nlink or not stat.S_ISREG(info.st_mode) or info.st_dev in devices:
                    continue
                if (info.st_dev, info.st_ino) in seen:
                    continue
                seen.add((info.st_dev, info.st_ino))
                if os.readlink(path).startswith("/memfd:"):
                    memory += info.st_blocks * 512
                else:
                    disk += info.st_blocks * 512
            except OSError:
                continue
    return disk, memory, hidden


def _others(ours: "set[int]") -> "Iterator[str]":
    """Who is neither the agent, nor a worker, nor we: those let nobody look."""
    left_out = {1, os.getpid(), *ours}
    return (name for name in os.listdir("/proc") if name.isdigit() and int(name) not in left_out)
