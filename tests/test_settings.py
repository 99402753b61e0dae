"""Settings: what a value may be, which source wins, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.errors import UsageError
from sandlot.settings import LARGEST, LONGEST_S, Settings, Where, duration, seconds, size
from tests.conftest import Cli


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder with nothing in it, and no setting in the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in Settings.load().sources:
        monkeypatch.delenv("SANDLOT_" + name.upper(), raising=False)
    (tmp_path / "sandlot").mkdir()
    return tmp_path / "sandlot" / "config.toml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("14d", 1209600), ("1h30m", 5400),
        ("1d2h3m4s", 93784), ("never", None),
    ],
)  # fmt: skip
def test_durations_are_read(text: str, expected: int | None) -> None:
    assert duration(text) == expected


def test_thousandths_of_a_second_are_kept_where_they_matter_and_rounded_up_elsewhere() -> None:
    assert seconds("500ms") == 0.5
    assert duration("500ms") == 1


@pytest.mark.parametrize("text", ["", "s", "-1", "1.5h", "1h-", "m15", "2 h", "1s1m", "٣", "NEVER", "1e3", "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        duration(text)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_in_range_or_refused(text: str) -> None:
    try:
        found = seconds(text)
    except UsageError:
        return
    assert found is None or 0 <= found <= LONGEST_S


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4096", 4096), ("64K", 65536), ("64k", 65536), ("20MB", 20 << 20), ("2GiB", 2 << 30), ("1T", 1 << 40), ("0", 0)],
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert size(text) == expected


@given(st.text(max_size=30))
def test_any_text_is_a_size_in_range_or_refused(text: str) -> None:
    try:
        found = size(text)
    except UsageError:
        return
    assert 0 <= found <= LARGEST


def test_without_anything_the_defaults_hold() -> None:
    settings = Settings.load()
    assert (settings.idle_timeout, settings.retention) == (7200, 14 * 86400)
    assert set(settings.sources.values()) == {Where.DEFAULT}


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('idle_timeout = "5m"\nretention = "never"\nmax_workspaces = 7\n')
    monkeypatch.setenv("SANDLOT_IDLE_TIMEOUT", "1h")
    settings = Settings.load()
    assert (settings.idle_timeout, settings.retention, settings.max_workspaces) == (3600, None, 7)
    assert settings.sources["idle_timeout"] is Where.ENVIRONMENT
    assert settings.sources["retention"] is Where.FILE
    assert settings.sources["tmp_size"] is Where.DEFAULT


def test_a_wrong_value_is_named_with_its_place(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDLOT_MAX_WORKSPACES", "many")
    with pytest.raises(UsageError, match=r"SANDLOT_MAX_WORKSPACES.*'many'"):
        Settings.load()
    monkeypatch.delenv("SANDLOT_MAX_WORKSPACES")
    config.write_text("retention = 1.5\n")
    with pytest.raises(UsageError, match=r"retention in .*config\.toml.*'1\.5'"):
        Settings.load()


@pytest.mark.parametrize("text", ["not toml at all [", 'unknown = "1"', "max_workspaces = true", "retention = []"])
def test_a_wrong_file_is_an_error_that_names_it(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        Settings.load()


def test_a_file_that_is_not_text_is_an_error(config: Path) -> None:
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"config\.toml"):
        Settings.load()


def test_a_file_that_is_a_folder_is_an_error(config: Path) -> None:
    config.mkdir()
    with pytest.raises(UsageError, match=r"config\.toml"):
        Settings.load()


def test_the_command_line_reports_a_wrong_setting_and_does_nothing(
    cli: Cli, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = state_dir / "userhome" / ".config" / "sandlot"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("max_workspaces = -1")
    done = cli("workspace", "list")
    assert done.returncode == 2
    assert b"max_workspaces" in done.stderr
    assert b"Traceback" not in done.stderr
