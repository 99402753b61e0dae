"""Holding the workspace to its limits: what the agent looks at while something runs, and what it ends.

An idle workspace costs nothing: nobody looks when nothing runs. The agent does not wait for anything here; what could
take long, measuring trees, is done by a process of its own (see measure.py).
"""

import errno
import os
import time

from sandlot.guest import tree, usage
from sandlot.guest.signals import signal
from sandlot.guest.storage_watch import StorageWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Collection
    from typing import Protocol

    class Watched(Protocol):
        """A worker that runs a command, as the agent knows it."""

        control: "_socket.socket"
        pid: int
        running: bool


FIRST_S = 0.02
"""A command that ends sooner is never looked at, and costs nothing."""
SHORTEST_S = 0.025
LONGEST_S = 1.0
QUIET_S = 0.25
"""The longest pause while what runs is near no limit but could get there fast."""
MEMORY_RATE = 2 << 30
"""Bytes a second that a program may be expected to take at most."""
PROCESS_RATE = 4000
REFUSED_S = 0.1
"""The shortest pause when the kernel stops a fork bomb, and it only remains to be told and ended."""
COST_SHARE = 10
"""Looking takes at most one part in so many of a processor."""
HOLD_S = 0.3
"""How long what was told to end may take before it is ended from here, and before anything else is blamed."""
NO_SPACE = os.strerror(errno.ENOSPC).encode()
TOO_MANY = os.strerror(errno.EMFILE).encode()
PERSISTENT = 32 << 20
"""Bytes for programs when files in memory alone fill the limit: enough to remove them."""


class Limits:
    """What the launcher told: ``name=value`` pairs, joined by commas; a name that is absent is no limit."""

    def __init__(self, text: str) -> None:
        self.values = {name: value for name, _, value in (each.partition("=") for each in text.split(",")) if value}

    def get(self, name: str) -> int:
        """A number; 0: no limit, or not given."""
        return int(self.values.get(name, 0))


def own_descriptors(text: str) -> None:
    """Keep the descriptors that the launcher passed from what we start."""
    limits = Limits(text)
    for descriptor in filter(None, (limits.get("oom"), limits.get("forks"), limits.get("stat"))):
        os.set_inheritable(descriptor, False)


