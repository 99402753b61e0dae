"""Where everything lies."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sandlot.errors import StateUnwritable
from sandlot.paths import Paths, WorkspacePaths
from sandlot.sdk import Sandlot


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SANDLOT_STATE_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")


def test_state_and_cache_follow_the_xdg_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths.default()
    assert paths.state == Path("/home/somebody/.local/state/sandlot")
    assert paths.cache == Path("/home/somebody/.cache/sandlot")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert Paths.default() == Paths(state=Path("/var/state/sandlot"), cache=Path("/var/caches/sandlot"))


def test_a_named_folder_holds_everything_and_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    monkeypatch.setenv("SANDLOT_STATE_DIR", str(tmp_path / "mine"))
    assert Paths.default() == Paths.at(tmp_path / "mine")
    assert Paths.default().cache.is_relative_to(tmp_path / "mine")


def test_a_relative_folder_does_not_move_with_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SANDLOT_STATE_DIR", "mine")
    paths = Paths.default()
    monkeypatch.chdir("/")
    assert paths.state == tmp_path / "mine"


def test_the_folders_are_private_to_the_user(tmp_path: Path) -> None:
    paths = Paths.at(tmp_path / "deep" / "state")
    old = os.umask(0)
    try:
        paths.ensure()
    finally:
        os.umask(old)
    for folder in (paths.state, paths.cache, paths.workspaces, paths.layers, paths.trash, paths.building, paths.empty):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    paths.ensure()


def test_a_place_that_cannot_hold_folders_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnwritable, match="file/state") as caught:
        Paths.at(tmp_path / "file" / "state").ensure()
    assert "SANDLOT_STATE_DIR" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "expected"), [("g1", True), ("g12", True), ("g", False), ("gx", False), ("h1", False)]
)
def test_generations_are_told_from_other_entries(name: str, expected: bool) -> None:
    assert WorkspacePaths.is_generation(Path("/x") / name) is expected


@pytest.mark.parametrize("name", ["with space", "comma,colon:back\\slash", "quote'\"", "ümlaut", "x" * 150])
def test_a_workspace_works_below_a_folder_of_any_name(state_dir: Path, name: str) -> None:
    (state_dir / "seed").mkdir()
    (state_dir / "seed" / "file").write_text("seeded")
    with Sandlot(state_dir / name) as sandlot, sandlot.create(state_dir / "seed") as workspace:
        assert workspace.exec("cat file; echo more >> file").stdout.text == "seeded"
        assert [change.path for change in workspace.diff().files] == ["file"]
        workspace.reset()
        assert workspace.files.read("file").content == "seeded"
