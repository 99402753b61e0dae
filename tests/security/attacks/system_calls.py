"""System calls a workspace has no business with, each in a process of its own: the error that answers, or OK."""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import pty
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"
NUMBERS = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "bpf": (321, 280), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "clone3": (435, 435),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "init_module": (175, 105), "clone": (56, 220),
    "finit_module": (313, 273), "kexec_load": (246, 104), "fsopen": (430, 430), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsconfig": (431, 431), "fspick": (433, 433), "mount_setattr": (442, 442),
    "pidfd_getfd": (438, 438), "kcmp": (312, 272), "reboot": (169, 142), "swapon": (167, 224), "syslog": (103, 116),
    "settimeofday": (164, 170), "fanotify_init": (300, 262), "sethostname": (170, 161), "setuid": (105, 146),
    "setgid": (106, 144), "setgroups": (116, 159), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
}  # fmt: skip
path = ctypes.create_string_buffer(b"/workspace")
tmpfs = ctypes.create_string_buffer(b"tmpfs")
memory = ctypes.create_string_buffer(256)
local = (ctypes.c_ulong * 2)(ctypes.addressof(memory), 64)
remote = (ctypes.c_ulong * 2)(0x400000, 64)
clone_args = (ctypes.c_ulong * 11)(0x10000000)
at = ctypes.addressof


def call(name, *arguments):
    number = NUMBERS[name][0 if X86 else 1]
    return libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(value & (2**64 - 1)) for value in arguments))


def outcome(attempt):
    """Run in a child: what worked must not change us."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ctypes.set_errno(0)
            value = attempt()
            text = "OK" if value is None or value >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")
        except OSError as error:
            text = errno.errorcode.get(error.errno, "?")
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    text = os.read(read, 100).decode()
    os.close(read)
    os.waitpid(child, 0)
    return text or "died"


HIGH = 0xDEADBEEF00000000
attempts = {
    "mount tmpfs": lambda: call("mount", at(tmpfs), at(path), at(tmpfs), 0, 0),
    "mount bind": lambda: call("mount", at(path), at(path), 0, 4096, 0),
    "mount remount rw": lambda: call("mount", 0, at(ctypes.create_string_buffer(b"/usr")), 0, 32 | 4096, 0),
    "umount /proc": lambda: call("umount2", at(ctypes.create_string_buffer(b"/proc")), 2),
    "pivot_root": lambda: call("pivot_root", at(path), at(path)),
    "chroot": lambda: call("chroot", at(path)),
    "setns": lambda: call("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0),
    "clone user": lambda: call("clone", 0x10000000 | 17, 0, 0, 0, 0),
    "clone user with high bits": lambda: call("clone", HIGH | 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": lambda: call("clone3", at(clone_args), 88),
    "bpf": lambda: call("bpf", 0, at(memory), 72),
    "keyctl": lambda: call("keyctl", 0, -3 & 0xFFFFFFFF, 0),
    "add_key": lambda: call("add_key", at(tmpfs), at(tmpfs), at(memory), 1, -3 & 0xFFFFFFFF),
    "request_key": lambda: call("request_key", at(tmpfs), at(tmpfs), 0, 0),
    "io_uring_setup": lambda: call("io_uring_setup", 4, at(memory)),
    "userfaultfd": lambda: call("userfaultfd", 1),
    "perf_event_open": lambda: call("perf_event_open", at(memory), 0, -1, -1, 0),
    "open_by_handle_at": lambda: call("open_by_handle_at", -100, at(memory), 0),
    "name_to_handle_at": lambda: call("name_to_handle_at", -100, at(path), at(memory), at(memory) + 128, 0),
    "init_module": lambda: call("init_module", at(memory), 16, at(memory)),
    "finit_module": lambda: call("finit_module", 0, at(memory), 0),
    "kexec_load": lambda: call("kexec_load", 0, 0, 0, 0),
    "fsopen": lambda: call("fsopen", at(tmpfs), 0),
    "open_tree": lambda: call("open_tree", -100, at(path), 1),
    "move_mount": lambda: call("move_mount", -100, at(path), -100, at(path), 0),
    "fspick": lambda: call("fspick", -100, at(path), 0),
    "mount_setattr": lambda: call("mount_setattr", -100, at(path), 0, at(memory), 32),
    "pidfd_getfd": lambda: call("pidfd_getfd", os.pidfd_open(os.getppid()), 1, 0),
    "pidfd_getfd of the agent": lambda: call("pidfd_getfd", os.pidfd_open(1), 0, 0),
    "kcmp": lambda: call("kcmp", 1, os.getpid(), 0, 0, 0),
    "reboot": lambda: call("reboot", 0, 0, 0, 0),
    "swapon": lambda: call("swapon", at(path), 0),
    "syslog": lambda: call("syslog", 3, at(memory), 100),
    "settimeofday": lambda: call("settimeofday", at(memory), 0),
    "fanotify_init": lambda: call("fanotify_init", 0, 0),
    "sethostname": lambda: call("sethostname", at(tmpfs), 5),
    "setuid": lambda: call("setuid", 0),
    "setgid": lambda: call("setgid", 0),
    "setgroups": lambda: call("setgroups", 0, 0),
    "ptrace attach to the agent": lambda: call("ptrace", 16, 1, 0, 0),
    "ptrace seize of the agent": lambda: call("ptrace", 0x4206, 1, 0, 0),
    "ptrace attach to the supervisor": lambda: call("ptrace", 16, SUPERVISOR, 0, 0),
    "read the agent's memory": lambda: call("process_vm_readv", 1, at(local), 1, at(remote), 1, 0),
    "write the agent's memory": lambda: call("process_vm_writev", 1, at(local), 1, at(remote), 1, 0),
    "read the supervisor's memory": lambda: call("process_vm_readv", SUPERVISOR, at(local), 1, at(remote), 1, 0),
    "mknod of a disk": lambda: os.mknod("/workspace/disk", 0o60600, os.makedev(254, 0)),
    "mknod of memory": lambda: os.mknod("/workspace/mem", 0o20600, os.makedev(1, 1)),
    "chown to another": lambda: os.chown(os.open("/workspace/mine", os.O_CREAT | os.O_WRONLY, 0o600), 12345, -1),
}
SUPERVISOR = os.getppid()
for flag in ("NEWNS", "NEWCGROUP", "NEWUTS", "NEWIPC", "NEWUSER", "NEWPID", "NEWNET", "NEWTIME"):
    bit = {"NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000, "NEWUSER": 0x10000000,
           "NEWPID": 0x20000000, "NEWNET": 0x40000000, "NEWTIME": 0x80}[flag]  # fmt: skip
    attempts["unshare " + flag] = lambda bit=bit: call("unshare", bit)
for name, family in (("AX25", 3), ("PACKET", 17), ("ALG", 38), ("VSOCK", 40), ("XDP", 44), ("BLUETOOTH", 31),
                     ("KEY", 15), ("TIPC", 30), ("CAN", 29), ("RDS", 21), ("KCM", 41), ("SMC", 43)):  # fmt: skip
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        attempts["AF_%s %d" % (name, kind)] = lambda family=family, kind=kind: socket.socket(family, kind).close()
for name, family in (("INET", socket.AF_INET), ("INET6", socket.AF_INET6)):
    attempts["raw " + name] = lambda family=family: socket.socket(family, socket.SOCK_RAW, 1).close()
attempts["AF_PACKET with high bits"] = lambda: libc.syscall(
    ctypes.c_long(41 if X86 else 198), ctypes.c_ulong(HIGH | 17), ctypes.c_ulong(3), ctypes.c_ulong(0)
)


def type_into(padding):
    """TIOCSTI on a terminal of our own; a real one is the host's."""
    _leader, follower = pty.openpty()
    number = 16 if X86 else 29
    letter = ctypes.create_string_buffer(b"x")
    return libc.syscall(
        ctypes.c_long(number), ctypes.c_ulong(follower), ctypes.c_ulong(padding | 0x5412), ctypes.c_void_p(at(letter))
    )


