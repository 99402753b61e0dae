"""PID 1 of a guest: makes its root file system usable, then becomes the bridge.

It runs once, in the template; clones wake up in the bridge. The memory file system that the kernel started from has
mounted the root, /proc, /sys and /dev, and has put these files into /run/sandlot/lib. Everything here is root's, and
what runs below the agent never is: its processes get a namespace of their own, no capability and uid 1000.

The guest's disks: /dev/vda is its root (squashfs); /dev/vdb a new data disk, which is mounted here and of which each
clone has a copy; /dev/vdc the data disk of a clone that does not begin with a new one. **Nothing may read /dev/vdc
before the first message after the clone**: the template has nothing there, and does not know it.
"""

import fcntl
import gc
import os
import shutil
import socket
import stat
import struct
import sys
import time

from sandlot.guest import storage
from sandlot.guest.storage import DETACH, mount, unmount
from sandlot.wire import bridge as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

LIB = "/run/sandlot/lib"
OWN_PYTHON = "/.sandlot-python"
"""Where the root of an environment has the interpreter that runs this; the host's needs none."""
PORT_NAME = "sandlot"
PORT_WAIT_S = 30.0
_PROGRAMS = ("__init__", "probe", "shell_client")
"""Files that are no modules, or that no guest needs."""
_PORTS = "/sys/class/virtio-ports"

_FOR_ALL = ("full", "null", "random", "tty", "urandom", "zero")
_FOR_ROOT = ("console", "vda", "vdb", "vdc")
_KERNEL = {
    "kernel/dmesg_restrict": "1",
    "kernel/kptr_restrict": "2",
    "kernel/perf_event_paranoid": "3",
    "kernel/unprivileged_bpf_disabled": "1",
    "kernel/yama/ptrace_scope": "1",
    "user/max_user_namespaces": "0",  # as bubblewrap's --disable-userns
    "vm/unprivileged_userfaultfd": "0",
}
"""Settings of the guest's kernel: what no command needs, and what its kernel is attacked through most."""
NOSUID, NODEV, NOEXEC, REMOUNT = 2, 4, 8, 32
SHARED = 0x4000 | 0x100000  # all of them, mount_namespaces(7)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _UP = 0x8913, 0x8914, 1


def limit_tmp(size: int) -> None:
    """Give /tmp and /dev/shm another size, in bytes each."""
    for target in ("/tmp", "/dev/shm"):  # noqa: S108  the guest's
        mount("tmpfs", target, "tmpfs", REMOUNT | NOSUID | NODEV, "mode=1777,size=%d" % size)


def _devices() -> None:
    """A /dev with what commands need, and no node of the guest's hardware that they could open."""
    numbers = {name: os.stat("/dev/" + name).st_rdev for name in (*_FOR_ALL, *_FOR_ROOT)}
    unmount("/dev", DETACH)
    mount("tmpfs", "/dev", "tmpfs", NOSUID | NOEXEC, "mode=755,size=64k")
    os.umask(0)
    for name, number in numbers.items():
        kind = stat.S_IFBLK if name.startswith("vd") else stat.S_IFCHR
        os.mknod("/dev/" + name, kind | (0o666 if name in _FOR_ALL else 0o600), number)
    for folder in ("/dev/shm", "/dev/pts"):  # noqa: S108  the guest's
        os.mkdir(folder, 0o755)
    mount("tmpfs", "/dev/shm", "tmpfs", NOSUID | NODEV, "mode=1777,size=%d" % wire.TMP_BYTES)  # noqa: S108
    mount("devpts", "/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
                         ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")):  # fmt: skip
        os.symlink(target, "/dev/" + name)
    os.umask(0o022)


def prepare() -> None:
    """What every process inside finds: memory file systems with a size, our files in /etc, a loopback that is up."""
    os.umask(0o022)
    mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, "mode=1777,size=%d" % wire.TMP_BYTES)  # noqa: S108  the guest's
    _devices()
    # Ours above the environment's; root alone can write there, for the name of a clone.
    os.makedirs("/run/sandlot/etc/work")
    if os.path.isdir(OWN_PYTHON):
        os.makedirs("/run/sandlot/etc/upper/sandlot")  # an environment has accounts of its own
    else:
        shutil.copytree(LIB + "/etc", "/run/sandlot/etc/upper")
    layers = "lowerdir=/etc,upperdir=/run/sandlot/etc/upper,workdir=/run/sandlot/etc/work"
    mount("overlay", "/etc", "overlay", NOSUID | NODEV, layers)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _UP))
    for name, value in _KERNEL.items():
        try:
            with open("/proc/sys/" + name, "w") as file:
                file.write(value)
        except FileNotFoundError:
            pass  # a kernel that cannot do it


def open_port() -> int:
    """The channel to the host: the port of our name. It has no node in /dev that anybody else could open."""
    end = time.monotonic() + PORT_WAIT_S
    while time.monotonic() < end:
        for entry in os.listdir(_PORTS):
            try:
                with open("%s/%s/name" % (_PORTS, entry)) as file:
                    name = file.read().strip()
                with open("%s/%s/dev" % (_PORTS, entry)) as file:
                    major, minor = map(int, file.read().split(":"))
            except FileNotFoundError:
                continue
            if name == PORT_NAME:
                os.mknod("/dev/port", stat.S_IFCHR | 0o600, os.makedev(major, minor))
                try:
                    return os.open("/dev/port", os.O_RDWR | os.O_CLOEXEC)
                finally:
                    os.unlink("/dev/port")
        time.sleep(0.02)
    raise TimeoutError("the channel to the host is not there")


def load() -> "ModuleType":
    """Load all that a clone may need, for it takes an emulated guest long; returns the bridge."""
    from importlib import import_module

    for folder in ("", "/tools"):
        for file in sorted(os.listdir(LIB + "/sandlot/guest" + folder)):
            name, _, ending = file.partition(".")
            if ending == "py" and name not in _PROGRAMS:
                import_module("sandlot.guest%s.%s" % (folder.replace("/", "."), name))
    bridge = import_module("sandlot.guest.bridge")
    gc.collect()
    gc.freeze()  # what is loaded stays as it is, and shared between processes
    return bridge


def get_ready() -> None:
    """Begin everything that a clone does first, so that it goes on where forking and mounting are done."""
    from sandlot.guest import confine, jobs

    storage.Storage().prepare()
    mount("none", "/", "", SHARED)  # the areas, which are mounted later, show in the agent's namespace
    with open(LIB + "/filter", "rb") as file:
        confine.prepare(file.read())
    for _ in range(2):  # one for the template, to take in what it holds for its clones
        jobs.prepare(b"storage")


def main() -> None:
    """Entry point. If it ends, the kernel panics, and QEMU ends with it."""
    try:
        prepare()
        port = open_port()
        storage.find_controls()
        unmount("/sys", DETACH)  # it tells of hardware; what runs inside with bubblewrap has none either
        bridge = load()
        get_ready()
        bridge.main(port)
    except BaseException as error:  # the console is all there is to tell it
        import traceback

        traceback.print_exc()
        print("sandlot: the guest cannot start: %r" % error, file=sys.stderr, flush=True)
        time.sleep(0.2)
    os._exit(1)
