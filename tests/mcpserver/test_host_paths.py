"""What tools may name on the host: attacks on the paths of sources and exports."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import PathNotFound, SandlotError, TargetExists, UnsafePath
from sandlot.mcpserver import confinement
from sandlot.mcpserver.confinement import destination_below, exclusively, shared, source_below
from sandlot.sdk import Sandlot
from tests.mcpserver.conftest import Talk

Run = Callable[..., Any]
WHAT = "the project folder"


@pytest.fixture
def tree(project: Path, tmp_path: Path) -> Path:
    """The project, with symlinks as a checkout or an earlier export may hold them."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret\n")
    (project / "out").symlink_to(outside)
    (project / "up").symlink_to("..")
    (project / "self").symlink_to(".")
    (project / "file").symlink_to(outside / "secret.txt")
    (project / "sub" / "hop").symlink_to("../out")
    (project / "magic").symlink_to(f"/proc/{os.getpid()}/cwd")
    os.mkfifo(project / "fifo")
    return Path(os.path.realpath(project))


OUTSIDE = [
    "..", "../x", "/etc", "/etc/passwd", "sub/../../x", "out", "out/", "out/secret.txt", "up", "up/x",
    "self/up/x", "sub/hop", "sub/hop/secret.txt", "file", "magic", "magic/x", "/proc/self/root/etc", "self", "",
    "/proc/self/cwd", "sub/..//..", "./../", "\0",
]  # fmt: skip


@pytest.mark.parametrize("text", OUTSIDE)
def test_no_source_leads_out_of_the_project(tree: Path, text: str) -> None:
    with pytest.raises((UnsafePath, PathNotFound)):
        source_below(str(tree), text, WHAT)
    with pytest.raises((UnsafePath, PathNotFound)):
        destination_below(str(tree), os.path.join(text, "new") if text else text, WHAT)


@pytest.mark.parametrize("text", ["fifo", "nothing", "calc.py/x", "sub/nothing/x", "x" * 300])
def test_what_is_no_folder_or_file_is_no_source(tree: Path, text: str) -> None:
    with pytest.raises((UnsafePath, PathNotFound)):
        source_below(str(tree), text, WHAT)


def test_what_is_below_the_project_is_a_source(tree: Path) -> None:
    for text in (".", "sub", "sub/", "./sub/../sub", "calc.py", str(tree), str(tree / "sub")):
        found = source_below(str(tree), text, WHAT)
        assert os.path.samefile(found, tree / text)


def test_the_project_may_be_named_by_another_path_that_leads_to_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(tree)
    assert source_below(str(tree), str(tmp_path / "alias" / "sub"), WHAT) == str(tree / "sub")
    with pytest.raises(UnsafePath):
        source_below(str(tree), str(tmp_path / "alias" / "out"), WHAT)


HIDDEN = [
    ".git/hooks/post-checkout", ".claude/settings.json", ".mcp.json", "sub/.envrc", ".x", "sub/.git/config", ".../x",
]  # fmt: skip


@pytest.mark.parametrize("text", HIDDEN)
def test_no_export_makes_a_hidden_name(tree: Path, text: str) -> None:
    (tree / ".git" / "hooks").mkdir(parents=True)
    with pytest.raises(UnsafePath, match="hidden"):
        destination_below(str(tree), text, WHAT)
    with pytest.raises(UnsafePath, match="hidden"):
        destination_below(str(tree), str(tree / text), WHAT, overwrite=True)


def test_an_export_makes_something_new(tree: Path) -> None:
    assert destination_below(str(tree), "sub/new.txt", WHAT) == str(tree / "sub" / "new.txt")
    for text in ("calc.py", "sub", "fifo"):
        with pytest.raises(TargetExists):
            destination_below(str(tree), text, WHAT)
    for text in ("out", "file", ".", str(tree)):
        with pytest.raises(UnsafePath):
            destination_below(str(tree), text, WHAT, overwrite=True)
    with pytest.raises(PathNotFound):
        destination_below(str(tree), "nowhere/new.txt", WHAT)


def test_an_export_waits_for_who_reads_and_others_wait_for_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "LOCK_WAIT_S", 0.05)
    root = str(tree)
    with shared(root), shared(root), pytest.raises(SandlotError), exclusively(root):
        pass
    with exclusively(root):
        for other in (shared, exclusively):
            with pytest.raises(SandlotError), other(root):
                pass
    monkeypatch.setattr(confinement, "LOCK_WAIT_S", 30.0)
    entered = threading.Event()

    def export() -> None:
        with exclusively(root):
            entered.set()

    with shared(root):
        exporter = threading.Thread(target=export)
        exporter.start()
        assert not entered.wait(0.05)
    assert entered.wait(30)
    exporter.join()


