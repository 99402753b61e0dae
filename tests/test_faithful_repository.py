"""An awkward but ordinary repository goes in, is used, and comes out as it was."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from sandlot.sdk import Sandlot, Workspace

BIG = int(os.environ.get("SANDLOT_TEST_BIG_FILE", 66 << 20))
"""Larger than a patch may hold; `make chaos` uses 1 GiB."""


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.email=a@example.org", "-c", "user.name=a", "-c", "protocol.file.allow=always"]
    return subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    (library / "s.txt").write_text("s\n")
    git(library, "add", "-A")
    git(library, "commit", "-qm", "library")
    root = tmp_path / "repository"
    for folder in ("node_modules/.bin", "node_modules/p", ".venv/bin", "src", "with space", "empty"):
        (root / folder).mkdir(parents=True)
    git(root, "init", "-q")
    (root / "node_modules/p/cli.js").write_text("#!/bin/sh\necho from p\n")
    (root / "node_modules/p/cli.js").chmod(0o755)
    (root / "node_modules/.bin/p").symlink_to("../p/cli.js")
    (root / ".venv/bin/python").symlink_to("/usr/bin/python3")
    (root / "src/a.py").write_text("a\n")
    os.link(root / "src/a.py", root / "src/hard.py")
    (root / "with space/f g").write_text("1\n")
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    (root / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (root / "big.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n")
    (root / ".gitignore").write_text(".venv\nnode_modules\n")
    for name in (b"new\nline", b"bad\xff"):
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(b"no newline at the end")
    git(root, "submodule", "--quiet", "add", str(library), "sub")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    git(root, "tag", "v1")
    with open(root / "huge", "wb") as file:
        for _ in range(BIG >> 20):
            file.write(os.urandom(1 << 20))
    os.mkfifo(root / "fifo")
    (root / "src/a.py").write_text("dirty\n")
    (root / "staged").write_text("staged\n")
    git(root, "add", "staged")
    return root


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder but ``.git``: kind, mode, mtime, size or target."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            key = os.path.relpath(path, root)
            if stat.S_ISLNK(info.st_mode):
                found[key] = ("link", os.readlink(path))
            elif stat.S_ISDIR(info.st_mode):
                found[key] = ("folder", stat.S_IMODE(info.st_mode))
            elif stat.S_ISREG(info.st_mode) and name != ".git":
                found[key] = ("file", stat.S_IMODE(info.st_mode), info.st_mtime_ns, info.st_size, info.st_nlink)
    return found


def test_it_looks_the_same_inside_and_comes_out_the_same(sandlot: Sandlot, repository: Path, tmp_path: Path) -> None:
    workspace = sandlot.create(repository, include_ignored=True)

    assert workspace.info.origin.dirty
    assert workspace.info.origin.skipped == ("fifo",)
    inside = workspace.exec("git status --porcelain").stdout.text
    assert inside == git(repository, "status", "--porcelain")
    assert workspace.exec("git log --format=%H --all").stdout.text == git(repository, "log", "--format=%H", "--all")
    assert workspace.exec("git submodule status").stdout.text.startswith(" ")
    assert workspace.exec("node_modules/.bin/p; ./run.sh; .venv/bin/python -c 'print(1)'").stdout.text == (
        "from p\nran\n1\n"
    )
    assert workspace.diff().files == ()

    out = tmp_path / "out"
    done = workspace.export(".", out)
    assert done.escaping_links == (".venv/bin/python",)
    assert listing(out) == listing(repository)


def test_changes_in_it_are_told_and_apply_to_a_copy_of_it(sandlot: Sandlot, repository: Path, tmp_path: Path) -> None:
    workspace = sandlot.create(repository, include_ignored=True)
    before = tmp_path / "before"
    workspace.export(".", before)
    changes = """
        printf q > "$(printf 'new\\nline')"; rm "$(printf 'bad\\377')"; chmod 644 run.sh; mv 'with space' moved
        rm .venv/bin/python; ln -s ../p/other node_modules/.bin/q; printf '\\0\\1' > binary; echo s >> sub/s.txt
    """
    assert workspace.exec(changes).exit_status == 0
    workspace.snapshots.create("changed")

    result = workspace.diff(include_ignored=True)  # node_modules and .venv are ignored, and seeded here

    assert {change.path: change.status.value for change in result.files} == {
        "new\nline": "modified",
        "bad\udcff": "deleted",
        "run.sh": "mode",
        "moved/f g": "renamed",
        ".venv/bin/python": "deleted",
        "node_modules/.bin/q": "added",
        "binary": "added",
        "sub/s.txt": "modified",
    }
    subprocess.run(["git", "apply", "-"], input=os.fsencode(result.patch), cwd=before, check=True)
    workspace.export(".", tmp_path / "after")

    def comparable(root: Path) -> dict[str, object]:
        return {
            path: (facts[0], facts[1]) if facts[0] == "file" else facts
            for path, facts in listing(root).items()
            if facts[0] != "folder"
        }

    assert comparable(before) == comparable(tmp_path / "after")


def test_a_file_too_large_for_a_patch_is_named_not_lost(sandlot: Sandlot, repository: Path) -> None:
    workspace = sandlot.create(repository)
    workspace.exec("printf x | dd of=huge bs=1 seek=10 conv=notrunc 2>/dev/null")

    (change,) = workspace.diff().files

    assert change.path == "huge"
    assert change.omitted is not None
    workspace.snapshots.create("large")
    workspace.reset()
    assert workspace.diff().files == ()
    workspace.reset("large")
    assert [each.path for each in workspace.diff(stat=True).files] == ["huge"]


def test_a_second_create_copies_nothing(sandlot: Sandlot, repository: Path) -> None:
    def used() -> set[tuple[Path, int]]:
        """Not by blocks: the file system gives a file some of them when it is written back, some time later."""
        return {(entry, entry.lstat().st_ino) for entry in sandlot._context.paths.layers.rglob("*")}

    first: Workspace = sandlot.create(repository)
    before = used()
    second = sandlot.create(repository)

    assert second.base == first.base
    assert used() == before
