"""Templates: guests that have booted once and wait in a file, to be cloned in a tenth of a second."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.progress import Report
from sandlot.errors import StartFailed
from sandlot.runtimes.disks import make_usual_disk
from sandlot.runtimes.guest_storage import GuestStorage, warm_key
from sandlot.runtimes.qemu import asking, commandline
from sandlot.runtimes.qemu.commandline import Machine
from sandlot.runtimes.qemu.image import RootImage, packed_from
from sandlot.runtimes.qemu.initramfs import Initramfs
from sandlot.runtimes.qemu.keeping import Plan, starting
from sandlot.runtimes.qemu.kernel import Kernel
from sandlot.runtimes.qemu.places import Places, building, only_one
from sandlot.runtimes.qemu.settling import settle
from sandlot.runtimes.qemu.starter import BOOT_S, CLONE_S

__all__ = ["PrunedGuests", "Recipe", "Template", "get", "key_of", "known", "prune", "standing"]

FORMAT = "2"
_FORMATS = f"{FORMAT}.{commandline.FORMAT}"
KEPT = 12
"""How many templates are kept when another is made; each takes as much as its guest has touched, and its base."""
KEPT_ROOTS = 4
"""How many root file systems, which take gigabytes."""
RECENT_S = 600.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a template is made of."""

    machine: Machine
    kernel: Kernel
    initramfs: Initramfs
    root: RootImage
    warm: tuple[Path, ...] = ()
    """Layers of a base that it holds in memory; see LaunchRequest.warm."""


@dataclass(frozen=True, slots=True)
class Template:
    """One template on disk; ``about.json`` is written last and makes it one."""

    key: str
    folder: Path

    @property
    def ram(self) -> Path:
        return self.folder / "ram"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def disk(self) -> Path:
        """The data disk that its guest had mounted."""
        return self.folder / "disk"


def key_of(recipe: Recipe) -> str:
    """What a template is kept by: it can be cloned only by a machine like its own."""
    parts = (
        FORMAT, recipe.machine.key, recipe.kernel.release, recipe.initramfs.key, recipe.root.key,
        warm_key(recipe.warm) if recipe.warm else "",
    )  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def known(places: Places, key: str) -> Template | None:
    """The template of that key if it is there, as it was saved.

    A clone's QEMU could write to the memory that others start from, and a guest that has taken one over would: whoever
    changes a file changes its ctime, which nobody can set.
    """
    found = Template(key, places.templates / key)
    told = about(found.folder / "about.json")
    try:
        is_whole = all(told.get(file.name) == os.stat(file).st_ctime_ns for file in (found.ram, found.disk))
    except OSError:
        return None
    return found if is_whole else None


def get(places: Places, recipe: Recipe, progress: Report | None = None) -> Template:
    """The template, booted and saved when it is not there yet. Raises StartFailed, StateUnwritable, WorkspaceBusy."""
    key = key_of(recipe)
    found = known(places, key)
    if found is None:
        places.ensure()
        with only_one(places.lock(f"template-{key}"), "the guests' template"):
            found = known(places, key)
            if found is None:
                if progress is not None:
                    progress("booting the guest that others are cloned from, once", 0, 0)
                found = _build(places, recipe, key)
    for mark in (found.folder / "about.json", recipe.root.file, recipe.initramfs.file):
        with contextlib.suppress(OSError):  # when it was used last, for pruning
            os.utime(mark)
    return found


def _build(places: Places, recipe: Recipe, key: str) -> Template:
    with building(places) as folder:
        made = Template(key, folder / "template")
        made.folder.mkdir()
        _sparse(made.ram, recipe.machine.memory)
        make_usual_disk(places.disks, made.disk)
        plan = plan_of(recipe, made, made.disk, life="boot")
        began = time.monotonic()
        with starting(folder / "socket", folder / "log") as kept:
            kept.keep(plan, BOOT_S + 10)
            with GuestStorage(asking.job(folder / "socket", b"storage")) as storage:
                storage.warm(recipe.warm)
            if kept.qemu is not None:
                settle(kept.qemu.pid)
            kept.say(b"save")
            if not kept.hear(CLONE_S + 10).get("saved"):
                raise StartFailed("the guest's template could not be saved")
        kept.abandon()
        os.chmod(made.ram, 0o600)
        about = {
            made.ram.name: _settled(made.ram),
            made.disk.name: _settled(made.disk),
            "kernel": recipe.kernel.release,
            "accelerator": recipe.machine.accelerator,
            "qemu": recipe.machine.emulator.version,
            "stamp": recipe.machine.emulator.stamp,
            "initramfs": recipe.initramfs.key,
            "root": recipe.root.key,
            "source": str(packed_from(recipe.root.file) or ""),
            "format": _FORMATS,
            "warm": [str(path) for path in recipe.warm],
            "took_s": round(time.monotonic() - began, 2),
        }
        with open(made.folder / "about.json", "w", encoding="utf-8") as file:
            json.dump(about, file)
            file.flush()
            os.fsync(file.fileno())
        target = places.templates / key
        with contextlib.suppress(FileNotFoundError):  # a folder without its about.json is none
            os.rename(target, folder / "old")
        os.rename(made.folder, target)
    prune(places)
    return Template(key, target)