class Watch:
    """Looks at intervals that depend on how near the nearest limit is."""

    def __init__(self, text: str) -> None:
        limits = Limits(text)
        self.memory = limits.get("memory")
        self.processes = limits.get("processes")
        self.refused = bool(limits.get("refused"))
        """Whether the kernel refuses processes beyond the limit."""
        Hits.events = Events(limits.get("oom"), limits.get("forks"))
        Hits.files = bool(limits.get("files"))
        Hits.processes = self.processes
        self.storage = StorageWatch(limits.values)
        self.files = limits.get("files")
        self.at = 0.0
        # Seconds of a processor that the last look took: much more where it is emulated, which the launcher knows.
        self.cost = limits.get("cost") / 1000
        self.told: dict[int, float] = {}
        self.systems: dict[int, tuple[int, int]] = {}
        self.nameless = 0  # bytes in memory files without a name, as last measured
        self.shared_base = 0
        self.stat = limits.get("stat")

    def wake(self) -> None:
        """Something is being started."""
        if not self.at and (self.memory or self.processes or self.storage.active):
            self.at = time.monotonic() + max(FIRST_S, COST_SHARE * self.cost)
            self.shared_base = usage.shared_on_host() - usage.held_by_tmpfs() if self.memory else 0
            self.storage.wake()

    def restrict(self) -> None:
        """In a worker: what holds for each process, and cannot be raised again without privileges."""
        if self.files:
            import resource

            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            most = self.files if hard == resource.RLIM_INFINITY else min(self.files, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def sooner(self, timeout: "float | None") -> "float | None":
        """Milliseconds until the next look, or until ``timeout`` if that comes first."""
        if not self.at:
            return timeout
        left = max(0.0, (self.at - time.monotonic()) * 1000 + 0.5)
        return left if timeout is None else min(left, timeout)

    def due(self) -> bool:
        """Whether it is time to look."""
        return bool(self.at) and time.monotonic() >= self.at

    def look(self, commands: "Collection[Watched]", tools: "Collection[int]") -> None:
        """Look once, end what exceeds a limit, and plan the next look."""
        before = time.thread_time()  # what it costs, not how long a busy machine takes: it must look there too
        processes = usage.table()
        roots = {command.pid for command in commands}.union(tools)
        ours = roots.union({1}, self.storage.pids())
        groups = usage.grouped(processes, roots, ours)
        if not groups and not roots and not self._settle(ours):
            return
        self.told = {root: since for root, since in self.told.items() if root in groups}
        self.storage.guard(processes)
        pause, found = self._judge(groups, ours)
        if found is not None and self._end(found[0], found[1], commands, ours):
            pause = SHORTEST_S
        self.systems = {each.pid: (each.start, each.system) for group in groups.values() for each in group}
        self.cost = time.thread_time() - before
        self.at = time.monotonic() + max(SHORTEST_S, min(pause, LONGEST_S), COST_SHARE * self.cost)

    def _settle(self, ours: "set[int]") -> bool:
        """Nothing runs any more; whether there still is something to find out."""
        word, _ = self.storage.look(ours)
        if word:
            self.storage.forgive()
        if self.storage.busy():
            return True
        self.at = 0.0
        self.told.clear()
        self.systems.clear()
        return False

    def _judge(
        self, groups: "dict[int, list[usage.Process]]", ours: "set[int]"
    ) -> "tuple[float, tuple[str, int] | None]":
        """(seconds until the next look, (limit, group to end) or None)."""
        pauses = [LONGEST_S]
        if self.processes:
            count = sum(each.threads for group in groups.values() for each in group)
            if count > self.processes:
                return SHORTEST_S, ("processes", _most(groups, lambda each: each.threads))
            pauses.append(max((self.processes - count) / PROCESS_RATE, REFUSED_S if self.refused else 0.0))
        if self.memory and groups:
            used, lasting = self._memory_used(groups, ours)
            if used > max(self.memory, lasting + PERSISTENT):
                return SHORTEST_S, ("memory", self._memory_culprit(groups, lasting))
            pauses.append(min(QUIET_S, (self.memory - used) / MEMORY_RATE))
        self.storage.effort = sum(each.system for group in groups.values() for each in group)
        word, pause = self.storage.look(ours)
        pauses.append(pause)
        return min(pauses), (word, self._busiest(groups)) if word and groups else None

    def _memory_used(self, groups: "dict[int, list[usage.Process]]", ours: "set[int]") -> "tuple[int, int]":
        """(bytes in use, bytes of them that stay when every process is ended)."""
        lasting = usage.held_by_tmpfs()
        if self.stat:
            counted = usage.counted(self.stat)
            if counted:
                return counted, lasting
        grown = usage.shared_on_host() - lasting - self.shared_base
        if self.storage.result_of_memory is not None:
            self.nameless, self.storage.result_of_memory = self.storage.result_of_memory, None
            if self.storage.blind:  # who hides files has to take the blame for what the whole machine uses more
                self.nameless = max(self.nameless, grown)
        if grown > self.nameless + max(16 << 20, self.memory // 16):
            self.storage.want(ours)  # memory files that nobody has mapped are in no process's size
        elif grown < self.nameless // 2:
            self.nameless = max(0, grown)
        everyone = [each for group in groups.values() for each in group]
        return usage.memory(everyone, lasting, self.memory) + self.nameless, lasting

    def _memory_culprit(self, groups: "dict[int, list[usage.Process]]", lasting: int) -> int:
        sizes = {root: sum(sum(usage.resident(each.pid)) for each in group) for root, group in groups.items()}
        if lasting + self.nameless > self.memory // 2 and max(sizes.values()) < self.memory // 4:
            return self._busiest(groups)  # files in memory: of whoever is writing
        return max(sizes, key=lambda root: sizes[root])

    def _busiest(self, groups: "dict[int, list[usage.Process]]") -> int:
        """The group that spent the most time in the kernel since the last look, as who fills a file system does."""

        def spent(each: usage.Process) -> int:
            start, before = self.systems.get(each.pid, (0, 0))
            return each.system - before if start == each.start else each.system

        recent = {root: sum(map(spent, group)) for root, group in groups.items()}
        total = {root: sum(each.system for each in group) for root, group in groups.items()}
        return max(groups, key=lambda root: (recent[root], total[root]))

    def _end(self, word: str, root: int, commands: "Collection[Watched]", ours: "set[int]") -> bool:
        """End a group; False when the one that was told to end last is still about to, and nobody else is blamed."""
        now = time.monotonic()
        if self.told and now - max(self.told.values()) < HOLD_S:
            return True
        self.storage.ended(word)
        command = next((each for each in commands if each.pid == root), None)
        if command is not None and command.running and root not in self.told:
            self.told[root] = now
            try:
                command.control.send(b"X" + word.encode())  # it ends its tree and reports why
                return True
            except OSError:
                pass  # it is just ending
        self.told[root] = now
        if root == usage.LEFTOVERS:
            end_leftovers(ours)
        else:
            tree.kill_all(root)
        return True


def _most(groups: "dict[int, list[usage.Process]]", measure: "object") -> int:
    return max(groups, key=lambda root: sum(measure(each) for each in groups[root]))  # type: ignore[operator]  # see its callers


def end_leftovers(ours: "set[int]") -> None:
    """Stop, then kill, whatever descends from none of our own processes."""
    stopped: set[int] = set()
    for _ in range(tree.PASSES):
        left = usage.grouped(usage.table(), ours - {1}, ours).get(usage.LEFTOVERS, [])
        fresh = [each.pid for each in left if each.pid not in stopped and each.state not in b"ZX"]
        if not fresh:
            break
        tree.send(fresh, signal.SIGSTOP)
        stopped.update(fresh)
    tree.send(
        [each.pid for each in usage.grouped(usage.table(), ours - {1}, ours).get(usage.LEFTOVERS, [])], signal.SIGKILL
    )


class Events:
    """How often the kernel has refused memory or processes: two files that the launcher opened, or none."""

    def __init__(self, oom: int, forks: int) -> None:
        self.files = {"memory": (oom, b"oom_kill "), "processes": (forks, b"max ")}

    def counts(self) -> "dict[str, int]":
        """The present counts."""
        return {name: self._count(*entry) for name, entry in self.files.items() if entry[0]}

    def _count(self, descriptor: int, name: bytes) -> int:
        try:
            for line in os.pread(descriptor, 4096, 0).splitlines():
                if line.startswith(name):
                    return int(line[len(name) :])
        except (OSError, ValueError):
            pass
        return 0


class Hits:
    """What limit a command ran into: made when it starts, asked when it has ended."""

    events = Events(0, 0)
    """The workspace's; set by the agent, born with its workers."""
    files = False
    """Whether open files are limited."""
    processes = 0
    """The limit of processes; 0: there is none."""

    def __init__(self) -> None:
        self.before = self.events.counts()

    def reason(self, status: int) -> str:
        """The reason of a wait status: '' unless the command failed and the kernel has refused something meanwhile."""
        if status == 0:
            return ""
        now = self.events.counts()
        grown = [name for name, count in now.items() if count > self.before.get(name, 0)]
        if "memory" in grown:
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            return "limit:memory" if killed else "hit:memory"
        if grown or self._crowded():
            return "hit:processes"
        if any(_full(path) for path in ("/tmp", "/dev/shm")):  # noqa: S108  inside
            return "hit:tmp"
        return "hit:disk" if _full("/workspace") else ""

    def _crowded(self) -> bool:
        """Whether there are more processes than the limit allows, so that the kernel may have refused one just now."""
        return bool(self.processes) and sum(each.threads for each in usage.table().values()) > self.processes

    def reason_said(self, status: int, words: bytes) -> str:
        """The same by what it said at last: nobody counts refused files, and what was full may have room again."""
        if status == 0:
            return ""
        if NO_SPACE in words and not _full("/workspace"):
            return "hit:tmp"
        at = words.rfind(TOO_MANY) if self.files else -1
        return "" if at < 0 or words[at + len(TOO_MANY) :].startswith(b" in system") else "hit:open_files"


def _full(path: str) -> bool:
    try:
        info = os.statvfs(path)
    except OSError:
        return False
    return info.f_bavail == 0 or (info.f_files > 0 and info.f_favail == 0)
