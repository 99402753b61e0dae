"""What runs in a workspace and how much memory it holds, read from /proc and the memory file systems."""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PAGE = os.sysconf("SC_PAGE_SIZE")
TMPFS = ("/tmp", "/dev/shm", "/run")  # noqa: S108  inside, file systems of the workspace's own
NODE_BYTES = 1024
"""What a file in a memory file system costs the kernel, empty as it may be."""
EXACT_S = 0.05
"""How long one look may spend on telling shared memory from private; the rest is estimated."""
LEFTOVERS = 0
"""The group of what ended commands have left behind."""


class Process:
    """A line of the process table."""

    __slots__ = ("parent", "pid", "rss", "start", "state", "system", "threads", "time")

    def __init__(self, pid: int, text: bytes) -> None:
        fields = text[text.rindex(b")") + 2 :].split(None, 22)
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.system = int(fields[12])  # ticks in the kernel: where whoever fills a file system spends its time
        self.time = self.system + int(fields[11])
        self.threads = int(fields[17])
        self.start = int(fields[19])
        self.rss = int(fields[21]) * PAGE


def table() -> "dict[int, Process]":
    """Every process in our pid namespace, zombies included: they hold a number too."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb", buffering=0) as file:
                    found[int(name)] = Process(int(name), file.read(4096))
            except (OSError, ValueError, IndexError):
                continue
    return found


def grouped(
    processes: "dict[int, Process]", roots: "Collection[int]", ours: "Collection[int]"
) -> "dict[int, list[Process]]":
    """The processes that are not ours by the worker they descend from; LEFTOVERS: from none."""
    owner: dict[int, int] = {root: root for root in roots}
    owner[1] = LEFTOVERS
    found: dict[int, list[Process]] = {}
    for pid, process in processes.items():
        if pid in ours:
            continue
        path = []
        at = pid
        while at not in owner:
            path.append(at)
            at = processes[at].parent if at in processes else 1
        for each in path:
            owner[each] = owner[at]
        found.setdefault(owner[pid], []).append(process)
    return found


def held_by_tmpfs() -> int:
    """Bytes that files in memory file systems and System V segments hold, whoever made them."""
    total = 0
    for path in TMPFS:
        try:
            info = os.statvfs(path)
        except OSError:
            continue
        total += (info.f_blocks - info.f_bfree) * info.f_frsize + (info.f_files - info.f_ffree) * NODE_BYTES
    try:
        with open("/proc/sysvipc/shm", "rb", buffering=0) as file:
            for line in file.read(1 << 20).splitlines()[1:]:
                total += int(line.split()[14])  # rss, of this namespace's segments only
    except (OSError, ValueError, IndexError):
        pass
    return total


def shared_on_host() -> int:
    """Bytes of shared memory on the whole machine: that it grows is the hint to look for files without a name."""
    try:
        with open("/proc/meminfo", "rb", buffering=0) as file:
            text = file.read(4096)
        at = text.index(b"Shmem:")
        return int(text[at + 6 : at + 40].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return 0


def counted(descriptor: int) -> int:
    """Bytes of memory that a control group's ``memory.stat`` counts, without the cache of files; 0: it does not say."""
    try:
        text = os.pread(descriptor, 16384, 0)
    except OSError:
        return 0
    values = dict(line.split(b" ", 1) for line in text.splitlines() if b" " in line)
    if b"total_rss" in values:  # version 1
        return int(values[b"total_rss"]) + int(values.get(b"total_shmem", 0))
    return sum(int(values.get(name, 0)) for name in (b"anon", b"shmem", b"kernel_stack", b"pagetables"))


def resident(pid: int) -> "tuple[int, int]":
    """(private, shared) memory of a process that is no file's, counting what it shares as if it had it alone."""
    try:
        with open("/proc/%d/status" % pid, "rb", buffering=0) as file:
            return _sizes(file.read(8192), b"RssAnon:", b"RssShmem:")
    except OSError:
        return 0, 0


def proportional(pid: int) -> "tuple[int, int] | None":
    """As ``resident``, with shared pages divided by how many have them. None: it does not let itself be looked at."""
    try:
        with open("/proc/%d/smaps_rollup" % pid, "rb", buffering=0) as file:
            return _sizes(file.read(8192), b"Pss_Anon:", b"Pss_Shmem:")
    except OSError:
        return None


def _sizes(text: bytes, *names: bytes) -> "tuple[int, int]":
    found = []
    for name in names:
        at = text.find(b"\n" + name)
        found.append(int(text[at + 1 + len(name) :].split(None, 1)[0]) * 1024 if at >= 0 else 0)
    return found[0], found[1]


def memory(processes: "Iterable[Process]", tmpfs: int, limit: int) -> int:
    """Bytes of memory in use. Precise only as far as it matters: far below the limit an upper bound will do."""
    processes = list(processes)
    rough = sum(process.rss for process in processes) + tmpfs
    if rough < limit // 2:
        return rough
    sizes = {process.pid: resident(process.pid) for process in processes}
    total = _sum(sizes, tmpfs)
    if total <= limit:
        return total
    # Forked processes share most of their memory, which the sum above counts for each of them.
    end = time.monotonic() + EXACT_S
    before = after = 0
    for pid in sorted(sizes, key=lambda each: sum(sizes[each]), reverse=True):
        exact = proportional(pid)
        before += sum(sizes[pid])
        if exact is not None:
            sizes[pid] = exact
        after += sum(sizes[pid])
        total = _sum(sizes, tmpfs)
        if total <= limit:
            return total
        if time.monotonic() > end:
            everything = before + sum(sum(size) for size in sizes.values()) - after
            return max(tmpfs, everything * after // max(1, before))
    return total


def _sum(sizes: "dict[int, tuple[int, int]]", tmpfs: int) -> int:
    """Shared memory is mostly files in memory file systems, mapped: counted once."""
    return sum(size[0] for size in sizes.values()) + max(tmpfs, sum(size[1] for size in sizes.values()))
