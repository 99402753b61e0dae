"""Where the machinery of guests keeps what it can make again: all of it below the cache folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import StateUnwritable, WorkspaceBusy
from sandlot.paths import Paths

__all__ = ["Places", "building", "leftovers", "only_one"]

BUILD_WAIT_S = 600.0
"""How long to wait for another process that builds the same thing; a template on a busy machine takes 90 s."""


@dataclass(frozen=True, slots=True)
class Places:
    """The cache of guests.

    ::

        <cache>/guests/
        ├── kernel/<release>/          vmlinuz, the modules a guest needs, `order`
        ├── initramfs/<key>.cpio       kernel modules, busybox, the agent's code, init
        ├── roots/<key>.squashfs       an environment's root file system; <key>.python: its interpreter
        ├── templates/<key>/           ram, state, disk, about.json: a guest that has booted and waits
        ├── disks/<size>-<inodes>.img  empty data disks, formatted
        ├── locks/<name>               flock: held while something of that name is built
        ├── .building-<random>/        what is being built; its builder holds a lock in it
        └── probe.json                 what this machine allows
    """

    root: Path

    @staticmethod
    def of(paths: Paths) -> Places:
        """Below the cache folder of ``paths``."""
        return Places(paths.cache / "guests")

    @property
    def kernels(self) -> Path:
        return self.root / "kernel"

    @property
    def initramfs(self) -> Path:
        return self.root / "initramfs"

    @property
    def roots(self) -> Path:
        return self.root / "roots"

    @property
    def templates(self) -> Path:
        return self.root / "templates"

    @property
    def disks(self) -> Path:
        return self.root / "disks"

    @property
    def probe(self) -> Path:
        return self.root / "probe.json"

    def lock(self, name: str) -> Path:
        return self.root / "locks" / name

    def ensure(self) -> None:
        """Make the folders, private to the user. Raises StateUnwritable."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.kernels, self.initramfs, self.roots, self.templates, self.disks, self.root / "locks"):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateUnwritable(f"cannot make {self.root}: {error.strerror}") from error


@contextlib.contextmanager
def only_one(lock: Path, what: str) -> Iterator[None]:
    """Hold ``lock`` alone: who comes second finds what the first has built. Raises WorkspaceBusy, StateUnwritable."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateUnwritable(f"cannot lock {lock}: {error.strerror}") from error
    try:
        end = time.monotonic() + BUILD_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise WorkspaceBusy(f"{what} is being built by another process", hint="try again") from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def building(places: Places) -> Iterator[Path]:
    """A folder to build something in before it is renamed into place; gone at the end, with what is still in it.

    Those of builders that were killed go as well: their lock is free.
    """
    import shutil

    leftovers(places, remove=True)
    try:
        folder, lock = _own_folder(places.root)
    except OSError as error:
        raise StateUnwritable(f"cannot build in {places.root}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _own_folder(root: Path) -> tuple[Path, int]:
    """A new folder, and a descriptor of the lock in it, which is held. Raises OSError."""
    while True:
        folder = root / f".building-{os.urandom(6).hex()}"
        folder.mkdir(mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return folder, lock
        os.close(lock)  # somebody found it before it was locked, and took it for one of a killed builder


def leftovers(places: Places, *, remove: bool = False) -> int:
    """How many folders killed builders have left; with ``remove`` they are removed."""
    return sum(_is_left(folder, remove=remove) for folder in places.root.glob(".building-*"))


def _is_left(folder: Path, *, remove: bool) -> bool:
    import shutil

    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # its builder is about to lock it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if remove:
            shutil.rmtree(folder, ignore_errors=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
