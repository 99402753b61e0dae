"""The real clients, where they are installed: below ``$SANDLOT_CLIENTS``, or on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import SOURCE, CompletedProcess

QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}
"""Clients look for news otherwise."""
RUN_S = 120.0


def folders() -> list[str]:
    """Where clients are looked for."""
    named = os.environ.get("SANDLOT_CLIENTS")
    return ([str(Path(named) / "node_modules" / ".bin")] if named else []) + os.environ["PATH"].split(os.pathsep)


def client(name: str) -> str:
    """The path of a client, or the test is skipped with the reason."""
    found = shutil.which(name, path=os.pathsep.join(folders()))
    if found is None:
        pytest.skip(f"{name} is not installed: `make hosts` installs it, or name its folder with SANDLOT_CLIENTS")
    return found


@dataclass(frozen=True)
class Scratch:
    """A home in which only the test's own clients have ever run, and a project in it."""

    home: Path
    project: Path
    state: Path
    bin: Path

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's but the way to programs."""
        path = [str(self.bin), *folders()]
        return {
            **QUIET,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join(path),
            "SANDLOT_STATE_DIR": str(self.state),
            "SHELL": "/bin/sh",
            "TERM": "xterm",
            "USER": "tester",
        }

    def run(self, *argv: str, **more: str) -> CompletedProcess:
        """A program in the project."""
        return subprocess.run(
            argv, env={**self.environment(), **more}, cwd=self.project, capture_output=True, timeout=RUN_S,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def sandlot(self, *words: str, **more: str) -> CompletedProcess:
        """Our own command line."""
        path = os.pathsep.join([str(SOURCE), *(each for each in sys.path if "site-packages" in each)])
        return self.run(sys.executable, "-m", "sandlot", *words, PYTHONPATH=path, **more)


def text(done: CompletedProcess) -> str:
    """All it printed, without colours."""
    import re

    return re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", (done.stdout + done.stderr).decode("utf-8", "replace"))
