"""A home, a project and a state folder of its own for each test; never the user's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sandlot.hosts.around import Around
from sandlot.hosts.records import Records
from sandlot.paths import Paths


@pytest.fixture
def around(tmp_path: Path) -> Around:
    """A home with a project in it, in which no host has ever run."""
    home = tmp_path / "home"
    project = home / "project"
    project.mkdir(parents=True)
    state = str(tmp_path / "state")
    environ = {"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8", "SANDLOT_STATE_DIR": state}
    return Around(home, environ, project, "linux")


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Where backups go."""
    return Records(Paths.at(tmp_path / "state"))


def script(path: Path, text: str) -> Path:
    """A program made on the spot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
