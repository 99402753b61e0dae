"""Guests pass the suite every runtime must pass: with the host's userland, and on an environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandlot.runtimes.base import Runtime
from sandlot.runtimes.conformance import RuntimeConformance
from sandlot.runtimes.qemu.places import Places
from sandlot.runtimes.qemu.runtime import QemuRuntime
from sandlot.runtimes.qemu.upkeep import remove_orphans
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in
from tests.runtimes.userland import OnAnEnvironment


@NEEDS_QEMU
class TestQemu(RuntimeConformance):
    def make_runtime(self, folder: Path) -> Runtime:
        return QemuRuntime(paths_in(folder))


@NEEDS_QEMU
@pytest.mark.slow
@pytest.mark.xdist_group("guests")
class TestQemuOnAnEnvironment(OnAnEnvironment, TestQemu):
    @classmethod
    def teardown_class(cls) -> None:
        places = Places.of(paths_in(cls.kept / "own"))
        super().teardown_class()
        remove_orphans(places)