@dataclass(frozen=True, slots=True)
class PrunedGuests:
    """What a prune removed (or would remove)."""

    things: int
    """Templates, root file systems and start-up archives."""
    bytes: int


def prune(places: Places, *, keep: int = KEPT, unused_for_s: float = 0.0, dry_run: bool = False) -> PrunedGuests:
    """Remove what has not been used for longest, all but ``keep`` of each kind.

    A guest that runs has its files open and does not need their names. What was used in the last minutes stays: a
    clone of it may be on its way.
    """
    things = size = 0
    newest = time.time() - max(RECENT_S, unused_for_s)
    for folder, mark in ((places.templates, "about.json"), (places.roots, ""), (places.initramfs, "")):
        entries = [each for each in folder.glob("*") if each.suffix != ".python"]
        by_use = sorted(entries, key=lambda each: _used(each / mark if mark else each), reverse=True)
        for entry in by_use[keep if folder != places.roots else min(keep, KEPT_ROOTS) :]:
            if _used(entry / mark if mark else entry) >= newest:
                continue
            things += 1
            size += sum(file.stat().st_blocks * 512 for file in ([entry] if entry.is_file() else entry.glob("*")))
            if not dry_run:
                with contextlib.suppress(OSError):
                    (entry / mark if mark else entry).unlink()  # first what makes it one
                    entry.with_suffix(".python").unlink(missing_ok=True)
                shutil.rmtree(entry, ignore_errors=True)
    return PrunedGuests(things, size)


def _settled(path: Path) -> int:
    """Write a file to the disk, and say when it was changed last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_ctime_ns
    finally:
        os.close(descriptor)


def _used(mark: Path) -> float:
    try:
        return mark.stat().st_mtime
    except OSError:
        return 0.0


def standing(
    places: Places, *, root: str | None, source: Path | None = None, initramfs: str, stamp: str, accelerator: str
) -> str:
    """How soon a guest on a root file system can start: ``warm`` (at once), ``cold``, or ``stale``.

    ``source``: the environment's tree, None for the host's own userland. Stale means that it has templates, but of an
    older sandlot, kernel, QEMU or userland, or from a time when guests ran with another accelerator.
    """
    every = [about(file) for file in places.templates.glob("*/about.json")]
    found = [each for each in every if each.get("source", "") == str(source or "")]
    wanted = {
        "root": root, "initramfs": initramfs, "stamp": stamp, "accelerator": accelerator, "format": _FORMATS,
    }  # fmt: skip
    if any(all(each.get(name) == value for name, value in wanted.items()) for each in found):
        return "warm"
    return "stale" if found else "cold"


def about(file: Path) -> dict[str, object]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def plan_of(
    recipe: Recipe,
    template: Template,
    data: Path,
    *,
    life: str,
    own: bool = False,
    hostname: str = "sandlot",
    workspace: str = "",
) -> Plan:
    """What a keeper is told. ``data`` is a copy of the template's disk, or the guest's ``own``."""
    files = {"ram": template.ram, "root": recipe.root.file, "data": data}
    program = recipe.machine.emulator.path
    reads = [program, recipe.root.file]
    beside = program.parent.parent  # where one that was not installed by the distribution has what belongs to it
    if program.parent.name == "bin" and not Path(os.path.expanduser("~")).is_relative_to(beside):
        reads.append(beside)
    if life == "clone":
        argv = commandline.clone(recipe.machine, **files, own=own)
    else:
        argv = commandline.boot(
            recipe.machine, **files,
            kernel=recipe.kernel.image, initramfs=recipe.initramfs.file, python=recipe.root.python,
        )  # fmt: skip
        reads += [recipe.kernel.image, recipe.initramfs.file]
    # A clone changes nothing in the memory's file, and yet QEMU opens it for writing (until 8.2 there is no other way).
    writes = (str(template.ram), str(data))
    read = tuple(map(str, reads))
    return Plan(life, tuple(argv), str(template.state), read, writes, hostname, workspace)


def _sparse(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
