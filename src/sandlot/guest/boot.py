"""PID 1 of a guest: makes its root file system usable, then becomes the bridge.

It runs once, in the template; clones wake up in the bridge. The memory file system that the kernel started from has
mounted the root, /proc, /sys and /dev, and has put these files into /run/sandlot/lib. Everything here is root's, and
what runs below the agent never is: its processes get a namespace of their own, no capability and uid 1000.

The guest's disks: /dev/vda is its root (squashfs), /dev/vdb its data disk. **Nothing may read /dev/vdb before the
first message after the clone**: the template has another file there than its clones.
"""

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import sys
import time

LIB = "/run/sandlot/lib"
DATA_DISK = "/dev/vdb"
PORT_NAME = "sandlot"
TMP_BYTES = 1 << 30
PORT_WAIT_S = 30.0

NOSUID, NODEV, NOEXEC, REMOUNT = 2, 4, 8, 32
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def limit_tmp(size: int) -> None:
    """Give /tmp and /dev/shm another size, in bytes each."""
    for target in ("/tmp", "/dev/shm"):  # noqa: S108  the guest's
        mount("tmpfs", target, "tmpfs", REMOUNT | NOSUID | NODEV, "mode=1777,size=%d" % size)


def prepare() -> None:
    """What every process inside finds: memory file systems with a size, our files in /etc, a loopback that is up."""
    os.umask(0o022)
    mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, "mode=1777,size=%d" % TMP_BYTES)  # noqa: S108  the guest's
    for folder, mode in (("/dev/shm", 0o1777), ("/dev/pts", 0o755)):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, mode)
    mount("tmpfs", "/dev/shm", "tmpfs", NOSUID | NODEV, "mode=1777,size=%d" % TMP_BYTES)
    mount("devpts", "/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
                         ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")):  # fmt: skip
        path = "/dev/" + name
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        os.symlink(target, path)
    for name in ("full", "null", "random", "tty", "urandom", "zero"):
        os.chmod("/dev/" + name, 0o666)
    # Ours above the environment's; root alone can write there, for the name of a clone.
    os.makedirs("/run/sandlot/etc/work")
    shutil.copytree(LIB + "/etc", "/run/sandlot/etc/upper")
    layers = "lowerdir=/etc,upperdir=/run/sandlot/etc/upper,workdir=/run/sandlot/etc/work"
    mount("overlay", "/etc", "overlay", NOSUID | NODEV, layers)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _UP))
    for name, value in (("kernel/dmesg_restrict", "1"), ("kernel/kptr_restrict", "2"), ("vm/overcommit_memory", "0")):
        with open("/proc/sys/" + name, "w") as file:
            file.write(value)


def open_port() -> int:
    """The channel to the host: the device of our name, which only root can open."""
    end = time.monotonic() + PORT_WAIT_S
    while time.monotonic() < end:
        for entry in os.listdir("/sys/class/virtio-ports"):
            try:
                with open("/sys/class/virtio-ports/%s/name" % entry) as file:
                    if file.read().strip() == PORT_NAME:
                        os.chmod("/dev/" + entry, 0o600)
                        return os.open("/dev/" + entry, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
        time.sleep(0.02)
    raise TimeoutError("the channel to the host is not there")


def main() -> None:
    """Entry point. If it ends, the kernel panics, and QEMU ends with it."""
    try:
        prepare()
        port = open_port()
        from sandlot.guest import bridge

        bridge.main(port)
    except BaseException as error:  # the console is all there is to tell it
        import traceback

        traceback.print_exc()
        print("sandlot: the guest cannot start: %r" % error, file=sys.stderr, flush=True)
        time.sleep(0.2)
    os._exit(1)
