"""The ``open`` mode of a guest: the same user-mode network, whose frames pass through our own hands.

A guest has no namespace that slirp4netns could join, and no network card: a job inside (guest/way_out.py) has a device
and sends what leaves it over the bridge, and slirp4netns reads and writes frames on a socket of ours. In between is the
filter, outside of the guest: whatever its kernel sends, and whoever rules that, nothing but what is public is reached.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import TimeoutExpired

from sandlot import process
from sandlot.errors import SandlotError
from sandlot.guest.way_out import FRAME
from sandlot.runtimes.qemu import asking
from sandlot.workspaces.network.addresses import closed_networks
from sandlot.workspaces.network.open_network import (
    ADDRESS,
    CLOSE_S,
    GATEWAY,
    MTU,
    NAMESERVER,
    READY_S,
    TOOL,
    own_addresses,
)

__all__ = ["Filter", "GuestOpenNetwork"]

JOB_S = 60.0
"""How long an emulated guest may take to set up its device."""
_WAIT_MS = 10
_SOCKET = "frames"
_LENGTH = struct.Struct(">I")
_ARP, _IPV4 = b"\x08\x06", b"\x08\x00"
_HEADERS = 34  # Ethernet's and the shortest of IPv4


class Filter:
    """What tap.py's filter passes: ARP, and IPv4 to what is not closed; IPv6 first of all stays inside."""

    def __init__(self, closed: Sequence[str], reachable: str) -> None:
        networks = map(ipaddress.IPv4Network, closed)
        self._closed = [(int(each.netmask), int(each.network_address)) for each in networks]
        self._reachable = int(ipaddress.IPv4Address(reachable))

    def passes(self, frame: bytes) -> bool:
        """Whether a frame may leave."""
        kind = frame[12:14]
        if kind != _IPV4:
            return kind == _ARP
        if len(frame) < _HEADERS:
            return False
        to = int.from_bytes(frame[30:34], "big")
        return to == self._reachable or not any(to & mask == network for mask, network in self._closed)


class GuestOpenNetwork:
    """The way out of one guest; ends with us, by a pipe that only we hold."""

    def __init__(self, keeper: Path, log: int) -> None:
        """``keeper``: the workspace's socket. Raises OSError. It starts threads."""
        closed = [*closed_networks(), *own_addresses()]
        self._filter = Filter(closed, NAMESERVER)
        self._wire = self._start(keeper.parent, log)
        try:
            self._guest = _device_inside(keeper, closed)
        except BaseException:
            self._end()
            self._wire.close()
            raise
        self._threads = [
            threading.Thread(target=self._until_it_ends, args=(carry,), daemon=True) for carry in (self._out, self._in)
        ]
        for thread in self._threads:
            thread.start()

    def _start(self, folder: Path, log: int) -> socket.socket:
        """slirp4netns, and our end of its socket, which is in a folder that only we may enter."""
        tool = shutil.which(TOOL)
        if tool is None:
            raise OSError(f"{TOOL} is not installed")
        here = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        ended, self._held = os.pipe2(os.O_CLOEXEC)
        path = f"/proc/{os.getpid()}/fd/{here}/{_SOCKET}"  # our own descriptor: an address holds 107 bytes
        argv = [
            tool, "--target-type=bess", f"--mtu={MTU}", "--disable-host-loopback", "--enable-seccomp",
            *(["--enable-sandbox"] if os.geteuid() == 0 else []),  # only root can, and only root has much to lose
            f"--exit-fd={ended}", path,
        ]  # fmt: skip
        try:
            _free(path)
            self._child = process.spawn_detached(argv, env={"LC_ALL": "C"}, log=log, pass_fds=[ended])
            self.ending = os.pidfd_open(self._child.pid)
            """Readable once it has ended, by itself or by us, since the guest has hung up."""
            try:
                return self._connected(path)
            except BaseException:
                _free(path)  # or it would wait for us for ever
                self._end()
                raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(ended)
            os.close(here)

    def _connected(self, path: str) -> socket.socket:
        """A connection, once it listens; nothing tells when that is."""
        end = time.monotonic() + READY_S
        poller = select.poll()
        poller.register(self.ending, select.POLLIN)
        while True:
            made = _dial(path)
            if made is not None:
                return made
            if poller.poll(_WAIT_MS) or time.monotonic() > end:
                raise OSError(f"{TOOL} did not come up")

    def close(self) -> None:
        """End it."""
        self._end()
        for each in (self._guest, self._wire):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(CLOSE_S)
        for each in (self._guest, self._wire):
            each.close()

    def _end(self) -> None:
        os.close(self._held)
        try:
            self._child.wait(CLOSE_S)
        except TimeoutExpired:
            self._child.kill()
            self._child.wait(CLOSE_S)

    # Frames

    def _until_it_ends(self, carry: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            carry()
        with contextlib.suppress(OSError):  # then the gateway sees that it has ended, and does so, too
            self._child.kill()

    def _out(self) -> None:
        """From the guest, through the filter."""
        with self._guest.makefile("rb", buffering=2 * FRAME) as received:
            while len(head := received.read(_LENGTH.size)) == _LENGTH.size:
                (length,) = _LENGTH.unpack(head)
                if length > FRAME:
                    raise OSError("the guest does not keep to the protocol")
                frame = received.read(length)
                if len(frame) == length and self._filter.passes(frame):
                    self._wire.send(frame)

    def _in(self) -> None:
        """To the guest."""
        while frame := self._wire.recv(FRAME):
            self._guest.sendall(_LENGTH.pack(len(frame)) + frame)


def _dial(path: str) -> socket.socket | None:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        made.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        made.close()
        return None
    return made


def _free(path: str) -> None:
    """Take away what a gateway has left that was killed; whoever still waits there for it sees that it is gone."""
    left = _dial(path)
    if left is not None:
        left.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _device_inside(keeper: Path, closed: Sequence[str]) -> socket.socket:
    """The connection over which frames of a new device come. Raises OSError."""
    words = [str(MTU), ADDRESS, GATEWAY, NAMESERVER, *closed]
    try:
        made = asking.job(keeper, b"network", [word.encode() for word in words])
    except SandlotError as error:
        raise OSError(error.message) from error
    try:
        made.settimeout(JOB_S)
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < 8:
            byte = made.recv(1)
            if not byte:
                raise OSError("the guest has no network device to offer")
            answer += byte
        number = int(answer) if answer.endswith(b"\n") and answer.strip().isdigit() else 5
        if number:
            raise OSError(number, f"the guest's network device cannot be set up: {os.strerror(number)}")
        made.settimeout(None)
    except BaseException:
        made.close()
        raise
    return made
