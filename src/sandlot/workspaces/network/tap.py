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
import socket
import struct
from collections.abc import Sequence

__all__ = ["attach_filter", "configure"]

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SYS_PIDFD_GETFD = 438  # the same on every architecture
_TUNATTACHFILTER = 0x400054D5 | struct.calcsize("HP") << 16
# Classic BPF: load half word or word at an offset, and, jump if equal, return.
_HALF, _WORD, _AND, _EQUAL, _RETURN = 0x28, 0x20, 0x54, 0x15, 0x06
_PASS, _DROP = 0x40000, 0
_ARP, _IPV4, _TYPE_AT, _DESTINATION_AT = 0x0806, 0x0800, 12, 30
# rtnetlink(7)
_NEWLINK, _NEWADDR, _NEWROUTE, _REQUEST_ACK_CREATE = 16, 20, 24, 0x405
_MTU, _LOCAL_ADDRESS, _TO, _DEVICE, _GATEWAY, _UP = 4, 2, 1, 4, 5, 1
_UNICAST, _PROHIBIT, _MAIN, _STATIC, _EVERYWHERE, _ON_LINK = 1, 8, 254, 4, 0, 253


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
            _configured(device, mtu, address, gateway, reachable, closed)
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


def _configured(device: str, mtu: int, address: str, gateway: str, reachable: str, closed: Sequence[str]) -> None:
    index = socket.if_nametoindex(device)
    to = [(each, _route(*each.split("/"), kind=_PROHIBIT)) for each in closed]
    # A single address instead of a network: then there are no neighbours and no broadcast address either.
    on_link = [_route(each, "32", kind=_UNICAST, device=index) for each in (gateway, reachable)]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
        for _, route in to:
            _ask(netlink, _NEWROUTE, route)
        link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _UP, _UP) + _attribute(_MTU, struct.pack("=I", mtu))
        _ask(netlink, _NEWLINK, link)
        own = struct.pack("=BBBBI", socket.AF_INET, 32, 0, _EVERYWHERE, index)
        _ask(netlink, _NEWADDR, own + _attribute(_LOCAL_ADDRESS, socket.inet_aton(address)))
        for route in (*on_link, _route("0.0.0.0", "0", kind=_UNICAST, device=index, gateway=gateway)):  # noqa: S104  all
            _ask(netlink, _NEWROUTE, route)


def _route(address: str, length: str, *, kind: int, device: int = 0, gateway: str = "") -> bytes:
    scope = _ON_LINK if device and not gateway else _EVERYWHERE
    route = struct.pack("=BBBBBBBBI", socket.AF_INET, int(length), 0, 0, _MAIN, _STATIC, scope, kind, 0)
    route += _attribute(_TO, socket.inet_aton(address))
    if device:
        route += _attribute(_DEVICE, struct.pack("=i", device))
    return route + (_attribute(_GATEWAY, socket.inet_aton(gateway)) if gateway else b"")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


def _ask(netlink: socket.socket, kind: int, body: bytes) -> None:
    netlink.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_ACK_CREATE, 1, 0) + body)
    code = -struct.unpack_from("=i", netlink.recv(65536), 16)[0]
    if code not in (0, errno.EEXIST):
        raise OSError(code, os.strerror(code))
