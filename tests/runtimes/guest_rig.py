"""What runs inside a guest to serve its storage, run here as a process in namespaces of its own, without a guest.

As root it has a real ext4 (through a loop device) and overlays with ``trusted.*`` marks, as guests do; as an ordinary
user a folder in place of the disk, and a user namespace.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandlot.runtimes.guest_storage import GuestStorage

_INSIDE = """
import os, socket, sys
from sandlot.guest import storage
descriptor, root, disk, command = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
class Kept(storage.Storage):
    def prepare(self):
        os.makedirs(self.warm, exist_ok=True)
        os.makedirs(self.mounted, exist_ok=True)
class Folder(Kept):
    def open_disk(self):
        os.makedirs(self.cold, exist_ok=True)
    def options(self, places):
        return os.fsdecode(places) + ",userxattr"
if os.environ["REAL"] == "1":
    place = Kept(disk, root=root)
else:
    place = Folder(disk, root=root, owner=-1, opaque="user.overlay.opaque")
place.prepare()
connection = socket.socket(fileno=descriptor)
storage.answer_all(connection, place)
status = os.system(command) if command else 0
connection.close()
os._exit(os.waitstatus_to_exitcode(status))
"""


class Inside:
    """One guest's places; ``connect`` as often as wanted, one after the other."""

    def __init__(self, folder: Path, disk: Path | None) -> None:
        self.folder = folder
        self.real = disk is not None
        self.disk = disk
        self.device = ""

    @contextmanager
    def connect(self, then: str = "") -> Iterator[GuestStorage]:
        """A connection; when it is closed, ``then`` (a shell command) runs where the areas are mounted."""
        ours, theirs = socket.socketpair()
        unshare = ["unshare", "-m"] if self.real else ["unshare", "-U", "-r", "-m"]
        argv = [*unshare, sys.executable, "-c", _INSIDE, str(theirs.fileno()), str(self.folder), self.device, then]
        environment = {**os.environ, "REAL": str(int(self.real))}
        with subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=environment, stderr=subprocess.PIPE) as inside:
            theirs.close()
            with GuestStorage(ours) as storage:
                yield storage
            said = inside.communicate()[1]
            assert inside.returncode == 0, said

    def target(self, name: str) -> str:
        """Where an area is mounted."""
        path = self.folder / "targets" / name
        path.mkdir(parents=True, exist_ok=True)
        return str(path)


@contextmanager
def inside(folder: Path, disk: Path) -> Iterator[Inside]:
    """The rig. ``disk`` is used when we are root and may have a loop device."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare(1) is not here")
    if os.getuid() != 0:
        if subprocess.run(["unshare", "-U", "-r", "-m", "true"], check=False, capture_output=True).returncode:
            pytest.skip("an ordinary user gets no user namespace here")
        yield Inside(folder, None)
        return
    done = subprocess.run(["losetup", "-f", "--show", str(disk)], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr}")
    made = Inside(folder, disk)
    made.device = done.stdout.strip()
    try:
        yield made
    finally:
        subprocess.run(["losetup", "-d", made.device], check=True)
