"""The system-call filter, run by a small interpreter of classic BPF: what it lets pass and what it refuses."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from sandlot.errors import IsolationUnavailable
from sandlot.runtimes import seccomp

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003
ARM = 0x40000028
ALLOW = 0x7FFF0000
ERRNO = 0x00050000
NEWUSER = 0x10000000
HIGH = 0xDEADBEEF << 32

# Numbers of our own, checked against the system's headers below: a wrong number in the filter must not be copied here.
NUMBERS = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "mmap": 9, "ioctl": 16, "socket": 41, "socketpair": 53, "clone": 56,
        "fork": 57, "vfork": 58, "execve": 59, "ptrace": 101, "setuid": 105, "prctl": 157, "openat": 257,
        "getrandom": 318, "memfd_create": 319, "rseq": 334, "pidfd_open": 434, "openat2": 437, "faccessat2": 439,
        "unshare": 272, "setns": 308, "clone3": 435, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
        "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "open_tree": 428, "move_mount": 429,
        "mount_setattr": 442, "bpf": 321, "keyctl": 250, "add_key": 248, "request_key": 249, "io_uring_setup": 425,
        "io_uring_enter": 426, "io_uring_register": 427, "userfaultfd": 323, "perf_event_open": 298,
        "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320,
        "open_by_handle_at": 304, "name_to_handle_at": 303, "syslog": 103, "reboot": 169, "swapon": 167,
        "settimeofday": 164, "clock_settime": 227, "pidfd_getfd": 438, "fanotify_init": 300, "kcmp": 312,
    },
    "aarch64": {
        "read": 63, "write": 64, "openat": 56, "mmap": 222, "ioctl": 29, "socket": 198, "socketpair": 199,
        "clone": 220, "execve": 221, "ptrace": 117, "setuid": 146, "prctl": 167, "getrandom": 278,
        "memfd_create": 279, "rseq": 293, "pidfd_open": 434, "openat2": 437, "faccessat2": 439, "unshare": 97,
        "setns": 268, "clone3": 435, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "fsopen": 430,
        "fsconfig": 431, "fsmount": 432, "fspick": 433, "open_tree": 428, "move_mount": 429, "mount_setattr": 442,
        "bpf": 280, "keyctl": 219, "add_key": 217, "request_key": 218, "io_uring_setup": 425, "io_uring_enter": 426,
        "io_uring_register": 427, "userfaultfd": 282, "perf_event_open": 241, "init_module": 105,
        "finit_module": 273, "delete_module": 106, "kexec_load": 104, "kexec_file_load": 294,
        "open_by_handle_at": 265, "name_to_handle_at": 264, "syslog": 116, "reboot": 142, "swapon": 224,
        "settimeofday": 170, "clock_settime": 112, "pidfd_getfd": 438, "fanotify_init": 262, "kcmp": 272,
    },
}  # fmt: skip
PLAIN = ("read", "write", "mmap", "execve", "openat", "ptrace", "prctl", "getrandom", "memfd_create", "rseq",
         "pidfd_open", "openat2", "faccessat2", "setuid")  # fmt: skip
DENIED = sorted(
    set(NUMBERS["x86_64"])
    - {*PLAIN, "open", "fork", "vfork", "ioctl", "socket", "socketpair", "clone", "unshare", "clone3"}
)  # fmt: skip
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}
MACHINES = sorted(AUDIT)


def verdict(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: the value of the RET instruction that is reached."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *(list(arguments) + [0] * 6)[:6])
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator = at = 0
    for _ in range(len(code) + 1):
        operation, yes, no, k = code[at]
        at += 1
        if operation == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            assert k % 4 == 0
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x06:  # BPF_RET | BPF_K
            return int(k)
        elif operation == 0x15:  # BPF_JMP | BPF_JEQ
            at += yes if accumulator == k else no
        elif operation == 0x35:  # BPF_JMP | BPF_JGE
            at += yes if accumulator >= k else no
        elif operation == 0x45:  # BPF_JMP | BPF_JSET
            at += yes if accumulator & k else no
        else:
            raise AssertionError(f"instruction {operation:#x}")
    raise AssertionError("the program does not end")


class Filter:
    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.program = seccomp.program(machine)

    def __call__(self, name: str, *arguments: int) -> int:
        return verdict(self.program, AUDIT[self.machine], NUMBERS[self.machine][name], *arguments)


@pytest.fixture(params=MACHINES)
def filtered(request: pytest.FixtureRequest) -> Filter:
    return Filter(request.param)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernel_s_headers(machine: str) -> None:
    path = next((Path(each) for each in HEADERS[machine] if Path(each).is_file()), None)
    if path is None:
        pytest.skip("no kernel headers here")
    text = path.read_text()
    found = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s", text)}
    architecture = seccomp._ARCHITECTURES[machine]
    table = {**NUMBERS[machine], **architecture.numbers, **architecture.of_processes}
    wrong = {name: (number, found[name]) for name, number in table.items() if name in found and found[name] != number}
    assert not wrong
    assert len(set(table) & set(found)) > len(table) * 0.9


def test_ordinary_calls_pass(filtered: Filter) -> None:
    assert {name: filtered(name) for name in PLAIN} == dict.fromkeys(PLAIN, ALLOW)


@pytest.mark.parametrize("name", DENIED)
def test_dangerous_calls_are_refused(filtered: Filter, name: str) -> None:
    assert filtered(name) == ERRNO | errno.EPERM


@pytest.mark.parametrize("flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000])
def test_no_call_makes_a_namespace(filtered: Filter, flag: int) -> None:
    for name in ("clone", "unshare"):
        assert filtered(name, flag) == ERRNO | errno.EPERM
        assert filtered(name, flag | HIGH) == ERRNO | errno.EPERM
        assert filtered(name, flag | 17) == ERRNO | errno.EPERM
    assert filtered("unshare", 0x80) == ERRNO | errno.EPERM


def test_processes_and_threads_can_be_made(filtered: Filter) -> None:
    assert filtered("clone", 0x11) == ALLOW  # SIGCHLD: fork
    assert filtered("clone", 0x3D0F00) == ALLOW  # pthread_create
    assert filtered("unshare", 0x400) == ALLOW  # CLONE_FILES
    assert filtered("clone3") == ERRNO | errno.ENOSYS  # libc falls back to clone


@pytest.mark.parametrize("name", ["socket", "socketpair"])
def test_only_plain_socket_families_exist(filtered: Filter, name: str) -> None:
    for family in range(64):
        expected = ALLOW if family in (1, 2, 10, 16) else ERRNO | errno.EAFNOSUPPORT
        assert filtered(name, family) == expected
        assert filtered(name, family | HIGH) == expected


@pytest.mark.parametrize("command", [0x5412, 0x541C])
def test_nobody_types_into_a_terminal_however_the_number_is_padded(filtered: Filter, command: int) -> None:
    for high in (0, HIGH, 1 << 32, 0xFFFFFFFF << 32):
        assert filtered("ioctl", 0, command | high) == ERRNO | errno.EPERM
    assert filtered("ioctl", 0, 0x5413) == ALLOW  # TIOCGWINSZ
    assert filtered("ioctl", 0x5412, 0x5401) == ALLOW  # the number of a descriptor is no command


OF_PROCESSES = ("sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr", "prlimit64")


@pytest.mark.parametrize("machine", MACHINES)
def test_nobody_schedules_or_restricts_the_agent(machine: str) -> None:
    program, numbers = seccomp.program(machine), seccomp._ARCHITECTURES[machine].of_processes
    for name in OF_PROCESSES:
        for pid, expected in ((0, ALLOW), (2, ALLOW), (1, ERRNO | errno.EPERM), (1 | HIGH, ERRNO | errno.EPERM)):
            assert verdict(program, AUDIT[machine], numbers[name], pid) == expected
    for name, everybody in (("setpriority", 2), ("ioprio_set", 3)):
        number = numbers[name]
        assert verdict(program, AUDIT[machine], number, everybody - 2, 0) == ALLOW
        assert verdict(program, AUDIT[machine], number, everybody - 2, 77) == ALLOW
        for which in range(4):
            assert verdict(program, AUDIT[machine], number, which, 1) == ERRNO | errno.EPERM
        for who in (0, 1000, HIGH):  # all that a user has
            assert verdict(program, AUDIT[machine], number, everybody, who) == ERRNO | errno.EPERM


def test_the_set_of_processors_is_kept_where_it_is_the_limit() -> None:
    number = seccomp._ARCHITECTURES["x86_64"].of_processes["sched_setaffinity"]
    assert verdict(seccomp.program("x86_64", pinned=True), AUDIT["x86_64"], number, 0) == ERRNO | errno.EPERM
    assert verdict(seccomp.program("x86_64"), AUDIT["x86_64"], number, 0) == ALLOW


def test_calls_of_other_architectures_are_refused(filtered: Filter) -> None:
    for arch in (I386, ARM, 0, AUDIT["aarch64" if filtered.machine == "x86_64" else "x86_64"]):
        for number in (0, 1, 20, 120, 165, 317, 400):
            assert verdict(filtered.program, arch, number) == ERRNO | errno.ENOSYS


def test_x32_calls_are_refused() -> None:
    program = seccomp.program("x86_64")
    for number in (0x40000000, 0x40000027, 0x40000000 + 165, 0x7FFFFFFF, 0xFFFFFFFF):
        assert verdict(program, AUDIT["x86_64"], number) == ERRNO | errno.ENOSYS


def test_every_path_through_the_program_ends_in_an_answer(filtered: Filter) -> None:
    answers = {verdict(filtered.program, AUDIT[filtered.machine], number, 1, 1) >> 16 for number in range(1024)}
    assert answers == {ALLOW >> 16, ERRNO >> 16}
    assert len(filtered.program) // 8 < 4096  # BPF_MAXINSNS


def test_an_unknown_architecture_fails_closed() -> None:
    with pytest.raises(IsolationUnavailable):
        seccomp.program("pdp11")
