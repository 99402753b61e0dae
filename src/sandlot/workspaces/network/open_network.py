"""The ``open`` mode: a user-mode network (slirp4netns) in a workspace's namespace, everything private closed first.

slirp4netns and not pasta: it has addresses of its own inside instead of a copy of the host's, so that the same filter
fits everywhere, and no ports of the host are forwarded to it unless asked for.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
from pathlib import Path
from subprocess import TimeoutExpired

from sandlot import process
from sandlot.workspaces.network.addresses import closed_networks
from sandlot.workspaces.network.tap import attach_filter, configure

__all__ = ["ADDRESS", "GATEWAY", "MTU", "NAMESERVER", "TOOL", "OpenNetwork", "own_addresses", "problem"]

TOOL = "slirp4netns"
NAMESERVER = "10.0.2.3"
"""Where slirp4netns answers DNS inside; every resolv.conf says so, and there is a route in this mode only."""
ADDRESS, GATEWAY = "10.0.2.100", "10.0.2.2"
MTU = 65520
_DEVICE = "tap0"
_TUN = "/dev/net/tun"
READY_S = 15.0
CLOSE_S = 2.0
_NS_GET_USERNS = 0xB701  # ioctl_ns(2)


def problem(*, guest: bool = False) -> tuple[str, str] | None:
    """(what this machine lacks for it, what helps), or None. A ``guest`` needs the tool alone."""
    if shutil.which(TOOL) is None:
        return f"{TOOL}, which is not installed", f"install the package {TOOL}"
    if guest:
        return None
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"{_TUN}, which this user may not open", f"sudo chmod 0666 {_TUN}, as it is on most systems"
    if not _may_inspect():
        return "to inspect its own child, which this kernel forbids", "sudo sysctl kernel.yama.ptrace_scope=1"
    return None


def _may_inspect() -> bool:
    """Whether a process may attach to its own child: that is how the filter gets to the device. See ptrace(2)."""
    try:
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        return True
    return scope < (3 if os.geteuid() == 0 else 2)


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
            self._start(tool, owner, network, log)
            closed = [*closed_networks(), *own_addresses()]
            try:
                attach_filter(self._child.pid, closed, NAMESERVER)
                configure((owner, network), _DEVICE, MTU, ADDRESS, GATEWAY, NAMESERVER, closed)
            except BaseException:
                self.close()
                raise
        finally:
            os.close(owner)
            os.close(network)

    def _start(self, tool: str, owner: int, network: int, log: int) -> None:
        ended, self._held = os.pipe2(os.O_CLOEXEC)
        ready, telling = os.pipe2(os.O_CLOEXEC)
        here = f"/proc/{os.getpid()}/fd"  # the descriptors themselves are not passed: their names are enough
        argv = [
            tool, f"--mtu={MTU}", "--disable-host-loopback", "--enable-seccomp",
            *(["--enable-sandbox"] if os.geteuid() == 0 else []),  # only root can, and only root has much to lose
            f"--ready-fd={telling}", f"--exit-fd={ended}",
            f"--userns-path={here}/{owner}", "--netns-type=path", f"{here}/{network}", _DEVICE,
        ]  # fmt: skip
        try:
            self._child = process.spawn_detached(argv, env={"LC_ALL": "C"}, log=log, pass_fds=[telling, ended])
            self.ending = os.pidfd_open(self._child.pid)
            """Readable once it has ended by itself."""
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
            self._child.wait(CLOSE_S)


def own_addresses() -> list[str]:
    """The machine's IPv4 addresses as networks: services on them are not public by that."""
    try:
        trie = Path("/proc/self/net/fib_trie").read_text()
    except OSError:
        return []
    found = re.findall(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL", trie)
    return [f"{each}/32" for each in dict.fromkeys(found) if not each.startswith("127.")]
