"""A host and an internet of its own for a test: two network namespaces with a cable between them. Needs root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["CLOSED", "GROUP", "PORT", "PUBLIC", "ROUTER", "World", "world"]

PUBLIC = "203.0.113.7"
ROUTER = "192.168.77.1"
"""The internet's end of the cable, a neighbour of the host."""
CLOSED = (
    ROUTER, "10.9.9.9", "10.0.2.77", "100.64.1.1", "168.63.129.16", "169.254.169.254", "172.16.3.3", "192.168.7.7",
    "198.18.0.9", "192.0.0.192", "10.0.2.255",
)  # fmt: skip
"""Addresses that the host reaches, and nobody inside may."""
GROUP = "239.1.2.3"
"""Somebody on the internet's end of the cable listens to this multicast group."""
PORT = 8080
_CLONE_NEWNET = 0x40000000

# Serves TCP and UDP on all addresses, and writes down at which of them somebody arrived; ends with its standard input.
# A line there is the address of an interface on which it is to hear what is sent to the group.
_SERVER = f"""
import select, socket, struct, sys
GROUP = {GROUP!r}
tcp = socket.create_server(("", 8080), backlog=100)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
udp.bind(("", 8080))
print("ready", flush=True)
while True:
    ready, _, _ = select.select([tcp, udp, sys.stdin], [], [])
    if sys.stdin in ready:
        address = sys.stdin.readline().strip()
        if not address:
            break
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(address))
        print("joined", flush=True)
    if tcp in ready:
        made, _ = tcp.accept()
        print("tcp", made.getsockname()[0], flush=True)
        made.settimeout(3)
        try:
            made.recv(65536)
            made.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nworld")
        except OSError:
            pass
        made.close()
    if udp in ready:
        _, info, _, sender = udp.recvmsg(2048, 256)
        print("udp", socket.inet_ntoa(struct.unpack("=I4s4s", info[0][2])[2]), flush=True)
        udp.sendto(b"world", sender)
"""


@dataclass(frozen=True)
class World:
    """Processes in the two namespaces, and what their servers have seen."""

    host: int
    internet: int
    host_log: Path
    internet_log: Path

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """This thread, and what it starts, is on the host of this world."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/proc/{self.host}/ns/net") as there:
            assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), _CLONE_NEWNET) == 0

    def forget(self) -> None:
        """What was seen so far."""
        for log in (self.host_log, self.internet_log):
            os.truncate(log, 0)

    @property
    def seen(self) -> set[str]:
        """``tcp ADDRESS``, ``udp ADDRESS``: where somebody arrived on the internet."""
        return set(self.internet_log.read_text().splitlines()) - {"ready", "joined"}

    @property
    def seen_by_host(self) -> set[str]:
        """The same for the host's own addresses."""
        return set(self.host_log.read_text().splitlines()) - {"ready", "joined"}


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Make one; skips the test where that cannot be done."""
    if os.geteuid() != 0:
        pytest.skip("only root can connect two network namespaces")
    for tool in ("ip", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sl-world-")))
        logs = [folder / "host", folder / "internet"]
        children = [stack.enter_context(_server(log)) for log in logs]
        host, internet = (each.pid for each in children)
        made = subprocess.run(
            ["nsenter", "-t", str(host), "-n", "ip", "link", "add", "out0", "type", "veth", "peer", "name", "in0",
             "netns", str(internet)],
            capture_output=True, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            pytest.skip(f"no virtual cable here: {made.stderr.decode()}")
        _configure(internet, [
            "addr add 192.168.77.1/24 dev in0", "link set in0 up", "link set lo up",
            *(f"addr add {address}/32 dev lo" for address in (PUBLIC, *CLOSED[1:])),
        ])  # fmt: skip
        _configure(host, [
            "addr add 192.168.77.2/24 dev out0", "link set out0 up", "link set lo up",
            "addr add 203.0.113.99/32 dev lo", f"route add default via {ROUTER}",
        ])  # fmt: skip
        ear = children[1].stdin
        assert ear is not None
        ear.write(f"{ROUTER}\n".encode())
        ear.flush()
        while b"joined" not in logs[1].read_bytes():
            assert children[1].poll() is None
        yield World(host, internet, *logs)


@contextlib.contextmanager
def _server(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=output
        )
    try:
        while log.read_bytes() == b"":
            assert child.poll() is None
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(20)


def _configure(pid: int, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines).encode()
    subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-batch", "-"], input=text, check=True)
