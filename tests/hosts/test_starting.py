"""A server is started as its host would start it, and asked what its host would ask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandlot.hosts.starting import Era, start
from tests.hosts.servers import server

LONG = 60.0
SHORT = 0.5
ENV = {"PATH": os.defpath}


@pytest.mark.parametrize("era", list(Era))
@pytest.mark.parametrize("kind", ["good", "chatty", "loud"])
def test_a_good_server_is_found_good_in_both_eras(kind: str, era: Era, tmp_path: Path) -> None:
    answer = start((str(server(tmp_path, kind)),), env=ENV, cwd=tmp_path, era=era, patience_s=LONG)
    assert answer.problem == ""
    assert answer.tools == ("one",)
    assert len(answer.sha256) == 64


def test_the_digest_is_of_the_tools_and_not_of_the_era(tmp_path: Path) -> None:
    argv = (str(server(tmp_path, "good")),)
    digests = {start(argv, env=ENV, cwd=tmp_path, era=era, patience_s=LONG).sha256 for era in Era}
    assert len(digests) == 1


def test_a_server_of_one_era_is_found_out(tmp_path: Path) -> None:
    argv = (str(server(tmp_path, "legacy-only")),)
    assert start(argv, env=ENV, cwd=tmp_path, era=Era.LEGACY, patience_s=LONG).problem == ""
    problem = start(argv, env=ENV, cwd=tmp_path, era=Era.MODERN, patience_s=LONG).problem
    assert problem == "it answers server/discover with an error: unknown method"


@pytest.mark.parametrize(
    ("kind", "patience", "problem"),
    [
        ("silent", SHORT, "no answer to initialize within 0.5 s"),
        ("deaf", SHORT, "no answer to initialize within 0.5 s"),
        ("gone", LONG, "it ended before it answered initialize (no such mode)"),
        ("junk", LONG, "it prints what is no message: b'Welcome!'"),
        ("endless", LONG, "its answer to initialize is longer than 4 MiB"),
        ("toolless", LONG, "it answers tools/list without tools"),
    ],
)
def test_what_is_wrong_is_said(kind: str, patience: float, problem: str, tmp_path: Path) -> None:
    answer = start((str(server(tmp_path, kind)),), env=ENV, cwd=tmp_path, era=Era.LEGACY, patience_s=patience)
    assert answer.problem == problem
    assert answer.tools == ()


def test_a_program_that_is_none_is_an_answer_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no program")
    path.chmod(0o755)
    answer = start((str(path),), env=ENV, cwd=tmp_path, era=Era.LEGACY, patience_s=LONG)
    assert answer.problem.startswith("it cannot be started")


def test_nothing_that_was_started_stays(tmp_path: Path) -> None:
    argv = (str(server(tmp_path, "stubborn")),)
    start(argv, env=ENV, cwd=tmp_path, era=Era.LEGACY, patience_s=LONG)
    alive = [
        pid for pid in os.listdir("/proc") if pid.isdigit() and str(tmp_path) in _command_line(pid)
    ]  # fmt: skip
    assert alive == []


def _command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def test_it_sees_the_environment_and_the_folder_that_were_named(tmp_path: Path) -> None:
    program = server(tmp_path, "good")
    text = program.read_text().replace('{"name": "one"}', '{"name": n} for n in (*sorted(os.environ), os.getcwd())')
    program.write_text(text.replace("import json, sys", "import json, os, sys"))
    env = {"LC_ALL": "C", "A": "1"}
    answer = start((str(program),), env=env, cwd=tmp_path, era=Era.LEGACY, patience_s=LONG)
    assert answer.tools == ("A", "LC_ALL", str(tmp_path))
