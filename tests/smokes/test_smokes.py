"""The smokes run, one by one, over both faces; and can fail."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from smokes.__main__ import FACES, STORIES, main, run_story
from smokes.hands import Seen, isolated
from smokes.scene import CANARY, PROJECTS, commit, contents, scene
from smokes.story import SmokeFailed, Telling

from sandlot import Sandlot
from tests.docs.sessions import ROOT
from tests.runtimes.qemu.guests import NEEDS_QEMU
from tests.smokes.pages import headings

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[bytes]"]


@pytest.mark.parametrize("via", FACES)
@pytest.mark.parametrize("name", STORIES)
def test_a_recipe_works_and_its_steps_are_those_of_its_page(name: str, via: str) -> None:
    tell = Telling(io.StringIO())
    run_story(STORIES[name], via, "bubblewrap", tell)
    assert tell.steps == headings(name)


@NEEDS_QEMU
@pytest.mark.parametrize(("name", "via"), [("repro-fix-loop", "mcp"), ("untrusted-inspection", "sdk")])
def test_a_recipe_works_the_same_in_a_guest(name: str, via: str) -> None:
    tell = Telling(io.StringIO())
    run_story(STORIES[name], via, "qemu", tell)
    assert tell.steps == headings(name)


def test_an_ordinary_user_can_run_them(ordinary_user: Run) -> None:
    """Over the SDK, which needs nothing but sandlot itself; the checkout may lie where that user cannot read."""
    words = ["untrusted-inspection", "--via", "sdk"]
    program = f"import sys; sys.path.append('smokes-here'); from smokes.__main__ import main; sys.exit(main({words}))"
    where = json.loads(ordinary_user(["-c", "import json, os; print(json.dumps([os.getcwd(), os.getuid()]))"]).stdout)
    shutil.copytree(ROOT / "smokes", Path(where[0]) / "smokes-here" / "smokes")
    done = ordinary_user(["-c", program])
    assert where[1] != 0
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert b"ok: untrusted-inspection over sdk" in done.stdout


def test_a_runtime_that_is_not_there_is_a_failure_and_nothing_is_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME", "nonsense")
    assert main(["all"]) == 1
    assert capsys.readouterr().out == "FAILED: there is no runtime 'nonsense' here; known: bubblewrap, qemu\n"


@pytest.mark.parametrize("via", FACES)
def test_a_smoke_that_fails_says_where_and_the_others_go_on(
    via: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smokes.repro_fix_loop.PATCH", "not a patch")
    two = {name: STORIES[name] for name in ("repro-fix-loop", "untrusted-inspection")}
    monkeypatch.setattr("smokes.__main__.STORIES", two)
    assert main(["all", "--via", via]) == 1
    printed = capsys.readouterr().out
    failed = f"FAILED: repro-fix-loop over {via} at step 4, Patch it: "
    assert failed in printed
    assert "there is no patch in what was sent" in printed.partition(failed)[2].partition("untrusted")[0]
    assert f"ok: untrusted-inspection over {via}" in printed
    assert printed.endswith(f"1 of 2 smokes ok, FAILED: repro-fix-loop over {via}\n")


def test_a_workspace_of_another_runtime_or_without_walls_is_refused() -> None:
    good = Seen("ws-1", "one", {}, "running", "bubblewrap", "kernel")
    assert isolated(good, "bubblewrap") is good
    for runtime, isolation in (("fake", "kernel"), ("bubblewrap", "none"), ("bubblewrap", "process")):
        with pytest.raises(SmokeFailed):
            isolated(Seen("ws-1", "one", {}, "running", runtime, isolation), "bubblewrap")


def test_a_story_that_leaves_a_workspace_fails_and_it_is_gone_all_the_same() -> None:
    with (
        pytest.raises(SmokeFailed, match="deletes its workspaces"),
        scene("menu") as made,
        Sandlot(made.state) as sandlot,
    ):
        sandlot.create(made.project)
    assert not made.folder.exists()


def test_a_touched_project_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    (tmp_path / "folder").mkdir()
    before = contents(tmp_path)
    assert contents(tmp_path) == before
    for touch in (
        lambda: (tmp_path / "file").chmod(0o700),
        lambda: (tmp_path / "file").write_text("two"),
        lambda: (tmp_path / "folder" / "link").symlink_to("nowhere"),
    ):
        touch()
        assert contents(tmp_path) != before
        before = contents(tmp_path)


def test_the_hostile_package_succeeds_where_there_are_no_walls(tmp_path: Path) -> None:
    """Else the smoke would prove nothing. It is pointed at files of this test alone."""
    package, home = tmp_path / "package", tmp_path / "home"
    shutil.copytree(PROJECTS / "tinted", package)
    home.mkdir()
    (home / "key").write_text(CANARY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        targets = {
            "mark": "mark",
            "sleep": "0",
            "read": [str(home / "key")],
            "write": [str(home / "new" / ".bashrc")],
            "connect": [listener.getsockname()],
        }
        (package / "targets.json").write_text(json.dumps(targets))
        environment = {"PATH": os.environ["PATH"], "SMOKE_CANARY": CANARY}
        subprocess.run(
            [sys.executable, "-B", "setup.py"],
            cwd=package,
            env=environment,
            check=True,
            capture_output=True,
            timeout=60,
        )
        listener.settimeout(10)
        listener.accept()[0].close()
    loot = json.loads((package / "loot.json").read_text())
    stolen = [what for what, got in loot.items() if CANARY in got]
    assert f"read {home / 'key'}" in stolen
    assert "environment" in stolen
    assert (home / "new" / ".bashrc").read_text() == "mark\n" * 2, "written directly, and by the way upwards"


def test_a_scene_has_a_project_to_clone_and_a_key_to_steal() -> None:
    with scene("menu") as made:
        (made.project / "later.txt").write_text("later\n")
        commit(made.project, "Later")
        assert (made.clone() / "later.txt").exists()
        assert CANARY in made.key.read_text()
        assert made.environment()["HOME"] == str(made.home)
