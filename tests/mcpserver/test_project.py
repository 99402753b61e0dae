"""Which folder a server works for, and who says so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from sandlot.errors import PathNotFound, UsageError
from sandlot.mcpserver.project import Project, ProjectOptions, folder_of_root
from sandlot.mcpserver.server import create_server
from sandlot.sdk import Sandlot
from tests.mcpserver.conftest import Talk, text_of
from tests.mcpserver.rawclient import raw_client

Run = Callable[..., Any]
NOTHING = ProjectOptions()


def test_who_names_the_folder_comes_in_this_order(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("option", "claude", "root", "cwd")}
    for each in folders.values():
        each.mkdir()
    claude = {"CLAUDE_PROJECT_DIR": str(folders["claude"]), "HOME": "/nowhere"}
    roots, cwd = (str(folders["root"]),), str(folders["cwd"])
    found = [
        Project.find(ProjectOptions(str(folders["option"])), claude, roots, cwd),
        Project.find(NOTHING, claude, roots, cwd),
        Project.find(NOTHING, {"HOME": "/nowhere"}, roots, cwd),
        Project.find(NOTHING, {"HOME": "/nowhere"}, (), cwd),
    ]
    assert [each.folder for each in found] == [str(each) for each in folders.values()]
    assert [each.why for each in found] == [
        "--project-path", "CLAUDE_PROJECT_DIR", "the client's project folder", "the folder the server was started in",
    ]  # fmt: skip


def test_a_home_and_the_root_are_never_a_project(tmp_path: Path) -> None:
    home = tmp_path / "people" / "ana"
    home.mkdir(parents=True)
    environment = {"HOME": str(home)}
    (tmp_path / "to-home").symlink_to(home)
    for path in ("/", "/tmp", "/etc", str(home), str(home.parent), str(tmp_path / "to-home"), "relative", "/no/such"):
        project = Project.find(NOTHING, {**environment, "CLAUDE_PROJECT_DIR": path}, (path,), path)
        assert project.folder is None, path
        assert project.seed().source is None
    (home / "src").mkdir()
    assert Project.find(NOTHING, environment, (), str(home / "src")).folder == str(home / "src")


def test_a_repository_or_nothing_excludes_folders() -> None:
    repository = Project.find(ProjectOptions(None, "https://example.org/x.git", "v2"), {"HOME": "/x"}, (), "/usr/share")
    assert (repository.seed().source, repository.seed().ref, repository.folder) == (
        "https://example.org/x.git", "v2", None,
    )  # fmt: skip
    nothing = Project.find(ProjectOptions(no_source=True), {"HOME": "/x"}, (), "/usr/share")
    assert (nothing.seed().source, nothing.folder) == (None, None)


@pytest.mark.parametrize("options", [
    ProjectOptions(repo_ref="v2"),
    ProjectOptions("/usr", "https://example.org/x.git"),
    ProjectOptions("/usr", no_source=True),
    ProjectOptions(repo_url="/usr/share"),
    ProjectOptions(repo_url="project"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: ProjectOptions) -> None:
    with pytest.raises(UsageError):
        options.checked()


def test_a_folder_that_is_missing_is_refused_at_the_start() -> None:
    for options in (ProjectOptions("/no/such"), ProjectOptions(export_dir="/no/such")):
        with pytest.raises(PathNotFound, match="is not a folder"):
            options.checked()


@pytest.mark.parametrize(("uri", "folder"), [
    ("file:///home/ana/a%20b", "/home/ana/a b"),
    ("file://localhost/srv/x", "/srv/x"),
    ("file://elsewhere/srv/x", None),
    ("https://example.org/x", None),
    ("file:relative", None),
    ("file:///x%00y", None),
    ("file://[", None),
])  # fmt: skip
def test_roots_are_local_folders(uri: str, folder: str | None) -> None:
    assert folder_of_root(uri) == folder


def test_a_client_in_the_handshake_era_names_its_folder(
    sandlot: Sandlot, state_dir: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAUDE_PROJECT_DIR", raising=False)

    async def roots(_context: object) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root.model_validate({"uri": f"file://{project}"})])

    async def conversation() -> str:
        server = create_server("repro-fix", state_dir=state_dir)
        try:
            async with Client(server, mode="legacy", list_roots_callback=roots) as client:  # type: ignore[arg-type]
                return text_of(await client.call_tool("workspace_create", {"name": "w"}))
        finally:
            server.close()

    text = asyncio.run(conversation())
    assert f"made from: folder {os.path.realpath(project)}" in text
    assert text.endswith("source chosen by: the client's project folder")


def test_the_folder_of_the_host_application_is_the_project(state_dir: Path, project: Path, sandlot: Sandlot) -> None:
    with raw_client(state_dir, "--mode", "repro-fix", cwd=project) as client:
        client.handshake()
        text = client.text("workspace_create", name="by-cwd")
        assert "source chosen by: the folder the server was started in" in text
    with raw_client(
        state_dir, "--mode", "repro-fix", environment={"CLAUDE_PROJECT_DIR": str(project / "sub")}
    ) as client:
        client.handshake()
        text = client.text("workspace_create", name="by-variable")
        assert "source chosen by: CLAUDE_PROJECT_DIR" in text
        assert "inner.txt" in client.text("file_list", workspace="by-variable")


def test_where_there_is_no_project_the_answer_tells_the_user_what_to_do(state_dir: Path, sandlot: Sandlot) -> None:
    with raw_client(state_dir, "--mode", "repro-fix", cwd=Path("/")) as client:
        client.handshake()
        text = client.text("workspace_create", name="w")
        assert "made from: nothing" in text
        assert text.endswith("the server was started in no project folder; --project-path names one")
        assert "--project-path names one" in client.refusal("workspace_create", source="etc")


def test_without_a_project_workspaces_are_empty_and_the_answer_says_why(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        text = await with_.text("workspace_create", name="w")
        assert "made from: nothing, 0 files" in text
        assert text.endswith("source chosen by: --no-project-source")
        for arguments in ({"source": "."}, {"source": "/etc"}, {"ref": "main"}):
            assert "--no-project-source" in await with_.refusal("workspace_create", **arguments)
        assert "there is no folder to export to" in await with_.refusal(
            "workspace_export", workspace="w", path=".", destination="x"
        )

    talk(work, project_path=None, project_source=False)
