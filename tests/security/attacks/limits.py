"""Ways to use more than a workspace may, or to stop who watches; each goes on until it is ended, or for GO_ON_S."""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time

GO_ON_S = 8
MOST = 400 << 20
PIECE = 1 << 20
FORKS = 500

libc = ctypes.CDLL(None, use_errno=True)
END = time.monotonic() + GO_ON_S


def go_on():
    while time.monotonic() < END:
        time.sleep(0.05)


def child(work):
    """Run in a process of its own, which never comes back here."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def daemon(work):
    """Far away from us: a session of its own, parent gone."""

    def leave():
        os.setsid()
        child(work)

    os.waitpid(child(leave), 0)


def fork_bomb():
    for _ in range(FORKS):
        try:
            child(go_on)
        except OSError:
            time.sleep(0.001)
    go_on()


def escaping_bomb():
    """Each process leaves the tree; the command itself is soon done."""

    def spread(depth=0):
        os.setsid()
        for _ in range(8 if depth < 3 else 0):  # 584 of them, should nobody be there to end it
            try:
                child(lambda: spread(depth + 1))
            except OSError:
                time.sleep(0.001)
        go_on()

    daemon(spread)


def thread_bomb():
    for _ in range(FORKS):
        try:
            threading.Thread(target=go_on, daemon=True).start()
        except RuntimeError:
            time.sleep(0.001)
    go_on()


def fill(write):
    for _ in range(MOST // PIECE):
        write(b"x" * PIECE)
    go_on()


def memory_private():
    kept = []
    fill(lambda data: kept.append(bytearray(data)))


def memory_in_many():
    def some():
        kept = bytearray(b"x" * (16 << 20))
        go_on()
        return kept

    for _ in range(30):
        child(some)
    go_on()


def memory_shared():
    shared = mmap.mmap(-1, MOST)
    fill(shared.write)


def memory_nameless():
    """A memory file that is never mapped: in nobody's size."""
    file = os.memfd_create("quiet")
    fill(lambda data: os.write(file, data))


def memory_undumpable():
    """The same, in a process that lets nobody see its descriptors."""
    libc.prctl(4, 0, 0, 0, 0)
    memory_nameless()


