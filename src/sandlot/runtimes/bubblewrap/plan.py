"""The arguments of bubblewrap: a list of data before it is a command line.

Every mount point is made in a file system that bubblewrap itself created a moment ago. Nothing is mounted or created
below a tree the agent can write: before bubblewrap 0.12 a symlink there makes it create files on the host
(CVE-2026-87766), and ``Plan.check`` refuses such a plan whatever the version.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.errors import StartFailed
from sandlot.runtimes.base import HOME, PROJECT, AreaMount
from sandlot.runtimes.curated import ETC_FILES, ETC_SHOWN, USER_ID, USR_LINKS

__all__ = ["DEVICES", "ETC_FILES", "MOUNT_POINTS", "Plan", "environment"]

MOUNT_POINTS = ("proc", "dev", "sys", "run", "tmp", "workspace", "home/agent", "etc/sandlot")
"""Folders that every environment has, for what is mounted on them."""
RUN_BYTES = 64 << 20
CHANGES = "/run/sandlot/changes"

# A root caller keeps its kernel uid inside (only that one can be mapped), so files of procfs that root may write
# without any capability, /proc/sys first, would reach the host: `echo > /proc/sys/kernel/core_pattern` is code
# execution on it. Root also owns them, and a `chmod` below /proc holds in every other mount of procfs. So the whole
# of /proc is read-only, and what tells of the host's memory and keys is hidden; tested by attacks.
_PROC_HIDDEN = (
    "kcore", "keys", "key-users", "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "sched_debug", "slabinfo",
    "timer_list", "vmallocinfo",
)  # fmt: skip
"""Hidden where the caller could read them: each mount costs a start a third of a millisecond."""

DEVICES = {"full": 7, "null": 3, "random": 8, "tty": 0, "urandom": 9, "zero": 5}
"""What ``--dev`` binds from the host: minor numbers; the major number is 1, and 5 for tty (devices.txt)."""


def environment() -> dict[str, str]:
    """What every command inside starts with; nothing of the host's environment comes along."""
    return {
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "LOGNAME": "agent",
        "PATH": f"{HOME}/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD": PROJECT,
        "SHELL": "/bin/bash",
        "SANDLOT": "1",
        "TERM": "dumb",
        "TMPDIR": "/tmp",  # noqa: S108  inside the workspace, a file system of its own
        "USER": "agent",
    }


