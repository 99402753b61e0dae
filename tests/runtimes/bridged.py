"""A runtime whose agent is reached over the bridge, without a virtual machine: for the bridge's own tests.

bubblewrap stands for the guest, two processes of ours for the two ends of the bridge, a socket pair for the serial
port. What the machine adds (boot, clones, disks) is not here.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

from sandlot import process
from sandlot.guest.bridge import GuestBridge, Started
from sandlot.model.workspace import Instance
from sandlot.paths import Paths
from sandlot.runtimes.base import Bounds, Fetch, LaunchRequest, ProbeReport
from sandlot.runtimes.bubblewrap.runtime import BubblewrapRuntime
from sandlot.runtimes.qemu.bridge import Bridge

PATIENCE_S = 60.0
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CODE = "import sys; sys.path[:0] = {path!r}; from tests.runtimes.bridged import {name}; {name}(*sys.argv[1:])"
ROOT = Path(__file__).parents[2]


def guest_end(port: str, address: str, agent: str) -> None:
    """The process inside: its agent is there already. It has the network of the agent, as in a guest."""
    pidfd = os.pidfd_open(int(agent))
    if ctypes.CDLL(None).setns(pidfd, _CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise OSError("cannot join the agent's network")

    def start(_values: dict[bytes, bytes]) -> Started:
        return Started(address, pidfd)

    os.set_blocking(int(port), False)
    GuestBridge(int(port), lambda _: None, start).run()


def keeper_end(port: str, listening: str) -> None:
    """The process on the host."""
    bridge = Bridge(socket.socket(fileno=int(port)))
    bridge.hello(PATIENCE_S)
    bridge.configure({}, PATIENCE_S)
    bridge.start({}, PATIENCE_S)
    bridge.listen(socket.socket(fileno=int(listening)))
    outcome = bridge.serve()
    print(outcome, bridge.problem, file=sys.stderr, flush=True)
    bridge.close()


def spawn(name: str, *words: str, pass_fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """One of the functions above in a process of its own."""
    code = _CODE.format(path=[str(ROOT), *sys.path], name=name)
    return process.spawn_detached([sys.executable, "-S", "-E", "-c", code, *words], env={}, log=2, pass_fds=pass_fds)


def listener(path: Path) -> socket.socket:
    """The workspace's socket."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    made.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    made.listen(128)
    return made


class BridgedRuntime:
    """See Runtime: bubblewrap, behind a bridge."""

    name = "bridged"

    def __init__(self, paths: Paths) -> None:
        self._inner = BubblewrapRuntime(paths)
        self._started: dict[str, tuple[Instance, list[subprocess.Popen[bytes]]]] = {}

    def probe(self, *, fresh: bool = False) -> ProbeReport:
        return self._inner.probe(fresh=fresh)

    def launch(self, request: LaunchRequest) -> Instance:
        inside = request.socket.with_name("inner")
        instance = self._inner.launch(dataclasses.replace(request, socket=inside))
        ours, theirs = socket.socketpair()
        request.socket.unlink(missing_ok=True)
        with ours, theirs, listener(request.socket) as listening:
            words = (str(theirs.fileno()), str(inside), str(instance.agent_pid))
            guest = spawn("guest_end", *words, pass_fds=(theirs.fileno(),))
            passed = (ours.fileno(), listening.fileno())
            keeper = spawn("keeper_end", *map(str, passed), pass_fds=passed)
        self._started[instance.token] = instance, [guest, keeper]
        return instance

    def release(self, instance: Instance, socket: Path) -> None:
        self._inner.release(instance, socket)

    def alive(self, instance: Instance) -> bool:
        return self._inner.alive(instance)

    def kill(self, instance: Instance) -> None:
        self._inner.kill(instance)
        real, ends = self._started.get(instance.token, (instance, []))
        if not self._inner.alive(real):
            for end in ends:
                end.wait(PATIENCE_S)

    def fetch(self, instance: Instance, socket: Path, target: str, folder: Path, bounds: Bounds) -> None:
        raise NotImplementedError

    def parting(self, instance: Instance, socket: Path) -> contextlib.AbstractContextManager[Fetch | None]:
        raise NotImplementedError

    def show_trust(self, instance: Instance, socket: Path, folder: Path) -> None:
        raise NotImplementedError

    def ends(self, instance: Instance) -> list[subprocess.Popen[bytes]]:
        """The processes of the bridge: the guest's end, the keeper's."""
        return self._started[instance.token][1]

    def strays(self, known: frozenset[str], *, remove: bool = False) -> int:
        return self._inner.strays(known, remove=remove)
