"""Measuring trees and nameless files, in a process of its own: it may take seconds, and the agent never waits."""

import os
import stat
import time

from sandlot.guest.usage import TMPFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NICE = 5
MOST_LINKS = 100_000
"""Hard-linked files that are remembered, so that each counts once."""
MOST_DESCRIPTORS = 500_000
IN_MEMORY = (*(os.fsencode(path) + b"/" for path in TMPFS), b"/memfd:", b"/SYSV", b"/dev/zero")
"""How the names of mapped files begin that are memory, and counted as such."""


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
            os.write(write, b"%d %d %d %d %d %d %d" % (*found, time.process_time_ns() // 1000))
        finally:
            os._exit(0)
    os.close(write)
    os.set_blocking(read, False)
    return pid, read


def _measure(roots: "list[int]", most_bytes: int, most_inodes: int, ours: "set[int]") -> "tuple[int, ...]":
    """(bytes on disk, inodes, closed folders, bytes in nameless memory files, what hides open files, bytes mapped)."""
    on_disk, memory, hidden, mapped = nameless(ours)
    counter = Counter()
    counter.bytes = on_disk
    for root in roots:
        try:
            walk(root, counter, most_bytes, most_inodes)
        except (OSError, Moved):
            continue
    return counter.bytes, counter.inodes, counter.closed, memory, hidden, mapped


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


def nameless(ours: "set[int]") -> "tuple[int, int, int, int]":
    """(bytes on disk, bytes in memory, hidden, mapped) of files in use that have no name any more.

    ``hidden`` counts the processes that do not let anybody see what they have open, and the sockets that carry open
    files; ``mapped`` the bytes of files on disk that are mapped, which may be open nowhere.
    """
    devices = set()
    for path in TMPFS:
        devices.add(os.stat(path).st_dev)
    seen: set[tuple[int, int]] = set()
    mappings: dict[bytes, int] = {}
    disk = memory = hidden = 0
    left = MOST_DESCRIPTORS
    for pid in _others(ours):
        try:
            names = os.listdir("/proc/%s/fd" % pid)
            _mapped(pid, mappings)
        except PermissionError:
            hidden += 1
            continue
        except OSError:
            continue
        for name in names:
            left -= 1
            if left < 0:
                return disk, memory, hidden + 1, sum(mappings.values())
            try:
                path = "/proc/%s/fd/%s" % (pid, name)
                info = os.stat(path)
                if stat.S_ISSOCK(info.st_mode):
                    hidden += _carries("/proc/%s/fdinfo/%s" % (pid, name))
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
    return disk, memory, hidden, sum(mappings.values())


def _mapped(pid: str, mappings: "dict[bytes, int]") -> None:
    """Add the deleted files on disk that a process has mapped: how far into each."""
    with open("/proc/%s/maps" % pid, "rb") as file:
        for line in file:
            if not line.endswith(b" (deleted)\n"):
                continue
            place, _, offset, device, inode, name = line.split(None, 5)
            if name.startswith(IN_MEMORY):
                continue
            start, end = place.split(b"-")
            key = device + b" " + inode
            mappings[key] = max(mappings.get(key, 0), int(offset, 16) + int(end, 16) - int(start, 16))


def _carries(path: str) -> bool:
    """Whether a socket has open files in its queue, that no process has (they count as open nowhere)."""
    with open(path, "rb", buffering=0) as file:
        text = file.read(4096)
    at = text.find(b"scm_fds:")
    return at >= 0 and text[at + 8 :].split(None, 1)[0] != b"0"


def _others(ours: "set[int]") -> "Iterator[str]":
    """Who is neither the agent, nor a worker, nor we: those let nobody look."""
    left_out = {1, os.getpid(), *ours}
    return (name for name in os.listdir("/proc") if name.isdigit() and int(name) not in left_out)
