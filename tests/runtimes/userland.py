"""The conformance suite on an environment: this machine's small programs, made a root file system as an image is."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from sandlot.bases.environments.importing import import_environment
from sandlot.bases.environments.store import EnvironmentStore
from sandlot.bases.trees import remove_tree
from sandlot.model.environment import Environment
from sandlot.paths import Paths
from sandlot.runtimes.base import LaunchRequest
from sandlot.runtimes.conformance import RuntimeConformance
from sandlot.runtimes.relocated import relocated
from tests.images import Image, layer, runnable, symlink

__all__ = ["OnAnEnvironment"]

PROGRAMS = (
    "sh", "cat", "chmod", "cut", "env", "head", "id", "kill", "ls", "mkdir", "mv", "nohup", "printf", "pwd", "rm",
    "setsid", "sleep", "stat", "tee", "touch", "true", "yes",
)  # fmt: skip


class OnAnEnvironment(RuntimeConformance):
    """Put it before the class that says how the runtime is made."""

    kept: Path
    environment: Environment
    root: Path

    @classmethod
    def setup_class(cls) -> None:
        """One environment for all tests, below a folder of its own."""
        cls.kept = Path(tempfile.mkdtemp(prefix="userland-"))
        paths = Paths.at(cls.kept / "own")
        paths.ensure()
        relocated(paths)
        image = Image([runnable(PROGRAMS), layer(symlink("usr/bin", "../bin"))]).layout(cls.kept / "image")
        store = EnvironmentStore(paths)
        cls.environment = import_environment(store, str(image), "userland:1", cwd=cls.kept)[1]
        cls.root = store.root(cls.environment.digest)

    @classmethod
    def teardown_class(cls) -> None:
        """Nothing is left of it."""
        remove_tree(cls.kept)

    def lend_interpreter(self, paths: Paths) -> None:
        """Let a runtime have the copied interpreter without copying it for each test."""
        if not paths.python.exists():
            shutil.copytree(Paths.at(self.kept / "own").python, paths.python, copy_function=os.link)

    def request(self, name: str = "one", *, idle_timeout_s: int | None = None) -> LaunchRequest:
        made = super().request(name, idle_timeout_s=idle_timeout_s)
        return replace(made, root=self.root, environment=self.environment.digest)
