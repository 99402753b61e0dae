"""The bridge passes the suite every runtime must pass."""

from __future__ import annotations

from pathlib import Path

from sandlot.paths import Paths
from sandlot.runtimes.base import Runtime
from sandlot.runtimes.conformance import RuntimeConformance
from tests.runtimes.bridged import BridgedRuntime


class TestBridged(RuntimeConformance):
    def make_runtime(self, folder: Path) -> Runtime:
        paths = Paths.at(folder)
        paths.ensure()
        return BridgedRuntime(paths)
