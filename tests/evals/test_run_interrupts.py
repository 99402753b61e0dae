"""Runs that somebody ends from outside: whatever runs then is dead afterwards, and the run can be finished."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.evals.projects import (
    DEADLINE_S,
    SUITE,
    many,
    marker,
    processes_with,
    project,
    results,
    runs,
    started,
    wait_for,
)

SLEEP = "command: 'exec sleep {MARKER}'"
HOOKS = {
    "before_all": f"before_all: {{{SLEEP}}}",
    "before_all on the host": f"before_all: {{{SLEEP}, placement: host}}",
    "before_each": f"before_each: {{{SLEEP}}}",
    "after_each on the host": f"after_each: {{{SLEEP}, placement: host}}",
}


def hooked(folder: Path, words: str) -> Path:
    """A project whose suite has that hook."""
    made = project(folder)
    text = f"workspace:\n  hooks:\n    {words}\n{SUITE}".replace("{MARKER}", marker(folder))
    (made / "evals" / "first.yaml").write_text(text)
    return made


def left(cli: Cli) -> list[str]:
    """Kinds of the workspaces that are left; prepared ones are for later runs."""
    found = json.loads(cli("workspace", "list", "--json").stdout)["workspaces"]
    return [kind for each in found if (kind := each["labels"]["sandlot.eval.kind"]) != "pool"]


@pytest.mark.parametrize(
    ("where", "signals"),
    [
        ("before_all", [signal.SIGINT]),
        ("before_all on the host", [signal.SIGTERM]),
        ("before_each", [signal.SIGINT, signal.SIGINT, signal.SIGTERM]),
        ("after_each on the host", [signal.SIGINT]),
    ],
)
def test_hooks_in_flight_end_with_the_run(
    cli: Cli, state_dir: Path, tmp_path: Path, where: str, signals: list[signal.Signals]
) -> None:
    home = hooked(tmp_path / "project", HOOKS[where])
    with started(state_dir, home, "run", "evals/", "--workers", "3") as process:
        wait_for(lambda: processes_with(marker(home)), process)
        for number in signals:
            process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signals[0], err
    assert b"sandlot eval resume" in err
    assert b"Traceback" not in out + err
    assert not processes_with(marker(home))
    assert left(cli) == []
    assert json.loads(cli("eval", "list", "--json", cwd=home).stdout)["runs"][0]["state"] == "interrupted"


def test_a_clone_in_flight_ends_with_the_run(cli: Cli, state_dir: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/never-answers.git"
        home = project(
            tmp_path / "project", f"workspace:\n  repos: [{{path: repo, source: {{type: git, url: '{url}'}}}}]\n{SUITE}"
        )
        with started(state_dir, home, "run", "evals/", "--workers", "3") as process:
            wait_for(lambda: processes_with(url), process)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130, err
        assert not processes_with(url)
    assert left(cli) == []


def test_agents_of_all_workers_end_with_an_impatient_user(cli: Cli, state_dir: Path, tmp_path: Path) -> None:
    home = project(tmp_path / "project", many(4).replace("right", "never"))
    with started(state_dir, home, "run", "evals/", "--target", "slow", "--workers", "4") as process:
        wait_for(lambda: len(processes_with(marker(home))) >= 4, process)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert not processes_with(marker(home))
    (run,) = runs(home)
    assert results(run) == {}
    assert left(cli) == []
