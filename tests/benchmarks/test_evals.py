"""The benchmark of the eval runner runs to its end, says what it should, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def run(state_dir: Path, *words: str) -> str:
    made = state_dir / "made"
    made.mkdir()
    path = os.pathsep.join([os.fspath(CHECKOUT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.evals", "--quick", "--rounds", "1", *words],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": os.fspath(made)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(made.iterdir()) == []
    return done.stdout


def test_a_quick_run_measures_everything_and_says_what_is_missing(state_dir: Path) -> None:
    printed = run(state_dir, "--inspect-ai", os.fspath(state_dir / "nowhere"))
    rows = {line.strip().partition("  ")[0] for line in printed.splitlines() if " s CPU " in line}
    assert rows == {
        "bare script (copytree, run, compare)",
        "sandlot eval run",
        "of which a run of one trial",
        "of which loading the suite",
        "pooled, nothing prepared",
        "pooled, warm",
        "pooled, warm, one test",
        "temp",
        "one cp -a of the tree",
    }
    assert "inspect-ai cannot be imported" in printed
    assert "sandlot in terms of the bare script: " in printed
