"""bubblewrap passes the suite every runtime must pass: with the host's userland, and on an environment."""

from __future__ import annotations

from pathlib import Path

from sandlot.paths import Paths
from sandlot.runtimes.base import Runtime
from sandlot.runtimes.bubblewrap.runtime import BubblewrapRuntime
from sandlot.runtimes.conformance import RuntimeConformance
from tests.runtimes.userland import OnAnEnvironment


class TestBubblewrap(RuntimeConformance):
    def make_runtime(self, folder: Path) -> Runtime:
        paths = Paths.at(folder)
        paths.ensure()
        return BubblewrapRuntime(paths)


class TestBubblewrapOnAnEnvironment(OnAnEnvironment, TestBubblewrap):
    def make_runtime(self, folder: Path) -> Runtime:
        self.lend_interpreter(Paths.at(folder))
        return super().make_runtime(folder)
