"""The interface of an open network: what may leave it, and its addresses and routes.

Routes alone do not close anything: code inside may bind a socket to the interface, or send to a multicast group or a
broadcast address, and the kernel asks no route then. So a filter is attached to the device before it is brought up:
what leaves it passes the filter whatever made it, and nobody inside has the capability to change that. The routes are
there so that connecting fails at once, and with a reason.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import ipaddress
import os
import struct
from collections.abc import Sequence

from sandlot.guest import interface

__all__ = ["attach_filter", "configure"]

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SYS_PIDFD_GETFD = 438  # the same on every architecture
_TUNATTACHFILTER = 0x400054D5 | struct.calcsize("HP") << 16
# Classic BPF: load half word or word at an offset, and, jump if equal, return.
_HALF, _WORD, _AND, _EQUAL, _RETURN = 0x28, 0x20, 0x54, 0x15, 0x06
_PASS, _DROP = 0x40000, 0
_ARP, _IPV4, _TYPE_AT, _DESTINATION_AT = 0x0806, 0x0800, 12, 30


def attach_filter(pid: int, closed: Sequence[str], reachable: str) -> None:
    """Let nothing out of the tap device that a process of ours reads from, but what may be sent. Raises OSError.

    ``closed``: IPv4 networks; ``reachable``: the one address that is open although it lies in them. A filter belongs to
    an open device and not to its name, so it is attached to the very one that the process has.
    """
    program = _program(closed, reachable)
    tun = _descriptor_of(pid, "/net/tun")
    try:
        code = ctypes.create_string_buffer(program, len(program))
        fcntl.ioctl(tun, _TUNATTACHFILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(code)))
    finally:
        os.close(tun)


def _descriptor_of(pid: int, file: str) -> int:
    """A copy of what a process has open."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{number}").endswith(file):
            pidfd = os.pidfd_open(pid)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                found: int = libc.syscall(_SYS_PIDFD_GETFD, pidfd, int(number), 0)
            finally:
                os.close(pidfd)
            if found < 0:
                raise OSError(ctypes.get_errno(), "the device of the open network cannot be filtered")
            return found
    raise FileNotFoundError(errno.ENOENT, f"process {pid} has no {file}")


def _program(closed: Sequence[str], reachable: str) -> bytes:
    """The filter: ARP, and IPv4 to what is not closed. Everything else, IPv6 first, stays inside."""

    def step(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_so, if_not, value)

    steps = [
        step(_HALF, _TYPE_AT), step(_EQUAL, _ARP, 0, 1), step(_RETURN, _PASS),
        step(_EQUAL, _IPV4, 1, 0), step(_RETURN, _DROP),
        step(_WORD, _DESTINATION_AT), step(_EQUAL, int(ipaddress.IPv4Address(reachable)), 0, 1), step(_RETURN, _PASS),
    ]  # fmt: skip
    for each in map(ipaddress.IPv4Network, closed):
        steps += [step(_WORD, _DESTINATION_AT), step(_AND, int(each.netmask))]
        steps += [step(_EQUAL, int(each.network_address), 0, 1), step(_RETURN, _DROP)]
    return b"".join([*steps, step(_RETURN, _PASS)])


def configure(
    spaces: tuple[int, int], device: str, mtu: int, address: str, gateway: str, reachable: str, closed: Sequence[str]
) -> None:
    """Give a device of a namespace its address and routes, and bring it up. Raises OSError.

    ``spaces``: descriptors of the user namespace, in which a child of ours gets the capability by joining it, and of
    the network namespace. Call it before any thread is started: it forks.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        failure = errno.EPERM
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            for space, kind in zip(spaces, (_CLONE_NEWUSER, _CLONE_NEWNET), strict=True):
                if libc.setns(space, kind) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            interface.configure(device, mtu, address, gateway, reachable, closed)
            failure = 0
        except OSError as error:
            failure = error.errno or errno.EPERM
        finally:
            os.write(write, b"%d" % failure)
            os._exit(0)
    os.close(write)
    answer = os.read(read, 16)
    os.close(read)
    os.waitpid(pid, 0)
    number = int(answer or b"5")
    if number:
        raise OSError(number, f"the workspace's network cannot be set up: {os.strerror(number)}")
