"""The arguments of bubblewrap: a list of data before it is a command line.

Every mount point is made in a file system that bubblewrap itself created a moment ago. Nothing is mounted or created
below a tree the agent can write: before bubblewrap 0.12 a symlink there makes it create files on the host
(CVE-2026-87766), and ``Plan.check`` refuses such a plan whatever the version.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.errors import StartFailed
from sandlot.runtimes.base import HOME, PROJECT, AreaMount

__all__ = ["DEVICES", "ETC_FILES", "Plan", "environment"]

USER_ID = 1000
RUN_BYTES = 64 << 20
CHANGES = "/run/sandlot/changes"

_USR_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC_SHOWN = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "fonts",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "magic.mime", "mime.types", "os-release",
    "perl", "pki/ca-trust", "pki/tls/certs", "protocols", "python3", "services", "ssl/certs", "ssl/openssl.cnf",
    "timezone",
)  # fmt: skip
"""What toolchains need of /etc and what holds no secret. Never whole folders such as ssl or pki: they hold keys."""

ETC_FILES = {
    "passwd": f"root:x:0:0:root:/root:/bin/sh\nagent:x:{USER_ID}:{USER_ID}:agent:{HOME}:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "group": f"root:x:0:\nagent:x:{USER_ID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandlot\n::1 localhost\n",
    "resolv.conf": "nameserver 10.0.2.3\noptions timeout:2 attempts:2\n",  # answers when the network is open only
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

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

    def isolate(self, hostname: str) -> None:
        """New namespaces of every kind, no way back out of them, no capabilities, no controlling terminal."""
        self.add("--unshare-all", "--unshare-user", "--disable-userns")
        self.add("--uid", str(USER_ID), "--gid", str(USER_ID), "--hostname", hostname)
        self.add("--cap-drop", "ALL", "--new-session", "--as-pid-1")

    def root(self, etc: dict[str, int]) -> None:
        """A curated, read-only look at the host's toolchain; ``etc`` maps our own files to descriptors."""
        self.add("--ro-bind", "/usr", "/usr", at="/usr")
        for name in _USR_LINKS:
            path = Path("/", name)
            if path.is_symlink():
                self.add("--symlink", os.readlink(path), str(path), at=str(path))
            elif path.is_dir():
                self.add("--ro-bind", str(path), str(path), at=str(path))
        for name in _ETC_SHOWN:
            path = Path("/etc", name)
            if path.is_symlink() and not path.exists():
                continue
            if path.exists():
                self.add("--ro-bind", str(path), str(path), at=str(path))
        for name, descriptor in etc.items():
            self.add("--perms", "0444", "--file", str(descriptor), f"/etc/{name}", at=f"/etc/{name}")

    def kernel_files(self, tmp_bytes: int, devices: Path | None = None, shown: Sequence[Path] = ()) -> None:
        """/proc, /dev and the memory file systems, each with a size: bubblewrap's default is half of the RAM.

        ``devices`` holds nodes to show instead of the host's; see devices.py. ``shown``: folders of the host that will
        be shown at their own paths; where one lies below /var/tmp, that is a folder and no link to /tmp, for nothing
        can be mounted below a link.
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
        at = f"{CHANGES}/{os.path.basename(mount.target)}"
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

    def seal(self) -> None:
        """The root and /dev are memory file systems of unlimited size: nobody needs to write there."""
        self.add("--remount-ro", "/dev")
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
