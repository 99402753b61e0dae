"""The watch over what a workspace keeps on the host's disk: bytes and inodes of its changes, and room for everybody.

Asking the file system how much is free costs nothing, but does not say whose it is: only when enough went to matter,
the changes are measured.
"""

import os
import time

from sandlot.guest import measure
from sandlot.guest.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandlot.guest import usage

FLOOR_SHARE = 100
"""Below one part in so many of the disk free, or FLOOR if that is less, a workspace may not grow."""
FLOOR = 2 << 30
GROWTH = 32 << 20
"""How much it may grow there before that counts."""
FILL_RATE = 1 << 30
INODE_RATE = 200_000
PERIOD_S = 10.0
"""The shortest time between measurements that nothing asked for: others may free what we take."""
STIRRED_S = 1.0
"""The same while something works in the kernel, as who writes does, and could fill the room there is in PERIOD_S."""
LONGEST_PERIOD_S = 300.0
COST_SHARE = 20
WAIT_S = 0.03
"""Between looks whether a measurement is ready."""
UNLIMITED = 1 << 62
LATE_S = 5.0
"""A measurement that takes longer is looked at: whether it works, or whether somebody inside keeps it from working."""
STARVED = 200
"""It works if it gets one part in so many of a processor; it gets more among a hundred others that calculate."""
TICKS = os.sysconf("SC_CLK_TCK")


