"""The agent's code, and the host's interpreter for it: what every runtime takes inside."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from sandlot import guest, process, wire
from sandlot.errors import IsolationUnavailable

__all__ = ["SYSTEM_PYTHONS", "host_python", "sources"]

SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")
"""The distribution's interpreters, which are inside already wherever the host's /usr is."""
_NEEDS = "import sys, _socket, ctypes, fcntl, resource, select, struct, zlib; assert sys.version_info >= (3, 9)"


@cache
def sources() -> tuple[tuple[str, Path], ...]:
    """(path below the folder that is put inside, source file) of every module, sorted within its package."""
    found = []
    for package in (guest, wire):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            found.append((f"sandlot/{root.name}/{file.relative_to(root)}", file))
    return tuple(found)


@cache
def host_python() -> tuple[str, Path | None]:
    """(an interpreter below /usr that can run the agent, None), or (the one that runs us, its prefix).

    Raises IsolationUnavailable when there is none.
    """
    own = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    for candidate in (*SYSTEM_PYTHONS, str(own)):
        path = os.path.realpath(candidate)
        if not os.access(path, os.X_OK):
            continue
        try:
            done = process.run([path, "-I", "-S", "-E", "-c", _NEEDS], env={}, timeout=30)
        except OSError:
            continue
        if done.returncode == 0:
            return path, None if path.startswith("/usr/") else Path(sys.base_prefix)
    raise IsolationUnavailable(
        "no Python interpreter that can run the agent was found", hint="install python3 (3.9 or later) below /usr"
    )