attempts["TIOCSTI"] = lambda: type_into(0)
attempts["TIOCSTI with high bits"] = lambda: type_into(HIGH)
attempts["TIOCSTI with one high bit"] = lambda: type_into(1 << 32)
attempts["TIOCLINUX"] = lambda: fcntl.ioctl(pty.openpty()[1], 0x541C, b"\3")
attempts["the controlling terminal"] = lambda: os.close(os.open("/dev/tty", os.O_RDWR))
attempts["a virtual console"] = lambda: os.close(os.open("/dev/tty1", os.O_RDWR))
attempts["/dev/kmsg"] = lambda: os.close(os.open("/dev/kmsg", os.O_RDWR))
attempts["/dev/fuse"] = lambda: os.close(os.open("/dev/fuse", os.O_RDWR))
attempts["/dev/kvm"] = lambda: os.close(os.open("/dev/kvm", os.O_RDWR))


def i386(number):
    """A system call by the 32-bit gate: mov eax, number; int 0x80; ret."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\x31\xdb\x31\xc9\x31\xd2\xb8" + number.to_bytes(4, "little") + b"\xcd\x80\xc3")
    code = ctypes.CFUNCTYPE(ctypes.c_int)(at(ctypes.c_char.from_buffer(page)))
    value = code()
    ctypes.set_errno(max(0, -value))
    return value


if X86:
    attempts["i386 getpid"] = lambda: i386(20)
    attempts["i386 mount"] = lambda: i386(21)
    attempts["i386 unshare"] = lambda: i386(310)
    attempts["x32 getpid"] = lambda: libc.syscall(ctypes.c_long(0x40000000 + 39))
    attempts["x32 mount"] = lambda: libc.syscall(ctypes.c_long(0x40000000 + 165), 0, 0, 0, 0, 0)

report = {name: outcome(attempt) for name, attempt in attempts.items()}
with open("/proc/self/status") as file:
    status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
json.dump({"calls": report, "status": status}, sys.stdout)
