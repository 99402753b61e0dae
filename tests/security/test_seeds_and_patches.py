"""Cases 5 and 6, from one end to the other: hostile archives and patches are refused before they write anything."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot.errors import ArchiveRefused, PatchRejected, SandlotError
from sandlot.sdk import Sandlot, Workspace


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"x"
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


ESCAPES = {
    "parent": [member("../escaped")],
    "deep parent": [member("a/../../escaped")],
    "absolute": [member("{host}/escaped")],
    "link then file": [member("door", tarfile.SYMTYPE, "{host}"), member("door/escaped")],
    "link to a link": [member("a", tarfile.SYMTYPE, "b"), member("b", tarfile.SYMTYPE, "{host}"), member("a/escaped")],
    "hard link outside": [member("inner", tarfile.LNKTYPE, "{host}/secret")],
    "hard link up": [member("inner", tarfile.LNKTYPE, "../../../../../../../../../../{host}/secret")],
    "device": [member("disk", tarfile.BLKTYPE)],
    "twice": [member("same"), member("same", data=b"y")],
    "file below a file": [member("same"), member("same/escaped")],
}
SKIPPED = {"device"}
"""Not refused: special files are left out and reported."""


@pytest.mark.parametrize("name", ESCAPES)
def test_a_hostile_archive_makes_no_workspace_and_no_file(sandlot: Sandlot, host_folder: Path, name: str) -> None:
    (host_folder / "secret").write_text("canary")
    path = host_folder / "seed.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(*_file(member("first")))
        for info, data in ESCAPES[name]:
            info.name = info.name.format(host=host_folder)
            info.linkname = info.linkname.format(host=host_folder)
            archive.addfile(*_file((info, data)))
    if name in SKIPPED:
        workspace = sandlot.create(path)
        assert workspace.exec(["ls"]).stdout.text == "first\n"
        return
    with pytest.raises(ArchiveRefused):
        sandlot.create(path)
    assert sandlot.list() == []
    assert sorted(each.name for each in host_folder.iterdir()) == ["secret", "seed.tar"]
    assert list(sandlot._context.paths.workspaces.iterdir()) == []
    assert [each for each in sandlot._context.paths.building.iterdir() if not each.name.startswith("lock")] == []


def _file(pair: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo, io.BytesIO]:
    return pair[0], io.BytesIO(pair[1])


def test_a_zip_cannot_escape_either(sandlot: Sandlot, host_folder: Path) -> None:
    for number, name in enumerate(("../escaped", f"{host_folder}/escaped", "a/../../escaped")):
        path = host_folder / f"seed{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(ArchiveRefused):
            sandlot.create(path)
    assert not (host_folder / "escaped").exists()
    assert sandlot.list() == []


def new_file(path: str, mode: str = "100644", line: str = "x") -> str:
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\nindex 0000000..587be6b\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1 @@\n+{line}\n"
    )


PATCHES: dict[str, Callable[[Path], str]] = {
    "parent": lambda host: new_file("../escaped"),
    "absolute": lambda host: f"--- /dev/null\n+++ {host}/escaped\n@@ -0,0 +1 @@\n+x\n",
    "hook": lambda host: new_file(".git/hooks/post-checkout", "100755"),
    "config": lambda host: new_file(".git/config"),
    "hidden git folder": lambda host: new_file("sub/.GIT/config"),
    "through a link": lambda host: new_file("door", "120000", str(host)) + new_file("door/escaped"),
    "through an old link": lambda host: new_file("old/escaped"),
    "half": lambda host: new_file("good") + "diff --git a/no b/no\n--- a/no\n+++ b/no\n@@ -1 +1 @@\n-missing\n+x\n",
    "rename to git": lambda host: "diff --git a/kept b/.git/hooks/x\nsimilarity index 100%\nrename from kept\n"
    "rename to .git/hooks/x\n",
    "submodule": lambda host: "diff --git a/sub b/sub\nnew file mode 160000\nindex 0000000..1111111\n"
    "--- /dev/null\n+++ b/sub\n@@ -0,0 +1 @@\n+Subproject commit " + "1" * 40 + "\n",
}  # fmt: skip


@pytest.mark.parametrize("name", PATCHES)
def test_a_hostile_patch_changes_nothing(workspace: Workspace, host_folder: Path, name: str) -> None:
    workspace.exec(["sh", "-c", f"git init -q; echo kept > kept; ln -s {host_folder} old"])
    tree = "find . -not -path './.git/index*' -printf '%p %y %s %l\\n' | sort"
    before = workspace.exec(tree).stdout.text
    with pytest.raises(SandlotError) as caught:
        workspace.patch(PATCHES[name](host_folder))
    assert caught.value.code in (PatchRejected.code, "unsafe_path", "invalid_argument")
    assert workspace.exec(tree).stdout.text == before
    assert list(host_folder.iterdir()) == []


HANDBACK = {
    "hook": "mkdir -p sub/.git/hooks; echo '#!/bin/sh' > sub/.git/hooks/pre-commit",
    "link outside": "ln -s {host} door; ln -s ../../.. up",
    "case of git": "mkdir .GIT; echo x > .GIT/config; mkdir '.git '; echo x > '.git /config'",
    "short name": "mkdir GIT~1; echo x > GIT~1/config",
    "link in the way": "rm -r folder; ln -s {host}/elsewhere folder",
}


@pytest.mark.parametrize("name", HANDBACK)
def test_what_is_handed_back_stays_in_the_folder_it_came_from(sandlot: Sandlot, host_folder: Path, name: str) -> None:
    project, elsewhere = host_folder / "project", host_folder / "elsewhere"
    for folder in (project / "folder", elsewhere):
        folder.mkdir(parents=True)
    (project / "folder/file").write_text("old\n")
    workspace = sandlot.create(project)
    workspace.exec(HANDBACK[name].format(host=host_folder) + "; echo new > plain")
    try:
        workspace.apply(yes=True)
        assert (project / "plain").read_text() == "new\n"
    except SandlotError:
        assert not (project / "plain").exists()  # all or nothing
    assert list(elsewhere.iterdir()) == []
    assert sorted(path.name for path in host_folder.iterdir()) == ["elsewhere", "project"]
    assert not (project / ".git").exists()
    assert not (project / "sub/.git").exists()
    for path in project.rglob("*"):
        if path.is_symlink():
            assert path.resolve().is_relative_to(project)
