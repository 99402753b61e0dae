"""What a progress line says, and that it is drawn on a terminal alone."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from sandlot.evals.outcomes import Outcome, TargetAnswer, Trial, TrialResult, Usage
from sandlot.evals.progress import Progress, clock
from sandlot.sdk import Sandlot
from tests.conftest import clean_environment
from tests.evals.projects import DEADLINE_S, project


def result(outcome: Outcome, number: int, seconds: float = 10.0, usd: float | None = None) -> TrialResult:
    answer = TargetAnswer("", 1, usage=Usage(cost_usd=usd))
    return TrialResult(Trial("s", "t", "m", number), outcome, None, answer=answer, duration_ms=round(seconds * 1000))


def test_it_counts_passes_cost_and_the_time_that_is_left() -> None:
    now = 0.0
    progress = Progress(10, 2, now=lambda: now)
    assert progress.eta_s is None
    for number in range(4):
        progress.started()
        progress.finished(result(Outcome.FAIL if number == 3 else Outcome.PASS, number, usd=0.25))
    progress.started()
    now = 20.0
    assert progress.line == "4/10 trials, 3 passing, 1 failing, 1 running, 1.00 USD, 20s, about 30s left"


def test_what_an_earlier_session_did_is_done_but_says_nothing_about_speed() -> None:
    progress = Progress(3, 1, [result(Outcome.PASS, 1, usd=1.0), result(Outcome.ERROR, 2)], now=lambda: 0.0)
    assert (progress.done, progress.eta_s) == (2, None)
    progress.finished(result(Outcome.PASS, 2), again=True)
    assert progress.counts[Outcome.ERROR] == 0
    assert progress.done == 2


def test_durations_are_short() -> None:
    assert [clock(each) for each in (0.4, 59, 61, 3599, 7261)] == ["0s", "59s", "1m01s", "59m59s", "2h01m"]


def test_a_terminal_gets_a_line_that_lives(sandlot: Sandlot, state_dir: Path, tmp_path: Path) -> None:
    home = project(tmp_path / "project")
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "sandlot", "eval", "run", "evals/", "--filter", "good"]
    environment = {**clean_environment(state_dir), "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(argv, cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # EIO: nobody has the other end any more
                break
            if not data:
                break
            said += data
        assert process.wait(DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ours)
    assert b"\r\x1b[K" in said
    assert b"/1 trials" in said
    assert b"[1/1]" not in said  # that is for logs