SOURCES = ["/etc", "..", "out", "base:abc123", "https://example.org/x.git", "git@example.org:x/y.git", "file:///etc",
           "ssh://example.org/x", "ext::sh -c id", "HTTPS://example.org/x"]  # fmt: skip


def test_tools_refuse_sources_outside_and_say_what_may_be_named(talk: Run, tree: Path, sandlot: Sandlot) -> None:
    async def work(with_: Talk) -> None:
        for source in SOURCES:
            text = await with_.refusal("workspace_create", source=source)
            assert "the project folder" in text, text
        text = await with_.text("workspace_create", source="sub", name="w")
        assert f"folder {tree}/sub" in text
        assert "source chosen by: argument source" in text
        assert "inner.txt" in await with_.text("file_list", workspace="w")

    talk(work, project_path=tree)
    assert [each.name for each in sandlot.list()] == ["w"]


def test_sync_takes_nothing_from_outside_the_project(talk: Run, tree: Path, tmp_path: Path, sandlot: Sandlot) -> None:
    sandlot.create(tmp_path / "outside", name="foreign")  # as the user may by the command line

    async def work(with_: Talk) -> None:
        assert "unsafe_path" in await with_.refusal("workspace_sync_push", workspace="foreign")
        await with_.text("workspace_create", name="w", source="sub")
        (tree / "sub" / "later.txt").write_text("later\n")
        assert "1 files written, 0 deleted" in await with_.text("workspace_sync_push", workspace="w")

    talk(work, project_path=tree)


def test_exports_stay_below_the_project_and_plant_nothing(talk: Run, tree: Path) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w", source="sub")
        await with_.text("workspace_exec", workspace="w", command=(
            "mkdir -p ok deep/a/.git/hooks deep/b; echo x > ok/x; echo '#!/bin/sh' > deep/a/.git/hooks/post-checkout; "
            "mkdir -p agent/.Claude; ln -s /etc ok/etc"))  # fmt: skip
        for destination in ("/tmp/x-export", "../x", "out/x", ".git/hooks/pre-commit", "calc.py", "sub", "."):
            text = await with_.refusal("workspace_export", workspace="w", path="ok", destination=destination)
            assert text.startswith(("error unsafe_path", "error target_exists")), text
        for path in ("deep", "agent", "deep/a"):
            text = await with_.refusal("workspace_export", workspace="w", path=path, destination="planted")
            assert "which tools of the user act upon" in text
            assert not os.path.lexists(tree / "planted")
        await with_.text("workspace_export", workspace="w", path="deep", destination="deep.tar.gz")
        text = await with_.text("workspace_export", workspace="w", path="ok", destination="exported")
        assert text.startswith("2 files, 2 bytes are now at ")
        assert "symlink that leads out of the export: ok/etc" in text
        assert (tree / "exported" / "x").read_text() == "x\n"
        assert "unsafe_path" in await with_.refusal("workspace_create", source="exported/etc")

    talk(work, project_path=tree)


def test_exports_can_have_a_folder_of_their_own(talk: Run, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()

    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        await with_.text("workspace_export", workspace="w", path="calc.py", destination="calc.py")
        text = await with_.refusal(
            "workspace_export", workspace="w", path="calc.py", destination=str(tree / "other.py")
        )
        assert "is not below the export folder" in text

    (tree / "fifo").unlink()
    talk(work, project_path=tree, export_dir=tmp_path / "exports")
    assert (tmp_path / "exports" / "calc.py").exists()


def test_the_whole_catalogue_cannot_change_the_project_or_take_secrets(talk: Run, project: Path) -> None:
    async def work(with_: Talk) -> None:
        names = {each.name: each for each in (await with_.client.list_tools()).tools}
        assert not names.keys() & {"secret_set", "doctor", "repair", "base_prune"}
        for tool in names.values():
            assert not set(tool.input_schema["properties"]) & {"secrets", "reveal", "toolchains", "allow_private"}
        await with_.text("workspace_create", name="w")
        await with_.text("file_write", workspace="w", path="calc.py", content="changed\n")
        text = await with_.refusal("workspace_apply", workspace="w", yes=True)
        assert "only the user applies changes" in text
        await with_.text("workspace_apply", workspace="w")
        assert "unsafe_path" in await with_.refusal("workspace_apply", workspace="w", target="/tmp")
        assert "unsafe_path" in await with_.refusal("workspace_run", command="ls", source="/etc")

    talk(work, mode=None, profile="workspace-full")
    assert (project / "calc.py").read_text() != "changed\n"
