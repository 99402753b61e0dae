from __future__ import annotations

from pathlib import Path

import pytest

from sandlot.sdk import Sandlot
from tests.evals.subjects import Stage


@pytest.fixture
def stage(sandlot: Sandlot, tmp_path: Path) -> Stage:
    """An empty project and an empty folder of a suite."""
    for name in ("project", "suite"):
        (tmp_path / name).mkdir()
    return Stage(sandlot, tmp_path / "project", tmp_path / "suite")
