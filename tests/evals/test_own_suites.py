"""The suites in ``evals/``: a scripted target passes all of them, one that does nothing passes none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Cli

EVALS = Path(__file__).parents[2] / "evals"
RECIPES = {"cold-start-validation", "repro-fix-loop", "review-eval", "untrusted-inspection"}


@pytest.mark.parametrize(("target", "outcome", "status"), [("scripted", "pass", 0), ("idle", "fail", 1)])
def test_the_recipes_tell_work_from_none(cli: Cli, tmp_path: Path, target: str, outcome: str, status: int) -> None:
    done = cli("eval", "run", str(EVALS), "--target", target, "--output", str(tmp_path / "run"), "--json")
    report = json.loads(done.stdout)
    assert {(row["suite"], *row["outcomes"]) for row in report["tests"]} == {(name, outcome) for name in RECIPES}
    assert done.returncode == status
