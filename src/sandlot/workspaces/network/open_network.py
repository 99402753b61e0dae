"""The ``open`` mode: a user-mode network (slirp4netns) in a workspace's namespace, everything private closed first.

slirp4netns and not pasta: code inside may bind a socket to the interface, and the kernel then takes every destination
for a neighbour, whatever the routes say. slirp4netns answers for its own few addresses only, pasta for all there are.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import select
import shutil
import socket
import struct
from pathlib import Path
from subprocess import TimeoutExpired

from sandlot import process
from sandlot.workspaces.network.addresses import closed_networks

__all__ = ["NAMESERVER", "TOOL", "OpenNetwork", "problem"]

TOOL = "slirp4netns"
NAMESERVER = "10.0.2.3"
"""Where slirp4netns answers DNS inside; every resolv.conf says so, and there is a route in this mode only."""
READY_S = 15.0
_DEVICE = "/dev/net/tun"
CLOSE_S = 2.0
_NS_GET_USERNS = 0xB701  # ioctl_ns(2)
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_NEWROUTE, _REQUEST_ACK_CREATE = 24, 0x405  # rtnetlink(7)
_PROHIBIT, _MAIN, _STATIC, _UNIVERSE, _DESTINATION = 8, 254, 4, 0, 1


def problem() -> tuple[str, str] | None:
    """(what this machine lacks for it, what helps), or None."""
    if shutil.which(TOOL) is None:
        return f"{TOOL}, which is not installed", f"install the package {TOOL}"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return f"{_DEVICE}, which this user may not open", f"sudo chmod 0666 {_DEVICE}, as it is on most systems"
    return None


class OpenNetwork:
    """The way out of one namespace; ends with us, by a pipe that only we hold."""

    def __init__(self, agent: int, log: int) -> None:
        """``agent``: pid of a process in the namespace. Raises OSError. Make it before any thread is started."""
        tool = shutil.which(TOOL)
        if tool is None:
            raise OSError(f"{TOOL} is not installed")
        network = os.open(f"/proc/{agent}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        owner = fcntl.ioctl(network, _NS_GET_USERNS)
        os.set_inheritable(owner, False)
        try:
            _in_namespace(owner, network)
            self._start(tool, owner, network, log)
        finally:
            os.close(owner)
            os.close(network)

    def _start(self, tool: str, owner: int, network: int, log: int) -> None:
        ended, self._held = os.pipe2(os.O_CLOEXEC)
        ready, telling = os.pipe2(os.O_CLOEXEC)
        here = f"/proc/{os.getpid()}/fd"  # the descriptors themselves are not passed: their names are enough
        argv = [
            tool, "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-seccomp",
            *(["--enable-sandbox"] if os.geteuid() == 0 else []),  # only root can, and only root has much to lose
            f"--ready-fd={telling}", f"--exit-fd={ended}",
            f"--userns-path={here}/{owner}", "--netns-type=path", f"{here}/{network}", "tap0",
        ]  # fmt: skip
        try:
            self._child = process.spawn_detached(argv, env={"LC_ALL": "C"}, log=log, pass_fds=[telling, ended])
            os.close(telling)
            telling = -1
            poller = select.poll()
            poller.register(ready, select.POLLIN)
            if not poller.poll(READY_S * 1000) or os.read(ready, 1) != b"1":
                raise OSError(f"{TOOL} could not attach to the workspace")
        except BaseException:
            os.close(self._held)
            raise
        finally:
            for descriptor in (ended, ready, *([telling] if telling >= 0 else [])):
                os.close(descriptor)

    def close(self) -> None:
        """End it."""
        os.close(self._held)
        try:
            self._child.wait(CLOSE_S)
        except TimeoutExpired:
            self._child.kill()


def _in_namespace(owner: int, network: int) -> None:
    """Close what is private in a child that has joined the namespace with all capabilities over it."""
    closed = [*closed_networks(), *_own_addresses()]
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        failure = errno.EPERM
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(owner, _CLONE_NEWUSER) != 0 or libc.setns(network, _CLONE_NEWNET) != 0:
                failure = ctypes.get_errno()
            else:
                _close_routes(closed)
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
        raise OSError(number, f"private addresses cannot be closed: {os.strerror(number)}")


def _own_addresses() -> list[str]:
    """The machine's IPv4 addresses as networks: services on them are not public by that."""
    try:
        trie = Path("/proc/self/net/fib_trie").read_text()
    except OSError:
        return []
    found = re.findall(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", trie)
    return [f"{each}/32" for each in dict.fromkeys(found) if not each.startswith("127.")]


def _close_routes(networks: list[str]) -> None:
    """A ``prohibit`` route for each: connecting fails with EACCES. Nobody inside has the capability to change that."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
        for at, network in enumerate(networks):
            address, _, length = network.partition("/")
            route = struct.pack(
                "=BBBBBBBBI", socket.AF_INET, int(length), 0, 0, _MAIN, _STATIC, _UNIVERSE, _PROHIBIT, 0
            )
            attribute = struct.pack("=HH4s", 8, _DESTINATION, socket.inet_aton(address))
            body = route + attribute
            netlink.send(struct.pack("=IHHII", 16 + len(body), _NEWROUTE, _REQUEST_ACK_CREATE, at, 0) + body)
            answer = netlink.recv(4096)
            code = -struct.unpack_from("=i", answer, 16)[0]
            if code not in (0, errno.EEXIST):
                raise OSError(code, os.strerror(code))
