"""The system-call filter, as classic BPF (kernel.org, Documentation/userspace-api/seccomp_filter.rst).

Written out here because libseccomp would be a native dependency for a hundred instructions. The filter allows by
default and denies what has no place in a workspace: it narrows the kernel's attack surface behind the namespaces, it is
not the wall itself; a guest's own kernel has it, too, for behind that kernel is the emulator. Arguments that the kernel
takes as 32-bit integers are compared by their low 32 bits only, so garbage in the high half cannot slip past (TIOCSTI
with high bits).
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sandlot.errors import IsolationUnavailable

__all__ = ["program"]

_LD_W_ABS, _JEQ, _JGE, _JSET, _RET, _JA = 0x20, 0x15, 0x35, 0x45, 0x06, 0x05
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data, little endian, low words

_NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET."""
_CLONE_NEWTIME = 0x80
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. AF_VSOCK for one ignores the network namespace."""


@dataclass(frozen=True, slots=True)
class _Architecture:
    audit: int
    x32: bool
    numbers: dict[str, int]
    of_processes: dict[str, int]
    """Calls that change how another process is scheduled, or its resource limits."""
    of_setups: dict[str, int]
    """Calls that change who owns a file or process, or wait for the disk."""


# Numbers from the kernel's tables (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
# Calls added after Linux 5.1 share their number on all architectures.
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "pidfd_getfd": 438,
    "mount_setattr": 442, "quotactl_fd": 443, "open_tree_attr": 467,
}  # fmt: skip
_X86_64 = {
    "ioctl": 16, "socket": 41, "socketpair": 53, "clone": 56, "unshare": 272, "setns": 308,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "syslog": 103, "acct": 163, "settimeofday": 164,
    "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172,
    "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "clock_settime": 227, "kexec_load": 246,
    "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256, "perf_event_open": 298,
    "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305, "kcmp": 312,
    "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, "adjtimex": 159, "modify_ldt": 154,
    "uselib": 134, "vhangup": 153, "lookup_dcookie": 212, "nfsservctl": 180, "create_module": 174,
    "get_kernel_syms": 177, "query_module": 178, "_sysctl": 156, "sysfs": 139, "mbind": 237, "set_mempolicy": 238,
    "move_pages": 279,
}  # fmt: skip
_AARCH64 = {
    "ioctl": 29, "socket": 198, "socketpair": 199, "clone": 220, "unshare": 97, "setns": 268,
    "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "syslog": 116, "acct": 89, "settimeofday": 170,
    "swapon": 224, "swapoff": 225, "reboot": 142, "sethostname": 161, "setdomainname": 162, "init_module": 105,
    "delete_module": 106, "quotactl": 60, "clock_settime": 112, "kexec_load": 104, "add_key": 217, "request_key": 218,
    "keyctl": 219, "migrate_pages": 238, "perf_event_open": 241, "fanotify_init": 262, "name_to_handle_at": 264,
    "open_by_handle_at": 265, "clock_adjtime": 266, "kcmp": 272, "finit_module": 273, "kexec_file_load": 294,
    "bpf": 280, "userfaultfd": 282, "adjtimex": 171, "vhangup": 58, "lookup_dcookie": 18, "nfsservctl": 42,
    "mbind": 235, "set_mempolicy": 237, "move_pages": 239,
}  # fmt: skip
_X86_64_OF_PROCESSES = {
    "setpriority": 141, "sched_setparam": 142, "sched_setscheduler": 144, "sched_setaffinity": 203, "ioprio_set": 251,
    "prlimit64": 302, "sched_setattr": 314,
}  # fmt: skip
_AARCH64_OF_PROCESSES = {
    "setpriority": 140, "sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122, "ioprio_set": 30,
    "prlimit64": 261, "sched_setattr": 274,
}  # fmt: skip
_X86_64_OF_SETUPS = {
    "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "setuid": 105, "setgid": 106, "setreuid": 113,
    "setregid": 114, "setgroups": 116, "setresuid": 117, "setresgid": 119, "setfsuid": 122, "setfsgid": 123,
    "fsync": 74, "fdatasync": 75, "sync": 162, "syncfs": 306,
}  # fmt: skip
_AARCH64_OF_SETUPS = {
    "fchownat": 54, "fchown": 55, "setregid": 143, "setgid": 144, "setreuid": 145, "setuid": 146, "setresuid": 147,
    "setresgid": 149, "setfsuid": 151, "setfsgid": 152, "setgroups": 159,
    "sync": 81, "fsync": 82, "fdatasync": 83, "syncfs": 267,
}  # fmt: skip
_OF_ALL = {"setpriority": 2, "ioprio_set": 3}
"""PRIO_USER, IOPRIO_WHO_USER: the first argument that means all processes of a user, the agent among them."""
_AGENT = 1
_ARCHITECTURES = {
    "x86_64": _Architecture(0xC000003E, True, _X86_64 | _COMMON, _X86_64_OF_PROCESSES, _X86_64_OF_SETUPS),
    "aarch64": _Architecture(0xC00000B7, False, _AARCH64 | _COMMON, _AARCH64_OF_PROCESSES, _AARCH64_OF_SETUPS),
}
_CONDITIONAL = {"ioctl", "socket", "socketpair", "clone", "unshare", "clone3"}


def _ins(code: int, k: int, jt: int = 0, jf: int = 0) -> tuple[int, int, int, int]:
    return code, jt, jf, k


def _deny(error: int) -> tuple[int, int, int, int]:
    return _ins(_RET, _ERRNO | error)


def _only_for(number: int, body: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """``body`` runs for one system call; it must end in a return. The number is loaded again by nobody else."""
    return [_ins(_JEQ, number, 0, len(body)), *body]


def _argument_checks(numbers: dict[str, int]) -> Iterator[list[tuple[int, int, int, int]]]:
    allow = _ins(_RET, _ALLOW)
    for name, flags in (("clone", _NAMESPACE_FLAGS), ("unshare", _NAMESPACE_FLAGS | _CLONE_NEWTIME)):
        yield _only_for(numbers[name], [_ins(_LD_W_ABS, _ARG0), _ins(_JSET, flags, 0, 1), _deny(errno.EPERM), allow])
    # clone3 takes its flags in memory, where a filter cannot look; ENOSYS makes libc use clone.
    yield _only_for(numbers["clone3"], [_deny(errno.ENOSYS)])
    for name in ("socket", "socketpair"):
        tests = [_ins(_JEQ, family, len(_FAMILIES) - at, 0) for at, family in enumerate(_FAMILIES)]
        yield _only_for(numbers[name], [_ins(_LD_W_ABS, _ARG0), *tests, _deny(errno.EAFNOSUPPORT), allow])
    tests = [_ins(_JEQ, _TIOCSTI, 1, 0), _ins(_JEQ, _TIOCLINUX, 0, 1), _deny(errno.EPERM), allow]
    yield _only_for(numbers["ioctl"], [_ins(_LD_W_ABS, _ARG1), *tests])


def _agent_spared(calls: dict[str, int]) -> Iterator[list[tuple[int, int, int, int]]]:
    """The agent has the uid of the commands: they could starve it, or take its right to open files.

    Nobody else is meant by 1, for there is no other process namespace to be had inside.
    """
    allow = _ins(_RET, _ALLOW)
    for name, number in sorted(calls.items()):
        if name in _OF_ALL:
            whose = [_ins(_LD_W_ABS, _ARG0), _ins(_JEQ, _OF_ALL[name], 2, 0), _ins(_LD_W_ABS, _ARG1)]
        else:
            whose = [_ins(_LD_W_ABS, _ARG0)]
        yield _only_for(number, [*whose, _ins(_JEQ, _AGENT, 0, 1), _deny(errno.EPERM), allow])


def program(machine: str | None = None, *, pinned: bool = False, as_root: bool = False) -> bytes:
    """The filter for one machine type (default: this one), as bubblewrap's ``--seccomp`` and prctl(2) take it.

    ``pinned``: a limit is held by the set of processors, which therefore may not be changed inside. ``as_root``: what
    changes an owner does nothing and says that it did, so that package managers work with the one user there is; and
    so does what waits for the disk, since what a setup makes is worth nothing before it has ended.
    Raises IsolationUnavailable for an architecture whose system-call numbers are not in our table.
    """
    machine = machine or platform.machine()
    architecture = _ARCHITECTURES.get(machine)
    if architecture is None:
        raise IsolationUnavailable(
            f"there is no system-call filter for {machine}", hint="supported: " + ", ".join(sorted(_ARCHITECTURES))
        )
    code = [_ins(_LD_W_ABS, _ARCH), _ins(_JEQ, architecture.audit, 1, 0), _deny(errno.ENOSYS), _ins(_LD_W_ABS, _NR)]
    if architecture.x32:  # the x32 ABI has the same audit value and other numbers
        code += [_ins(_JGE, 0x40000000, 0, 1), _deny(errno.ENOSYS)]
    for check in _argument_checks(architecture.numbers):
        code += check
    if pinned:
        code += [_ins(_JEQ, architecture.of_processes["sched_setaffinity"], 0, 1), _deny(errno.EPERM)]
    for name in sorted(architecture.of_setups) if as_root else ():
        code += [_ins(_JEQ, architecture.of_setups[name], 0, 1), _deny(0)]
    for check in _agent_spared(architecture.of_processes):
        code += check
    for name, number in sorted(architecture.numbers.items()):
        if name not in _CONDITIONAL:
            code += [_ins(_JEQ, number, 0, 1), _deny(errno.EPERM)]
    code.append(_ins(_RET, _ALLOW))
    return b"".join(struct.pack("<HBBI", op, jt, jf, k) for op, jt, jf, k in code)
