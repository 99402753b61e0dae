"""Guests pass the suite every runtime must pass."""

from __future__ import annotations

from pathlib import Path

from sandlot.runtimes.base import Runtime
from sandlot.runtimes.conformance import RuntimeConformance
from sandlot.runtimes.qemu.runtime import QemuRuntime
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in


@NEEDS_QEMU
class TestQemu(RuntimeConformance):
    def make_runtime(self, folder: Path) -> Runtime:
        return QemuRuntime(paths_in(folder))