def memory_in_flight():
    """The same, in a descriptor that nobody has: it is on its way."""
    left, right = socket.socketpair()
    for _ in range(MOST // PIECE // 10):
        file = os.memfd_create("flying")
        for _ in range(10):
            os.write(file, b"x" * PIECE)
        socket.send_fds(left, [b"x"], [file])
        os.close(file)
    go_on()
    right.close()


def memory_system_v():
    """Segments outlive whoever made them."""
    libc.shmat.restype = ctypes.c_void_p
    for _ in range(MOST // (16 << 20)):
        segment = libc.shmget(0, ctypes.c_size_t(16 << 20), 0o1600)
        place = libc.shmat(segment, None, 0)
        ctypes.memset(place, 1, 16 << 20)
    go_on()


def memory_unlinked():
    file = os.open("/dev/shm/gone", os.O_RDWR | os.O_CREAT)
    os.unlink("/dev/shm/gone")
    fill(lambda data: os.write(file, data))


def disk_plain():
    file = os.open("fill", os.O_RDWR | os.O_CREAT)
    fill(lambda data: os.write(file, data))


def disk_reserved():
    """One call, no byte written."""
    os.posix_fallocate(os.open("fill", os.O_RDWR | os.O_CREAT), 0, MOST)
    go_on()


def disk_home():
    os.chdir(os.environ["HOME"])
    disk_plain()


def disk_deleted():
    file = os.open("fill", os.O_RDWR | os.O_CREAT)
    os.unlink("fill")
    fill(lambda data: os.write(file, data))


def disk_mapped():
    """Neither a name nor a descriptor is left."""
    file = os.open("fill", os.O_RDWR | os.O_CREAT)
    os.unlink("fill")
    os.ftruncate(file, MOST)
    libc.mmap.restype = ctypes.c_void_p
    place = libc.mmap(None, ctypes.c_size_t(MOST), 3, 1, file, ctypes.c_long(0))  # Python's keeps a descriptor
    os.close(file)
    for offset in range(0, MOST, PIECE):
        ctypes.memset(place + offset, 1, PIECE)
    go_on()


def disk_closed():
    """Behind a folder that may not be looked into."""
    os.mkdir("dark")
    file = os.open("dark/fill", os.O_RDWR | os.O_CREAT)
    os.chmod("dark", 0)
    fill(lambda data: os.write(file, data))


def disk_deep():
    for _ in range(2000):
        os.mkdir("d" * 100)
        os.chdir("d" * 100)
    file = os.open("fill", os.O_RDWR | os.O_CREAT)
    fill(lambda data: os.write(file, data))


def disk_unmeasured(number=signal.SIGKILL):
    """Whoever comes to measure is ended before it has looked."""
    there = {name for name in os.listdir("/proc") if name.isdigit()}

    def lurk():
        there.add(str(os.getpid()))
        while time.monotonic() < END:
            for name in os.listdir("/proc"):
                if name.isdigit() and name not in there:
                    try:
                        os.kill(int(name), number)
                    except OSError:
                        pass

    child(lurk)
    time.sleep(0.1)
    disk_plain()


def disk_stopped_measuring():
    disk_unmeasured(signal.SIGSTOP)


def inodes():
    for number in range(20_000):
        os.close(os.open("f%d" % number, os.O_CREAT))
    go_on()


def inodes_of_tmp():
    os.chdir("/tmp")
    inodes()


def stopped_supervisor():
    """Who should end us cannot."""
    os.kill(os.getppid(), signal.SIGSTOP)
    memory_private()


def killed_supervisor():
    daemon(memory_private)
    os.kill(os.getppid(), signal.SIGKILL)
    go_on()


def starved_watcher():
    """Make the agent the least of all, and keep every processor busy."""
    for who in (1, os.getppid()):
        for attempt in (
            lambda who=who: os.sched_setscheduler(who, os.SCHED_IDLE, os.sched_param(0)),
            lambda who=who: os.setpriority(os.PRIO_PROCESS, who, 19),
            lambda who=who: os.setpriority(os.PRIO_PGRP, who, 19),
            lambda who=who: os.sched_setaffinity(who, {0}),
        ):
            try:
                attempt()
            except OSError:
                pass

    def spin():
        while time.monotonic() < END:
            pass

    for _ in range(16):
        child(spin)
    memory_private()


def processors():
    """Use all there are."""
    count = os.cpu_count()
    begun = time.monotonic()
    workers = []
    for _ in range(4):

        def spin():
            while time.monotonic() < begun + 1:
                pass
            os._exit(0)

        workers.append(child(spin))
    used = sum(sum(os.wait4(each, 0)[2][:2]) for each in workers)
    wall = time.monotonic() - begun
    there = len(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, range(count))
        widened = "OK"
    except OSError as error:
        widened = errno.errorcode[error.errno]
    print(json.dumps({"time": used, "wall": wall, "set": there, "widened": widened}), flush=True)


def renice():
    """Which of these the kernel lets us do to the agent."""
    report = {}
    attempts = {
        "idle": lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)),
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),
        "nice group": lambda: os.setpriority(os.PRIO_PGRP, os.getpgid(1), 19),
        "nice user": lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19),
        "affinity": lambda: os.sched_setaffinity(1, {min(os.sched_getaffinity(0))}),
    }
    for name in ("NOFILE", "AS", "CPU", "FSIZE", "NPROC", "STACK", "DATA"):
        kind = getattr(resource, "RLIMIT_" + name)
        attempts["limit " + name] = lambda kind=kind: resource.prlimit(1, kind, (0, resource.prlimit(0, kind)[1]))
    for name, attempt in attempts.items():
        try:
            attempt()
            report[name] = "OK"
        except OSError as error:
            report[name] = errno.errorcode[error.errno]
    print(json.dumps(report), flush=True)


def raised():
    """Give ourselves more open files and processes."""
    report = {}
    for name in ("NOFILE", "NPROC"):
        kind = getattr(resource, "RLIMIT_" + name)
        _, hard = resource.getrlimit(kind)
        try:
            resource.setrlimit(kind, (hard + 1, hard + 1))
            report[name] = "OK" if hard != resource.RLIM_INFINITY else "unlimited"
        except (OSError, ValueError) as error:
            report[name] = type(error).__name__
    print(json.dumps(report), flush=True)


def open_files():
    kept = []
    try:
        for _ in range(10_000):
            kept.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        print(len(kept), flush=True)


def open_files_forever():
    try:
        open_files()
    except OSError:
        go_on()
    raise SystemExit(1)


def pipes():
    """Memory of the kernel: 1 MiB in each pipe."""
    kept = []
    for _ in range(300):
        read, write = os.pipe()
        kept.append((read, write))
        try:
            fcntl.fcntl(write, 1031, 1 << 20)
        except OSError:
            break
        os.set_blocking(write, False)
        os.write(write, b"x" * (1 << 20))
    print(len(kept), flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
