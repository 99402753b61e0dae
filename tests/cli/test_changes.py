"""Changes on the command line: a patch goes in by a pipe, and comes out by one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sandlot.sdk import Sandlot, Workspace
from tests.conftest import Cli

GIT = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git(folder: Path, *words: str, stdin: bytes = b"") -> bytes:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run(
        ["git", "-C", folder, *identity, *words], input=stdin, capture_output=True, check=True, env=GIT
    ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a text, a script and a binary file."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "text").write_text("".join(f"line {number}\n" for number in range(5000)))
    (folder / "script").write_text("#!/bin/sh\n")
    (folder / "data").write_bytes(bytes(range(256)))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def changed(sandlot: Sandlot, repository: Path) -> Workspace:
    """Every kind of change: far more than one page of a diff."""
    workspace = sandlot.create(repository, name="here")
    workspace.exec(
        """
        sed -i 's/^line/LINE/' text
        chmod +x script
        head -c 100000 /dev/urandom > data
        mkdir -p new/folder
        printf 'no newline' > 'new/folder/a b'
        ln -s ../text new/link
        printf x > "$(printf 'caf\\351')"
        """
    )
    return workspace


def tree(folder: Path) -> dict[bytes, tuple[bytes, bool, bytes]]:
    found = {}
    for path, folders, names in os.walk(os.fsencode(folder)):
        if b".git" in folders:
            folders.remove(b".git")
        for name in names:
            full = os.path.join(path, name)
            target = os.readlink(full) if os.path.islink(full) else b""
            content = b"" if target else Path(os.fsdecode(full)).read_bytes()
            found[os.path.relpath(full, os.fsencode(folder))] = (content, os.access(full, os.X_OK), target)
    return found


def test_a_diff_of_any_size_piped_into_git_apply_gives_the_same_tree(
    cli: Cli, changed: Workspace, repository: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    done = cli("workspace", "diff", "here")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) > 200_000
    git(clone, "apply", "--index", stdin=done.stdout)
    changed.export(".", tmp_path / "exported")
    assert tree(clone) == tree(tmp_path / "exported")


def test_a_diff_of_one_workspace_is_a_patch_for_another(
    cli: Cli, changed: Workspace, sandlot: Sandlot, repository: Path
) -> None:
    sandlot.create(repository, name="there")
    patch = cli("workspace", "diff", "here").stdout
    checked = cli("workspace", "patch", "apply", "there", "--check", stdin=patch)
    assert (checked.returncode, checked.stderr[:11]) == (0, b"would apply")
    assert cli("workspace", "diff", "there").stdout == b""
    assert cli("workspace", "patch", "apply", "there", stdin=patch).returncode == 0
    assert cli("workspace", "diff", "there").stdout == patch


def test_without_changes_nothing_is_on_stdout(cli: Cli, sandlot: Sandlot) -> None:
    sandlot.create(name="here")
    done = cli("workspace", "diff", "here")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"no changes\n")
    assert cli("workspace", "diff", "here", "--stat").stdout == b"0 files changed, +0 -0\n"


def test_a_diff_in_json_is_paged(cli: Cli, changed: Workspace) -> None:
    whole = cli("workspace", "diff", "here").stdout
    answer = json.loads(cli("workspace", "diff", "here", "--json", "--max-bytes", "100K").stdout)
    text = answer["patch"]
    assert answer["patch_bytes"] == len(whole)
    while answer["handle"]:
        page = ("--handle", answer["handle"], "--offset", str(answer["next_offset"]), "--max-bytes", "100K")
        answer = json.loads(cli("workspace", "diff", "here", "--json", *page).stdout)
        text += answer["patch"]
    assert os.fsencode(text) == whole


def test_a_capped_diff_says_how_to_go_on(cli: Cli, changed: Workspace) -> None:
    whole = cli("workspace", "diff", "here").stdout
    first = cli("workspace", "diff", "here", "--max-bytes", "1K")
    assert first.stdout == whole[:1024]
    more = first.stderr.decode().removeprefix("more: ").split(" (")[0].split()
    rest = cli("workspace", "diff", "here", *more)
    assert rest.stdout == whole[1024:]
    wrong = cli("workspace", "diff", "here", "--handle", "../../etc/passwd")
    assert (wrong.returncode, wrong.stderr.splitlines()[1]) == (2, b"hint: sandlot workspace diff here")


def test_the_stat_and_a_path_filter(cli: Cli, changed: Workspace) -> None:
    lines = cli("workspace", "diff", "here", "--stat", "new", "script").stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["added", "added", "mode", "3"]


def test_a_patch_that_does_not_fit_names_the_hunk(cli: Cli, changed: Workspace) -> None:
    patch = b"--- a/script\n+++ b/script\n@@ -1 +1 @@\n-#!/bin/csh\n+#!/bin/zsh\n"
    before = cli("workspace", "diff", "here").stdout
    done = cli("workspace", "patch", "apply", "here", stdin=patch)
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"script" in done.stderr
    assert b"hint: " in done.stderr
    answer = json.loads(cli("workspace", "patch", "apply", "here", "--json", stdin=patch).stdout)["error"]
    assert (answer["code"], bool(answer["details"])) == ("patch_rejected", True)
    assert cli("workspace", "diff", "here").stdout == before


def test_handing_back_shows_first(cli: Cli, changed: Workspace, repository: Path, tmp_path: Path) -> None:
    before = tree(repository)
    shown = cli("workspace", "apply", "here")
    assert shown.returncode == 0
    assert b"repeat with --yes to apply" in shown.stderr
    assert tree(repository) == before
    assert cli("workspace", "apply", "here", "--yes").returncode == 0
    changed.export(".", tmp_path / "exported")
    assert tree(repository) == tree(tmp_path / "exported")


def test_export_and_sync(cli: Cli, changed: Workspace, repository: Path, tmp_path: Path) -> None:
    done = cli("workspace", "export", "here", "new", str(tmp_path / "out"))
    assert done.stdout.startswith(b"2 files, ")
    assert cli("workspace", "export", "here", "new", str(tmp_path / "out")).returncode == 4
    assert cli("workspace", "export", "here", "new", str(tmp_path / "out"), "--overwrite").returncode == 0
    (repository / "later").write_text("x")
    assert cli("workspace", "sync", "push", "here").stdout.startswith(b"1 written, 0 deleted")
    (repository / "text").write_text("both changed")
    done = cli("workspace", "sync", "push", "here")
    assert done.returncode == 4
    assert b"text" in done.stderr
