"""Seeding from a commit: of a working copy, a bare repository or a URL."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandlot.bases import clone, committed
from sandlot.bases.store import BaseStore
from sandlot.errors import GitFailed

from .seeding import everything_below, facts, git, merged, repository, seed

COMMIT_NS = 1_600_000_000 * 10**9


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = repository(tmp_path / "project", {"a.txt": "one\n", "run.sh": "#!/bin/sh\n"})
    git(root, "tag", "-a", "v1", "-m", "tag")
    git(root, "branch", "side")
    (root / "a.txt").write_text("two\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("a.txt")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "two")
    (root / "a.txt").write_text("uncommitted\n")
    (root / "untracked").write_text("u")
    return root


@pytest.fixture(params=["working copy", "bare", "url"])
def source(request: pytest.FixtureRequest, project: Path, tmp_path: Path) -> str:
    if request.param == "working copy":
        return os.fspath(project)
    git(tmp_path, "clone", "-q", "--bare", os.fspath(project), "bare.git")
    return os.fspath(tmp_path / "bare.git") if request.param == "bare" else f"file://{tmp_path}/bare.git"


def test_a_ref_gives_the_files_of_its_commit(store: BaseStore, source: str, project: Path, tmp_path: Path) -> None:
    commits = {name: git(project, "rev-parse", f"{name}^{{commit}}").strip() for name in ("main", "v1", "side")}
    for number, (ref, content, head) in enumerate(
        [
            ("main", "two\n", "main"),
            ("v1", "one\n", "HEAD"),
            ("side", "one\n", "side"),
            (commits["v1"], "one\n", "HEAD"),
        ]
    ):
        base = seed(store, source, ref=ref)
        tree = merged(store, base, tmp_path / f"merged{number}")
        assert (tree / "a.txt").read_text() == content
        assert base.origin.commit == commits.get(ref, ref)
        assert base.origin.ref == ref
        assert not base.origin.dirty
        assert git(tree, "rev-parse", "--abbrev-ref", "HEAD").strip() == head
        assert git(tree, "status", "--porcelain") == ""
        git(tree, "fsck", "--strict")
        assert seed(store, source, ref=ref).cached


def test_modes_and_times_are_those_of_the_commit(store: BaseStore, source: str, tmp_path: Path) -> None:
    tree = merged(store, seed(store, source, committed_only=True), tmp_path / "merged")
    assert facts(tree) == {
        ".": ("folder", 0o755, COMMIT_NS),
        "a.txt": ("file", 0o644, COMMIT_NS, b"two\n"),
        "link": ("link", "a.txt", COMMIT_NS),
        "run.sh": ("file", 0o755, COMMIT_NS, b"#!/bin/sh\n"),
    }


def test_git_inside_hashes_nothing(store: BaseStore, source: str, tmp_path: Path) -> None:
    tree = merged(store, seed(store, source, committed_only=True), tmp_path / "merged")
    (tree / "a.txt").write_text("TWO\n")
    os.utime(tree / "a.txt", ns=(COMMIT_NS, COMMIT_NS))
    assert git(tree, "status", "--porcelain") == ""


def test_a_ref_that_does_not_exist_is_told(store: BaseStore, source: str) -> None:
    with pytest.raises(GitFailed, match="no branch"):
        seed(store, source, ref="no-such-ref")
    assert everything_below(store.paths.layers) == []


def test_a_url_that_does_not_answer_is_told_in_gits_words(store: BaseStore, tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="does not appear to be a git repository"):
        seed(store, f"file://{tmp_path}/nothing")
    with pytest.raises(GitFailed) as failure:
        seed(store, "https://user:pa55word@127.0.0.1:1/x.git")
    assert "pa55word" not in failure.value.message


def test_a_known_commit_of_a_url_needs_no_network(
    store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(project, "rev-parse", "HEAD").strip()
    first = seed(store, f"file://{project}", ref=commit)

    def offline(*_: object, **__: object) -> bytes:
        raise AssertionError("the network was used")

    monkeypatch.setattr(clone, "run_git", offline)
    again = seed(store, f"file://{project}", ref=commit)
    assert (again.id, again.cached) == (first.id, True)


def test_a_moved_branch_is_cloned_again(store: BaseStore, project: Path, tmp_path: Path) -> None:
    url = f"file://{project}"
    first = seed(store, url, ref="side")
    git(project, "branch", "-f", "side", "main")
    second = seed(store, url, ref="side")
    assert second.id != first.id
    assert (merged(store, second, tmp_path / "merged") / "a.txt").read_text() == "two\n"


def test_a_branch_of_a_url_follows_its_remote(store: BaseStore, project: Path, tmp_path: Path) -> None:
    tree = merged(store, seed(store, f"file://{project}", ref="side"), tmp_path / "merged")
    assert git(tree, "rev-parse", "--abbrev-ref", "side@{upstream}").strip() == "origin/side"


def test_a_repository_without_commits_is_told(store: BaseStore, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    for source in (tmp_path / "empty", f"file://{tmp_path}/empty"):
        with pytest.raises(GitFailed, match="no commit yet"):
            seed(store, source, committed_only=True)


def test_submodules_of_a_working_copy_are_checked_out_at_the_recorded_commit(store: BaseStore, tmp_path: Path) -> None:
    library = repository(tmp_path / "library", {"lib.txt": "one\n"})
    project = repository(tmp_path / "super")
    git(project, "submodule", "add", "-q", os.fspath(library), "libs/sub")
    git(project, "commit", "-q", "-m", "sub")
    (project / "libs/sub/lib.txt").write_text("two\n")
    git(project / "libs/sub", "commit", "-q", "-a", "-m", "two")
    tree = merged(store, seed(store, project, committed_only=True), tmp_path / "merged")
    assert (tree / "libs/sub/lib.txt").read_text() == "one\n"
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree / "libs/sub", "status", "--porcelain") == ""


def test_an_interruption_leaves_nothing(store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(committed, "_settle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        seed(store, project, committed_only=True)
    assert everything_below(store.paths.layers) == []
    assert not [name for name in everything_below(store.paths.building) if not name.startswith("lock-")]