@dataclass(slots=True)
class Plan:
    """Options of bubblewrap, in order."""

    options: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    """Every path inside at which something is mounted or created."""
    writable: list[str] = field(default_factory=list)
    """Trees that hold what an agent wrote earlier."""

    def add(self, *words: str, at: str | None = None) -> None:
        """Append one option; ``at`` is the path inside that it makes."""
        self.options.extend(words)
        if at is not None:
            self.points.append(at)

    def isolate(self, hostname: str, *, as_root: bool = False) -> None:
        """New namespaces of every kind, no way back out of them, no capabilities, no controlling terminal.

        ``as_root``: the one user there is is called 0 inside. It can do what 1000 can: it has no capability either.
        """
        user = "0" if as_root else str(USER_ID)
        self.add("--unshare-all", "--unshare-user", "--disable-userns")
        self.add("--uid", user, "--gid", user, "--hostname", hostname)
        self.add("--cap-drop", "ALL", "--new-session", "--as-pid-1")

    def root(self, etc: dict[str, int]) -> None:
        """A curated, read-only look at the host's toolchain; ``etc`` maps our own files to descriptors."""
        self.add("--ro-bind", "/usr", "/usr", at="/usr")
        for name in USR_LINKS:
            path = Path("/", name)
            if path.is_symlink():
                self.add("--symlink", os.readlink(path), str(path), at=str(path))
            elif path.is_dir():
                self.add("--ro-bind", str(path), str(path), at=str(path))
        for name in ETC_SHOWN:
            path = Path("/etc", name)
            if path.is_symlink() and not path.exists():
                continue
            if path.exists():
                self.add("--ro-bind", str(path), str(path), at=str(path))
        for name, descriptor in etc.items():
            self.add("--perms", "0444", "--file", str(descriptor), f"/etc/{name}", at=f"/etc/{name}")

    def environment(self, tree: Path, building: AreaMount | None = None) -> None:
        """The root file system of an environment, read-only, or with changes of a setup on top.

        What is mounted below it later is mounted on folders that are there. That is checked, in a tree of the store,
        which nobody writes to; and on top of it a setup starts with no changes at all, so nothing that a program
        inside has written has a say in it (CVE-2026-87766).
        """
        for point in MOUNT_POINTS:
            if not stat.S_ISDIR(os.lstat(tree / point).st_mode) or (tree / point).resolve() != tree.resolve() / point:
                raise StartFailed(
                    f"the environment has no folder /{point} to mount at", hint="sandlot env prune, build"
                )
        if building is None:
            self.add("--ro-bind", str(tree), "/", at="/")
        elif building.work is None:
            self.add("--bind", str(building.upper), "/", at="/")
        else:
            with os.scandir(building.upper) as entries:
                if next(entries, None) is not None:
                    raise StartFailed("a setup cannot be started twice on the same changes")
            self.add("--overlay-src", str(tree), "--overlay", str(building.upper), str(building.work), "/", at="/")

    def kernel_files(
        self, tmp_bytes: int, devices: Path | None = None, shown: Sequence[Path] = (), *, links: bool = True
    ) -> None:
        """/proc, /dev and the memory file systems, each with a size: bubblewrap's default is half of the RAM.

        ``devices`` holds nodes to show instead of the host's; see devices.py. ``shown``: folders of the host that will
        be shown at their own paths; where one lies below /var/tmp, that is a folder and no link to /tmp, for nothing
        can be mounted below a link. ``links``: /var is to be made, too; an environment has its own.
        """
        self.add("--proc", "/proc", at="/proc")
        for name in _PROC_HIDDEN:
            if os.access(f"/proc/{name}", os.R_OK):
                self.add("--ro-bind", "/dev/null", f"/proc/{name}", at=f"/proc/{name}")
        self.add("--remount-ro", "/proc")
        self.add("--dev", "/dev", at="/dev")
        for name in DEVICES if devices is not None else ():
            self.add("--dev-bind", f"{devices}/{name}", f"/dev/{name}", at=f"/dev/{name}")
        self.add("--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/dev/shm", at="/dev/shm")  # noqa: S108  inside
        self.add("--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/tmp", at="/tmp")  # noqa: S108  inside
        self.add("--perms", "0755", "--size", str(RUN_BYTES), "--tmpfs", "/run", at="/run")
        if not links:
            return
        if any(path.is_relative_to("/var/tmp") for path in shown):  # noqa: S108  inside
            size = min(tmp_bytes, RUN_BYTES)  # small: with /tmp and /dev/shm it is more than all memory otherwise
            self.add("--perms", "1777", "--size", str(size), "--tmpfs", "/var/tmp", at="/var/tmp")  # noqa: S108  inside
        else:
            self.add("--symlink", "/tmp", "/var/tmp", at="/var/tmp")  # noqa: S108  inside
        self.add("--symlink", "/run", "/var/run", at="/var/run")

    def show(self, source: Path, at: str) -> None:
        """A host folder, read-only."""
        self.add("--ro-bind", str(source), at, at=at)

    def changes(self, mount: AreaMount) -> str:
        """An area's private changes alone, read-only, for the agent to measure; returns where.

        What is below is the workspace's own and shows nothing that the area does not: no other layer, no host file.
        """
        if mount.work is None:
            return mount.target
        at = f"{CHANGES}/{os.path.basename(mount.target) or 'root'}"
        self.show(mount.upper, at)
        return at

    def area(self, mount: AreaMount) -> None:
        """A writable tree of the workspace."""
        self.writable.append(mount.target)
        if mount.work is None:
            self.add("--bind", str(mount.upper), mount.target, at=mount.target)
            return
        for lower in mount.lowers:  # bubblewrap takes the lowest layer first
            self.add("--overlay-src", str(lower))
        self.add("--overlay", str(mount.upper), str(mount.work), mount.target, at=mount.target)

    def seal(self, *, root: bool = True) -> None:
        """The root and /dev are memory file systems of unlimited size: nobody needs to write there."""
        self.add("--remount-ro", "/dev")
        if root:
            self.add("--remount-ro", "/")
        self.add("--chdir", PROJECT)

    def check(self) -> None:
        """Refuse a plan that makes anything below an agent-writable tree (CVE-2026-87766)."""
        for point in self.points:
            if not point.startswith("/"):
                raise StartFailed(f"the plan would create {point!r}, which is no absolute path")
            place = "/" + os.path.normpath(point).lstrip("/")
            for tree in self.writable:
                if place.startswith(tree + "/"):
                    raise StartFailed(f"the plan would create {point} below {tree}, which the workspace can write")

    def encoded(self, extra: Iterable[str] = ()) -> bytes:
        """The options as ``--args`` reads them: through a descriptor, so that no process list shows them."""
        self.check()
        words = (*self.options, *extra)
        if any("\0" in word for word in words):
            raise StartFailed("a path of the plan holds a NUL character, which would end it")
        return b"".join(os.fsencode(word) + b"\0" for word in words)
