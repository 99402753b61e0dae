"""Control groups of one instance: where we may make them, the kernel itself holds a workspace to its limits.

Both layouts are used as they are found (cgroups(7)): version 1, a hierarchy for each controller, and version 2, one for
all, below the nearest folder that was delegated to us. Everything is tried, nothing concluded from a name or a version.

The watcher inside ends a command that exceeds a limit and says which; the kernel's own limit lies a little above (see
``ceiling``), so that the answer is usually the watcher's, and a program faster than the watcher still gets nowhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.model.limits import Limits

__all__ = ["Groups", "ceiling", "make", "remove", "strays"]

RESERVE = 32
"""Processes beyond the limit that are for our own: the agent must be able to start the worker that helps."""
SLACK = 64 << 20
"""Bytes beyond the limit: what a program can take between two looks of the watcher."""
PERIOD_US = 100_000
PREFIX = "sandlot-"
SWEEP = 16
REMOVE_S = 2.0
"""How long a group may stay busy after its last process was killed."""
YOUNG_S = 60.0
"""A group this young without processes may belong to a start that is under way."""
MOST_FOLDERS = 20_000
"""How many folders of the hierarchy a search for leftovers looks at."""

_CONTROLLERS = {"memory": "memory", "pids": "processes", "cpu": "cpus"}


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder below which a group with some controllers can be made."""

    folder: Path
    version: int
    controllers: tuple[str, ...]


@dataclass(slots=True)
class Groups:
    """The groups of one instance."""

    folders: list[Path] = field(default_factory=list)
    enforced: set[str] = field(default_factory=set)
    """Names of the limits that the kernel holds them to."""
    events: dict[str, int] = field(default_factory=dict)
    """Descriptors to read how often a limit was hit (``oom``, ``forks``) and the memory in use (``stat``).

    The agent gets them, no command does."""

    def enter(self, pid: int) -> bool:
        """Put a process, and all it will start, into every group. On failure there are no groups any more."""
        for folder in self.folders:
            if not _write(folder / "cgroup.procs", str(pid)):
                self.give_up()
                return False
        return True

    def give_up(self) -> None:
        """Remove them; nothing is enforced."""
        remove(tuple(map(str, self.folders)))
        self.folders.clear()
        self.enforced.clear()

    def close(self) -> None:
        """Drop the descriptors."""
        while self.events:
            os.close(self.events.popitem()[1])


def ceiling(name: str, value: int) -> int:
    """The kernel's limit for a limit of ours: high enough that the watcher, who can say what happened, comes first."""
    return value + RESERVE if name == "processes" else value + max(SLACK, value // 8)


def make(state: Path, token: str, limits: Limits) -> Groups:
    """Groups for a new instance, with every limit that can be set here; none at all where none can be."""
    made = Groups()
    wanted = [each for each, limit in _CONTROLLERS.items() if getattr(limits, limit) is not None]
    for place in _places(wanted):
        _sweep(place.folder)
        folder = place.folder / _name(state, token)
        try:
            folder.mkdir()
        except OSError:
            continue
        done = [each for each in place.controllers if _limit(folder, place.version, each, limits)]
        if not done:
            remove((str(folder),))
            continue
        made.folders.append(folder)
        made.enforced.update(_CONTROLLERS[each] for each in done)
        for each in done:
            _watch(made, folder, place.version, each)
    return made


def _name(state: Path, token: str) -> str:
    return f"{PREFIX}{hashlib.sha256(os.fsencode(state)).hexdigest()[:8]}-{token}"


def _limit(folder: Path, version: int, controller: str, limits: Limits) -> bool:
    """Set one controller's limit, and look whether it is set."""
    if controller == "memory":
        most = ceiling("memory", limits.memory or 0)
        files = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if version == 1 else ("memory.max",)
        if version == 2:
            _write(folder / "memory.swap.max", "0")
        else:
            _write(folder / "memory.swappiness", "0")
        done = _write(folder / files[0], str(most))
        for extra in files[1:]:
            _write(folder / extra, str(most))  # without it, where swap is not counted, swap comes on top
        return done and _read(folder / files[0]).isdigit() and int(_read(folder / files[0])) <= most
    if controller == "pids":
        most = ceiling("processes", limits.processes or 0)
        return _write(folder / "pids.max", str(most)) and _read(folder / "pids.max") == str(most)
    quota = max(1000, round((limits.cpus or 0) * PERIOD_US))
    if version == 2:
        return (
            _write(folder / "cpu.max", f"{quota} {PERIOD_US}") and _read(folder / "cpu.max") == f"{quota} {PERIOD_US}"
        )
    _write(folder / "cpu.cfs_period_us", str(PERIOD_US))
    return _write(folder / "cpu.cfs_quota_us", str(quota)) and _read(folder / "cpu.cfs_quota_us") == str(quota)


def _watch(made: Groups, folder: Path, version: int, controller: str) -> None:
    """Open the file that counts how often the kernel had to refuse."""
    oom = "memory.oom_control" if version == 1 else "memory.events"
    names = {"memory": (("oom", oom), ("stat", "memory.stat")), "pids": (("forks", "pids.events"),)}
    for key, name in names.get(controller, ()):
        with contextlib.suppress(OSError):  # then the answer does not say why a process was killed
            made.events[key] = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)


