"""What the tests of guests share: one cache with one template, for a root file system takes long to pack."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sandlot.paths import Paths

__all__ = ["NEEDS_QEMU", "paths_in"]

NEEDS_QEMU = pytest.mark.skipif(
    not (shutil.which("qemu-system-x86_64") and shutil.which("mksquashfs")),
    reason="QEMU or squashfs-tools are not installed here",
)


def paths_in(folder: Path) -> Paths:
    """State below ``folder``, the cache that all test runs of this user share."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    paths = Paths(folder, Path(base, "sandlot-tests"))
    paths.ensure()
    return paths
