"""Many clients of one bridge, most of them rude: each gets its own answer, and nothing of them is left."""

from __future__ import annotations

import os
import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.paths import Paths
from sandlot.runtimes.base import AREA_TARGETS, AreaMount, LaunchRequest, StorageKind
from sandlot.runtimes.conformance_guest import Command, Guest, eventually
from sandlot.runtimes.qemu import asking
from sandlot.wire import frames, messages
from tests.runtimes.bridged import BridgedRuntime

SECONDS = 60
CLIENTS = 12


class Crowd:
    """What clients do to one workspace."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._starting = threading.Lock()
        self.deeds: list[Callable[[random.Random], None]] = [
            self.run, self.leave, self.feed, self.flood, self.rubbish, self.silence, self.pass_and_go, self.half,
            self.refused, self.read, self.read_a_part,
        ]  # fmt: skip

    def start(self, script: str, **options: int) -> Command:
        with self._starting:
            return self.guest.start(script, **options)  # type: ignore[arg-type]  # start's own keywords

    def run(self, chance: random.Random) -> None:
        number = chance.randrange(256)
        command = self.start(f"echo {number}; exit {number}")
        ended = command.finish()
        command.close()
        assert (ended.how.exit_code, ended.stdout) == (number, b"%d\n" % number)

    def leave(self, chance: random.Random) -> None:
        command = self.start("echo x; sleep 1000")
        if chance.random() < 0.5:
            command.started()
        command.close()

    def feed(self, chance: random.Random) -> None:
        read, write = os.pipe()
        command = self.start("cat | wc -c", stdin=read)
        os.close(read)
        size = chance.randrange(60_000)
        os.write(write, bytes(size))
        os.close(write)
        assert int(command.finish().stdout) == size
        command.close()

    def flood(self, _chance: random.Random) -> None:
        command = self.start("head -c 3000000 /dev/zero | tr '\\0' x", quota=1 << 22)
        assert command.finish().stdout == b"x" * 3_000_000
        command.close()

    def _client(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(os.fspath(self.guest.request.socket))
        return made

    def rubbish(self, chance: random.Random) -> None:
        with self._client() as client:
            client.sendall(chance.randbytes(chance.randrange(1, 5000)))

    def silence(self, _chance: random.Random) -> None:
        self._client().close()

    def half(self, _chance: random.Random) -> None:
        with self._client() as client:
            client.send(frames.encode(messages.PING, 1, [])[:7])

    def pass_and_go(self, _chance: random.Random) -> None:
        read, write = os.pipe()
        with self._client() as client:
            socket.send_fds(client, [frames.encode(messages.PING, 1, [])], [read, write])
        os.close(read)
        os.close(write)

    def refused(self, _chance: random.Random) -> None:
        with pytest.raises(ConnectionRefusedError):
            asking.connect(self.guest.request.socket, 9)

    def read(self, _chance: random.Random, *, part: bool = False) -> None:
        read, write = os.pipe()
        fields = [b"file_read", b"/workspace", b"big", b"bytes", b"0", b"2000000", b"2000000"]
        with self.guest.channel() as channel:
            channel.send(messages.TOOL, fields, [write])
            os.close(write)
            size = 0
            while data := os.read(read, 1 << 16):
                size += len(data)
                if part:
                    break
            os.close(read)
            assert part or size == 2_000_000

    def read_a_part(self, chance: random.Random) -> None:
        self.read(chance, part=True)


def launched(runtime: BridgedRuntime, folder: Path) -> Guest:
    overlay = runtime.probe().storage == StorageKind.OVERLAY
    areas = []
    for area, target in AREA_TARGETS.items():
        upper, work, lower = (folder / area / each for each in ("upper", "work", "lower"))
        for each in (upper, work, lower):
            each.mkdir(parents=True)
        areas.append(AreaMount(target, upper, work, (lower,)) if overlay else AreaMount(target, upper))
    request = LaunchRequest("chaos", tuple(areas), folder / "sock", folder / "log")
    guest = Guest(runtime, runtime.launch(request), request)
    runtime.release(guest.instance, request.socket)
    return guest


def open_files(runtime: BridgedRuntime, guest: Guest) -> list[int]:
    return [len(os.listdir(f"/proc/{end.pid}/fd")) for end in runtime.ends(guest.instance)]


@pytest.mark.slow
def test_a_crowd_of_rude_clients_leaves_nothing_in_either_end() -> None:
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    paths = Paths.at(folder / "own")
    paths.ensure()
    runtime = BridgedRuntime(paths)
    guest = launched(runtime, folder / "one")
    failures: list[BaseException] = []
    try:
        guest.output("head -c 2000000 /dev/zero > big")
        eventually(lambda: guest.running() == [], "it is quiet")
        before = open_files(runtime, guest)
        crowd = Crowd(guest)
        end = time.monotonic() + SECONDS

        def misbehave(seed: int) -> None:
            chance = random.Random(seed)
            try:
                while time.monotonic() < end and not failures:
                    chance.choice(crowd.deeds)(chance)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=misbehave, args=(seed,)) for seed in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        eventually(lambda: guest.running() == [] and guest.processes() == 0, "no command is left")
        eventually(lambda: open_files(runtime, guest) == before, "no descriptor is left")
    finally:
        runtime.kill(guest.instance)
        remove_tree(folder)