class StorageWatch:
    """Bytes and inodes of the upper trees; inodes of the memory file systems."""

    def __init__(self, values: "dict[str, str]") -> None:
        self.disk = int(values.get("disk", 0)) or UNLIMITED
        self.inodes = int(values.get("inodes", 0)) or UNLIMITED
        self.roots = [
            os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for path in values.get("changes", "").split(":")
            if path
        ]
        self.active = self.disk < UNLIMITED or self.inodes < UNLIMITED
        self.used: tuple[int, int] | None = (0, 0) if values.get("fresh") else None
        self.free = _free() if self.active else (0, 0)
        """The most that the file system had free since ``used`` was measured."""
        self.reference = self.free
        """What it had free then."""
        self.calm = 0
        """Bytes in use when there was room for everybody last."""
        self.pardon = (0, 0)
        self.pardoned_tmp = 0
        self.settle = False
        self.due = False
        self.job: tuple[int, int] | None = None
        self.job_began = 0.0
        self.measured = 0.0
        """When the last measurement that has ended began."""
        self.wanted = False
        self.next_job = 0.0
        self.periodic = 0.0
        self.stirred = 0.0
        self.effort = 0
        """Time that what runs has spent in the kernel; set by who looks."""
        self.effort_measured = 0
        self.result_of_memory: int | None = None
        self.blind = False
        """Whether something can be open of which the last measurement knows nothing."""
        self.before = (0, 0)

    def hopeless(self) -> bool:
        """Whether so much is kept that no command may run any more: each could add what it writes before a look."""
        return self.used is not None and (self.used[0] > 2 * self.disk or self.used[1] > 2 * self.inodes)

    def stale(self, moment: float) -> bool:
        """Whether the last measurement began before that moment, so that it may count what has gone since; then there
        will be another one."""
        self.wanted = self.wanted or self.measured < moment
        return self.measured < moment

    def pids(self) -> "set[int]":
        """The measuring process."""
        return {self.job[0]} if self.job else set()

    def guard(self, processes: "dict[int, usage.Process]") -> None:
        """End a measurement that somebody stopped or starves: it has the uid of what it measures."""
        job = processes.get(self.job[0]) if self.job is not None else None
        if job is None or job.parent != 1:
            return
        age = time.monotonic() - self.job_began
        if job.state in b"Tt" or (age > LATE_S and job.time < age * TICKS / STARVED):
            os.kill(job.pid, signal.SIGKILL)

    def busy(self) -> bool:
        """Whether a measurement is under way, or needed to know what the last command has left."""
        return self.job is not None or self.due

    def wake(self) -> None:
        """Something starts. What it finds in excess it may remove."""
        self.settle = self.used is None or self.used[0] > self.disk or self.used[1] > self.inodes
        self.periodic = time.monotonic() + PERIOD_S

    def want(self, ours: "set[int]") -> None:
        """Measure as soon as may be."""
        self.wanted = True
        if self.job is None and time.monotonic() >= self.next_job:
            self._start(ours)

    def ended(self, word: str) -> None:
        """Something was ended for this limit: what it has left there is measured anew, and what is left is pardoned."""
        if word in ("disk", "inodes"):
            self.settle = True
            self.used = None
            self.next_job = 0.0

    def forgive(self) -> None:
        """What has grown too much has ended already: whoever comes next may remove what it left."""
        if self.used is not None:
            self._pardon(*self.used)

    def look(self, ours: "set[int]") -> "tuple[str, float]":
        """(the limit that is exceeded or "", seconds until the next look)."""
        word, pause = self._look(ours)
        return word, min(pause, WAIT_S) if self.job is not None else pause

    def _look(self, ours: "set[int]") -> "tuple[str, float]":
        if not self.active:
            if self.job is not None:
                self._collect((0, 0))
            return "", LONGEST_PERIOD_S
        free = _free()
        # What others free must not pay for what is written here; if it was freed here, one measurement says so.
        self.free = max(self.free[0], free[0]), max(self.free[1], free[1])
        word = self._collect(free) or self._tmp()
        if word:
            return word, 0.0
        gone = max(0, self.free[0] - free[0]), max(0, self.free[1] - free[1])
        bytes_left, inodes_left = self._room(free)
        used = self.used
        self.due = used is None or used[0] + gone[0] >= bytes_left or used[1] + gone[1] >= inodes_left
        now = time.monotonic()
        if used is None or self.due or self.wanted or now >= self.periodic:
            if self.job is None and now >= self.next_job:
                self._start(ours)
            return "", 0.05
        pause = min((bytes_left - used[0] - gone[0]) / FILL_RATE, (inodes_left - used[1] - gone[1]) / INODE_RATE)
        if self.effort != self.effort_measured and pause < PERIOD_S:
            self.periodic = min(self.periodic, self.stirred)
        return "", pause

    def _room(self, free: "tuple[int, int]") -> "tuple[int, int]":
        """(bytes, inodes) that may be in use."""
        most = max(self.disk, self.pardon[0])
        if free[0] < self._floor():
            most = min(most, self.calm + GROWTH)
        return most, max(self.inodes, self.pardon[1])

    def _floor(self) -> int:
        if not self.active:
            return 0  # only memory is measured here: a guest's disk is held to its size by its kernel
        info = os.fstatvfs(self.roots[0])
        return min(FLOOR, info.f_blocks * info.f_frsize // FLOOR_SHARE)

    def _start(self, ours: "set[int]") -> None:
        self.wanted = False
        self.effort_measured = self.effort
        self.before = _free()
        self.job_began = time.monotonic()
        self.job = measure.start(self.roots, 4 * self.disk, 4 * self.inodes, ours)
        self.next_job = time.monotonic() + 0.1  # again soon when there was no room for a process

    def _collect(self, free: "tuple[int, int]") -> str:
        """Take a measurement's result, if it is there; returns the limit it shows to be exceeded."""
        if self.job is None:
            return ""
        try:
            data = os.read(self.job[1], 256)
        except BlockingIOError:
            return ""
        os.close(self.job[1])
        self.job = None
        self.measured = self.job_began
        now = time.monotonic()
        self.next_job = now + 0.1
        try:
            size, inodes, closed, memory, hidden, mapped, cost = (int(each) for each in data.split())
        except ValueError:
            # It was ended before it had finished, and by whom if not by those it was to measure?
            size, inodes, closed, memory, hidden, mapped, cost = 0, 0, 1, 0, 1, 0, 0
            self.used = self.used or (0, 0)
        self.next_job = now + COST_SHARE * cost / 1e6
        self.periodic = now + max(PERIOD_S, 50 * cost / 1e6)
        self.stirred = now + max(STIRRED_S, 50 * cost / 1e6)
        self.result_of_memory, self.blind = memory, bool(hidden)
        floored = free[0] < self._floor()
        if self.used is not None:
            unseen = max(0, self.used[0] + self.reference[0] - self.before[0] - size)
            if closed or (hidden and floored):
                # Somebody does not let us look: what is gone from the file system counts as theirs.
                size += unseen
                inodes = max(inodes, self.used[1] + self.reference[1] - self.before[1])
            else:  # a mapping tells how long its file is, not how much of that is on the disk
                size += min(unseen, mapped)
        self.used = size, inodes
        self.free = self.reference = self.before
        return self._verdict(size, inodes, floored)

    def _verdict(self, size: int, inodes: int, floored: bool) -> str:
        if not floored:
            self.calm = size
        if size <= self.disk and inodes <= self.inodes:
            self.pardon = (0, 0)
        if self.settle:
            self.settle = False
            self._pardon(size, inodes)
        most = max(self.disk, self.pardon[0])
        if size > most or (floored and size > self.calm + GROWTH):
            return "disk"
        return "inodes" if inodes > max(self.inodes, self.pardon[1]) else ""

    def _pardon(self, size: int, inodes: int) -> None:
        """What was there before, or is left of what was ended, can be removed by commands: they may run, not grow."""
        self.calm = size
        self.pardon = (
            min(size + GROWTH // 8, 2 * self.disk) if size > self.disk else 0,
            min(inodes + 1000, 2 * self.inodes) if inodes > self.inodes else 0,
        )

    def _tmp(self) -> str:
        """Inodes of the memory file systems: the kernel gives them half a machine's worth."""
        for path in ("/tmp", "/dev/shm"):  # noqa: S108  inside
            info = os.statvfs(path)
            count = info.f_files - info.f_ffree
            if count > max(self.inodes, self.pardoned_tmp):
                self.pardoned_tmp = count + 1000
                return "inodes"
        return ""


def _free() -> "tuple[int, int]":
    info = os.statvfs("/workspace")
    return info.f_bfree * info.f_frsize, info.f_ffree