def _places(wanted: list[str]) -> Iterator[_Place]:
    """Where groups with the wanted controllers could be made, as far as one can see without trying."""
    mounts = _mounts()
    unified: list[str] = []
    own = _own_groups()
    for controller in wanted:
        if controller in own and controller in mounts:
            folder = _below(mounts[controller], own[controller])
            if folder is not None and os.access(folder, os.W_OK):
                yield _Place(folder, 1, (controller,))
        else:
            unified.append(controller)
    if unified and "" in own and "" in mounts:
        mount, root = mounts[""]
        folder = _below((mount, root), own[""])
        while folder is not None and folder.is_relative_to(mount):
            found = _delegated(folder, unified)
            if found:
                yield _Place(folder, 2, found)
                return
            folder = folder.parent


def _delegated(folder: Path, wanted: list[str]) -> tuple[str, ...]:
    """The wanted controllers that groups below this one have, switched on if need be.

    The kernel refuses that where processes live in the folder itself, so it is usually one further up.
    """
    if not os.access(folder, os.W_OK) or not os.access(folder / "cgroup.procs", os.W_OK):
        return ()
    for controller in wanted:
        _write(folder / "cgroup.subtree_control", f"+{controller}")
    active = _read(folder / "cgroup.subtree_control").split()
    return tuple(controller for controller in wanted if controller in active)


def _own_groups() -> dict[str, str]:
    """Controller ("" for version 2) -> path of the calling process."""
    found = {}
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _mounts() -> dict[str, tuple[Path, str]]:
    """Controller ("" for version 2) -> (mount point, the path in the hierarchy that is mounted there)."""
    found: dict[str, tuple[Path, str]] = {}
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, point = left.split(" ")[3:5]
        for controller in [""] if kind == "cgroup2" else options.rpartition(" ")[2].split(","):
            found.setdefault(controller, (Path(point), root))
    return found


def _below(mount: tuple[Path, str], path: str) -> Path | None:
    """The folder of a path of the hierarchy, if it is mounted."""
    point, root = mount
    relative = os.path.relpath(path, root)
    return None if relative.startswith("..") else point / relative


def remove(folders: tuple[str, ...]) -> None:
    """Remove groups whose processes have been ended. One that is gone, or stays busy, is no error: see ``strays``."""
    end = time.monotonic() + REMOVE_S
    for text in folders:
        if not Path(text).name.startswith(PREFIX):
            continue
        while True:
            try:
                os.rmdir(text)
                break
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > end:
                    break
                time.sleep(0.002)


def _sweep(parent: Path) -> None:
    """Remove groups that starts which were cut off have left beside ours: nobody else may ever look again.

    A group of a living instance is never empty, and one that is not cannot be removed: the kernel sees to that. Few are
    tried each time, so that a start stays quick however many instances there are.
    """
    try:
        found = [name for name in os.listdir(parent) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in random.sample(found, min(len(found), SWEEP)):
        with contextlib.suppress(OSError):
            if time.time() - os.stat(parent / name).st_mtime > YOUNG_S:
                os.rmdir(parent / name)


def strays(state: Path, known: frozenset[str]) -> list[str]:
    """Groups of this state folder that no recorded instance owns (``known``: their tokens) and nobody is in."""
    prefix = _name(state, "")
    found: list[str] = []
    left = MOST_FOLDERS
    for point in {mount[0] for name, mount in _mounts().items() if name in ("", *_CONTROLLERS)}:
        for folder, names, _ in os.walk(point):
            left -= 1
            if left < 0:
                return found
            for name in names:
                path = Path(folder, name)
                if name.startswith(prefix) and name.removeprefix(prefix) not in known and _abandoned(path):
                    found.append(str(path))
    return found


def _abandoned(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - folder.stat().st_mtime > YOUNG_S and not (folder / "cgroup.procs").read_text().strip()
    return False


def _write(path: Path, text: str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # never created: a plain folder is no control group
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
