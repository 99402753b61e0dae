"""The agent's code, staged once per interpreter so that a workspace starts without compiling anything.

The agent runs under the distribution's Python when there is a usable one (it is inside already, below /usr), else
under the interpreter that runs sandlot, whose prefix is then shown read-only inside.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from sandlot import process
from sandlot.errors import StateUnwritable
from sandlot.paths import Paths
from sandlot.runtimes.agent_code import SYSTEM_PYTHONS, host_python, sources

__all__ = ["INSIDE", "Staged", "stage"]

INSIDE = "/run/sandlot/lib"
"""Where the staged code is shown inside."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Code folder on the host, the interpreter's path (the same inside), and its prefix if that is not below /usr."""

    folder: Path
    executable: str
    prefix: Path | None

    def argv(
        self, listening: int, idle_s: float, leash: int, limits: str = "", python: tuple[str, ...] = ()
    ) -> list[str]:
        """The agent's command line; -I -S -E keep the workspace's files and site-packages out of it.

        ``python``: the words that start another interpreter than ``executable``, of the same version.
        """
        code = f"import sys; sys.path.insert(0, {INSIDE!r}); from sandlot.guest.agent import main; main()"
        return [
            *(python or (self.executable,)),
            "-I",
            "-S",
            "-E",
            "-B",
            "-c",
            code,
            str(listening),
            str(idle_s),
            str(leash),
            limits,
        ]


def stage(paths: Paths) -> Staged:
    """The staged code, made when it is not there yet.

    Raises IsolationUnavailable when no interpreter can run the agent.
    """
    code = sources()
    digest = hashlib.sha256()
    for name, file in code:
        info = file.stat()
        digest.update(f"{name}:{info.st_mtime_ns}:{info.st_size}\n".encode())
    for name in (*SYSTEM_PYTHONS, sys.executable, sys.base_prefix):
        try:
            info = os.stat(name)
            digest.update(f"{name}:{info.st_mtime_ns}:{info.st_ino}\n".encode())
        except OSError:
            digest.update(f"{name}:\n".encode())
    folder = paths.cache / "agent" / digest.hexdigest()[:24]
    try:
        executable, prefix = (folder / "interpreter").read_text().splitlines()
    except (OSError, ValueError):
        executable, prefix = _build(folder)
    return Staged(folder, executable, Path(prefix) if prefix else None)


def _build(folder: Path) -> tuple[str, str]:
    executable, prefix = host_python()
    building = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    try:
        for name, file in sources():
            target = building / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        (building / "sandlot" / "__init__.py").touch()
        # The staged files never change, so the compiled code needs no check against them at each import.
        compiling = [executable, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(building)]
        process.run(compiling, env={"LC_ALL": "C"}, timeout=120)  # without it the agent starts, only slower
        (building / "interpreter").write_text(f"{executable}\n{prefix or ''}\n")
        if not folder.is_dir():
            os.rename(building, folder)
    except OSError as error:
        if not (folder / "interpreter").is_file():  # else another process was faster
            raise StateUnwritable(f"cannot stage the agent in {folder.parent}: {error.strerror}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return executable, str(prefix or "")
