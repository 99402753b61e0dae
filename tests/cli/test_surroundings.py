"""Odd surroundings: no home, nowhere to write, closed streams, bugs of ours, another user."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sandlot.cli import answer, run
from sandlot.cli.main import main
from tests.cli.conftest import Bare
from tests.conftest import CompletedProcess, clean_environment


def test_without_any_home_it_says_so_and_writes_nowhere(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path)
    for name in ("HOME", "SANDLOT_STATE_DIR"):
        del environment[name]
    code = "import os; os.path.expanduser = str; from sandlot.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "workspace", "list"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 8
    assert done.stderr.startswith(b"error: there is no folder for sandlot's state")
    assert b"hint: point SANDLOT_STATE_DIR at a folder you can write" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["userhome"]


def test_an_empty_home_is_looked_up(bare: Bare, tmp_path: Path) -> None:
    done = bare(
        "workspace", "list", HOME="", XDG_STATE_HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path), SANDLOT_STATE_DIR=None
    )
    assert done.returncode == 0


def test_a_state_folder_that_cannot_be_made_is_an_error_with_a_way_out(bare: Bare) -> None:
    done = bare("workspace", "list", SANDLOT_STATE_DIR="/proc/nowhere")
    assert (done.returncode, done.stdout) == (8, b"")
    assert done.stderr.startswith(b"error: cannot make the state folder /proc/nowhere")
    assert done.stderr.endswith(b"hint: point SANDLOT_STATE_DIR at a folder you can write\n")
    done = bare("workspace", "list", "--json", SANDLOT_STATE_DIR="/proc/nowhere")
    assert json.loads(done.stdout)["error"]["code"] == "state_unwritable"


def test_a_state_folder_that_is_a_file_is_an_error(bare: Bare, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bare("workspace", "create", SANDLOT_STATE_DIR=str(tmp_path / "file"))
    assert done.returncode == 8
    assert b"Traceback" not in done.stderr


def test_a_wrong_setting_is_named(bare: Bare, tmp_path: Path) -> None:
    done = bare("workspace", "list", SANDLOT_IDLE_TIMEOUT="soon")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        b"error: SANDLOT_IDLE_TIMEOUT: 'soon' is not a duration",
    )
    (tmp_path / "sandlot").mkdir()
    (tmp_path / "sandlot" / "config.toml").write_text("idle = 1\n")
    done = bare("workspace", "list", XDG_CONFIG_HOME=str(tmp_path))
    assert (done.returncode, done.stderr.splitlines()[0][:28]) == (2, b"error: unknown setting 'idle")
    (tmp_path / "sandlot" / "config.toml").write_text("= broken")
    assert bare("workspace", "list", XDG_CONFIG_HOME=str(tmp_path)).returncode == 2


def test_doctor_says_in_words_that_nothing_can_be_written(bare: Bare) -> None:
    done = bare("doctor", SANDLOT_STATE_DIR="/proc/nowhere")
    assert done.returncode == 1
    assert b"FAIL  state.folder" in done.stdout
    assert b"fix: point SANDLOT_STATE_DIR" in done.stdout
    report = json.loads(bare("doctor", "--json", SANDLOT_STATE_DIR="/proc/nowhere").stdout)
    assert report["ok"] is False


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_reason_to_break(bare: Bare, tmp_path: Path, closed: str) -> None:
    environment = clean_environment(tmp_path)
    for words in ("workspace list", "workspace status nobody", "--help"):
        command = f"{sys.executable} -m sandlot {words} {closed}"
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, check=False)
        assert done.returncode in (0, 3), command
        assert b"Traceback" not in done.stderr


def test_a_bug_of_ours_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def explode(*_: object) -> int:
        raise LookupError("something is missing")

    monkeypatch.setattr(run, "execute", explode)
    for words, status in ((["workspace", "list"], 70), (["run", "--", "true"], 125)):
        assert answer.InternalError.exit_status == 70
        with pytest.raises(SystemExit) as caught:
            main(words)
        told = capsys.readouterr().err
        assert caught.value.code == status
        assert told.startswith("error: unexpected LookupError at test_surroundings.py:")
        assert "Traceback" not in told
        assert "SANDLOT_DEBUG=1" in told
    monkeypatch.setenv("SANDLOT_DEBUG", "1")
    with pytest.raises(SystemExit):
        main(["workspace", "list", "--json"])
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "internal_error"
    assert "Traceback" in captured.err


@pytest.fixture(autouse=True)
def _signals_as_before() -> object:
    """``main`` takes over two signals, and the collector, of a process that is expected to be its own."""
    import gc
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    gc.enable()
    gc.unfreeze()


def test_an_ordinary_user_can_do_the_main_job(ordinary_user: Callable[[Sequence[str]], CompletedProcess]) -> None:
    done = ordinary_user(["-m", "sandlot", "demo", "--json"])
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"]) == (0, True), done.stderr
    done = ordinary_user(["-m", "sandlot", "run", "--", "sh", "-c", "echo $((6 * 7)); exit 9"])
    assert (done.returncode, done.stdout) == (9, b"42\n")
