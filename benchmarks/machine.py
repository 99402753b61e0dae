"""What it was measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from sandlot import __version__, process
from sandlot.runtimes.bubblewrap import binary

__all__ = ["Machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that times depend on; no names and no paths."""

    sandlot: str
    python: str
    kernel: str
    processor: str
    cores: int
    memory_bytes: int
    file_system: str
    bubblewrap: str
    git: str
    root: bool

    @classmethod
    def here(cls, folder: Path) -> Machine:
        """This machine, with the file system of ``folder``."""
        found = binary.candidates()
        return cls(
            sandlot=__version__,
            python=platform.python_version(),
            kernel=platform.release(),
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            file_system=_file_system(folder),
            bubblewrap=f"{'.'.join(map(str, found[0].version))} ({found[0].origin})" if found else "none",
            git=process.run(["git", "--version"]).stdout.decode().removeprefix("git version ").strip(),
            root=os.getuid() == 0,
        )

    def __str__(self) -> str:
        user = "root" if self.root else "an ordinary user"
        return (
            f"sandlot {self.sandlot} on {self.cores} cores ({self.processor}), {self.memory_bytes / 2**30:.0f} GB, "
            f"Linux {self.kernel}, {self.file_system}, Python {self.python}, bubblewrap {self.bubblewrap}, "
            f"git {self.git}, as {user}"
        )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the mount that holds ``folder``: the deepest mount point above it (proc_pid_mountinfo(5))."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        if len(point) >= len(best) and (point == "/" or folder == Path(point) or Path(point) in folder.parents):
            best, kind = point, right.split()[0]
    return kind
