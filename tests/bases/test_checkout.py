"""Seeding from a git working copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sandlot.bases import checkout as checkouts
from sandlot.bases.store import BaseStore
from sandlot.errors import GitFailed, SeedUnreadable
from sandlot.model.base import Base, OriginKind

from .seeding import PAST_NS, age, everything_below, facts, git, merged, repository, seed

pytestmark = pytest.mark.usefixtures("no_clock_tick")

STATUS = ("--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=all")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A working copy with every kind of change in it."""
    root = tmp_path / "project"
    files = {name: f"{name}\n" for name in ("kept", "edited", "staged", "deleted", "both", "lib/deep/file", "run.sh")}
    repository(root, {**files, ".gitignore": "*.log\nbuild/\n"})
    (root / "run.sh").chmod(0o755)
    os.utime(root / "run.sh", ns=(PAST_NS, PAST_NS))
    (root / "link").symlink_to("kept")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "two")
    git(root, "tag", "-a", "v1", "-m", "tag")
    git(root, "branch", "side", "HEAD~1")
    (root / "edited").write_text("changed\n")
    (root / "staged").write_text("staged\n")
    git(root, "add", "staged")
    (root / "both").write_text("first\n")
    git(root, "add", "both")
    (root / "both").write_text("second\n")
    (root / "deleted").unlink()
    (root / "new").write_text("new\n")
    (root / "new dir\nwith newline").mkdir()
    (root / "new dir\nwith newline" / "x").write_text("x")
    (root / "noise.log").write_text("ignored")
    (root / "build").mkdir()
    (root / "build" / "out").write_text("ignored")
    (root / "empty/inner").mkdir(parents=True)
    return root


def inside(store: BaseStore, base: Base, tmp_path: Path, name: str = "merged") -> Path:
    return merged(store, base, tmp_path / name)


def test_the_working_tree_comes_as_it_is_without_what_git_ignores(
    store: BaseStore, project: Path, tmp_path: Path
) -> None:
    base = seed(store, project)
    expected = facts(project)
    for ignored in ("noise.log", "build", "build/out"):
        del expected[ignored]
    assert facts(inside(store, base, tmp_path)) == expected
    assert base.origin.kind is OriginKind.GIT
    assert base.origin.commit == git(project, "rev-parse", "HEAD").strip()
    assert base.origin.ref == "main"
    assert base.origin.dirty


def test_git_says_the_same_inside(store: BaseStore, project: Path, tmp_path: Path) -> None:
    tree = inside(store, seed(store, project), tmp_path)
    assert git(tree, *STATUS) == git(project, *STATUS)
    assert git(tree, "log", "--all", "--format=%H %D") == git(project, "log", "--all", "--format=%H %D")
    assert git(tree, "diff") == git(project, "diff")
    assert git(tree, "diff", "--cached") == git(project, "diff", "--cached")
    assert git(tree, "for-each-ref") == git(project, "for-each-ref")
    git(tree, "fsck", "--strict")
    git(tree, "commit", "-q", "-a", "-m", "inside")


def test_the_git_folder_is_self_contained_and_bare_of_the_users_own(
    store: BaseStore, project: Path, tmp_path: Path
) -> None:
    git(project, "remote", "add", "origin", "https://user:secret@example.invalid/x.git?token=secret")
    git(project, "config", "user.email", "me@example.invalid")
    git(project, "config", "alias.x", "!touch canary")
    git(project, "config", "branch.main.remote", "origin")
    git(project, "config", "branch.main.merge", "refs/heads/main")
    (project / ".git/hooks/pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (project / "kept").write_text("stash me")
    git(project, "stash")
    git(project, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(project, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    tree = inside(store, seed(store, project), tmp_path)
    config = (tree / ".git/config").read_text()
    assert "secret" not in config
    assert "alias" not in config
    assert "email" not in config
    assert git(tree, "remote", "get-url", "origin").strip() == "https://example.invalid/x.git"
    assert git(tree, "rev-parse", "--abbrev-ref", "main@{upstream}").strip() == "origin/main"
    assert git(tree, "symbolic-ref", "refs/remotes/origin/HEAD").strip() == "refs/remotes/origin/main"
    assert not (tree / ".git/hooks").exists()
    assert not (tree / ".git/logs").exists()
    assert git(tree, "stash", "list") == ""
    assert not (tree / ".git/objects/info/alternates").exists()


def test_git_inside_believes_the_index_and_hashes_nothing(store: BaseStore, tmp_path: Path) -> None:
    project = repository(tmp_path / "clean")
    git(project, "status")
    tree = inside(store, seed(store, project), tmp_path)
    # Other content of the same size and time: git says "clean" only when it does not look.
    (tree / "a.txt").write_text("X\n")
    os.utime(tree / "a.txt", ns=(PAST_NS, PAST_NS))
    assert git(tree, "status", "--porcelain") == ""
    (tree / "a.txt").write_text("longer\n")
    assert git(tree, "status", "--porcelain") == " M a.txt\n"


def test_a_second_seed_copies_nothing(store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = seed(store, project)
    before = everything_below(store.paths.layers)
    monkeypatch.setattr(checkouts, "build_tree", None)
    again = seed(store, project)
    assert again.cached
    assert (again.id, again.layers, again.origin) == (first.id, first.layers, first.origin)
    assert everything_below(store.paths.layers) == before


def test_an_edit_is_a_delta_and_a_commit_another_git_layer(store: BaseStore, project: Path, tmp_path: Path) -> None:
    for number in range(100):
        (project / f"more{number}").write_text("x")
    first = seed(store, project)
    (project / "kept").write_text("edited again")
    second = seed(store, project)
    assert second.layers[:-1] == first.layers
    git(project, "commit", "-q", "-a", "-m", "three")
    third = seed(store, project)
    assert third.layers[1:] == second.layers[1:]
    assert third.layers[0] != second.layers[0]
    tree = inside(store, third, tmp_path)
    assert git(tree, "log", "-1", "--format=%s") == "three\n"
    assert git(tree, *STATUS) == git(project, *STATUS)


def test_a_change_behind_the_back_of_git_status_is_not_remembered(
    store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scan = checkouts.scan_paths  # type: ignore[attr-defined]  # to be replaced
    calls: list[int] = []

    def edit_then_scan(*args: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:  # the first is for what git called dirty
            (project / "kept").write_text("edited late")
        return scan(*args, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(checkouts, "scan_paths", edit_then_scan)
    seed(store, project)
    (project / "kept").write_text("kept\n")  # clean again: the very state that was looked at first
    base = seed(store, project)
    assert (inside(store, base, tmp_path) / "kept").read_text() == "kept\n"


def test_ignored_files_come_when_asked_for(store: BaseStore, project: Path, tmp_path: Path) -> None:
    base = seed(store, project, include_ignored=True)
    tree = inside(store, base, tmp_path)
    assert facts(tree) == facts(project)
    assert git(tree, *STATUS) == git(project, *STATUS)
    assert seed(store, project, include_ignored=True).cached


def test_a_working_copy_without_commits_is_seeded(store: BaseStore, tmp_path: Path) -> None:
    root = tmp_path / "unborn"
    root.mkdir()
    git(root, "init", "-q", "-b", "trunk")
    (root / "staged").write_text("s")
    git(root, "add", "staged")
    (root / "new").write_text("n")
    base = seed(store, root)
    tree = inside(store, base, tmp_path)
    assert (base.origin.commit, base.origin.ref, base.origin.dirty) == (None, "trunk", True)
    assert git(tree, *STATUS) == git(root, *STATUS)


def test_a_detached_head_stays_detached(store: BaseStore, project: Path, tmp_path: Path) -> None:
    git(project, "checkout", "-q", "--detach")
    base = seed(store, project)
    tree = inside(store, base, tmp_path)
    assert base.origin.ref is None
    assert git(tree, *STATUS) == git(project, *STATUS)


def test_a_linked_working_copy_becomes_a_repository_of_its_own(store: BaseStore, project: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(project, "worktree", "add", "-q", os.fspath(linked), "side")
    (linked / "only here").write_text("x")
    base = seed(store, linked)
    tree = inside(store, base, tmp_path)
    assert base.origin.ref == "side"
    assert (tree / ".git").is_dir()
    shutil.rmtree(project)
    assert git(tree, "status", "--porcelain") == "?? only here\n" or git(tree, "status", "--porcelain") == (
        '?? "only here"\n'
    )
    git(tree, "fsck", "--strict")


def test_shallow_history_stays_shallow(store: BaseStore, project: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{project}", "shallow")
    tree = inside(store, seed(store, tmp_path / "shallow"), tmp_path)
    assert git(tree, "rev-list", "--count", "HEAD") == "1\n"
    git(tree, "fsck", "--strict")
    assert git(tree, "status", "--porcelain") == ""


def test_borrowed_objects_come_along_as_far_as_they_are_reached(
    store: BaseStore, project: Path, tmp_path: Path
) -> None:
    git(project, "checkout", "-q", "-f", "main")
    (project / "secret").write_text("never pushed")
    blob = git(project, "hash-object", "-w", "secret").strip()
    (project / "secret").unlink()
    git(tmp_path, "clone", "-q", "--shared", os.fspath(project), "borrower")
    borrower = tmp_path / "borrower"
    (borrower / "staged new").write_text("only in the index")
    git(borrower, "add", "-A")
    tree = inside(store, seed(store, borrower), tmp_path)
    shutil.rmtree(project)
    assert not (tree / ".git/objects/info/alternates").exists()
    git(tree, "fsck", "--strict")
    assert git(tree, "diff", "--cached", "--stat").strip().startswith("staged new")
    assert git(tree, "cat-file", "-e", blob, check=False) == ""
    with pytest.raises(AssertionError):
        git(tree, "cat-file", "-e", blob)


def test_sha256_repositories_are_seeded(store: BaseStore, tmp_path: Path) -> None:
    root = tmp_path / "wide"
    root.mkdir()
    git(root, "init", "-q", "-b", "main", "--object-format=sha256")
    (root / "a").write_text("a")
    age(root)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "one")
    tree = inside(store, seed(store, root), tmp_path)
    assert len(git(tree, "rev-parse", "HEAD").strip()) == 64
    assert git(tree, "status", "--porcelain") == ""


def test_a_sparse_checkout_stays_sparse(store: BaseStore, tmp_path: Path) -> None:
    project = repository(tmp_path / "sparse", {"top": "t", "in/x": "x", "out/y": "y"})
    git(project, "sparse-checkout", "set", "--cone", "in")
    tree = inside(store, seed(store, project), tmp_path)
    assert not (tree / "out").exists()
    assert git(tree, "status", "--porcelain") == ""
    git(tree, "sparse-checkout", "disable")
    assert (tree / "out/y").read_text() == "y"


def test_a_split_index_is_understood(store: BaseStore, project: Path, tmp_path: Path) -> None:
    git(project, "update-index", "--split-index")
    (project / "kept").write_text("x")
    git(project, "add", "kept")
    tree = inside(store, seed(store, project), tmp_path)
    assert git(tree, *STATUS) == git(project, *STATUS)


def test_smudged_files_and_pointers_look_unchanged_inside(store: BaseStore, tmp_path: Path) -> None:
    root = tmp_path / "lfs"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "filter.lfs.clean", "sed s/REAL/pointer/")
    git(root, "config", "filter.lfs.smudge", "sed s/pointer/REAL/")
    (root / ".gitattributes").write_text("*.bin filter=lfs\n")
    (root / "smudged.bin").write_text("REAL content\n")
    age(root)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "one")
    git(root, "status")
    assert git(root, "cat-file", "-p", "HEAD:smudged.bin") == "pointer content\n"
    tree = inside(store, seed(store, root), tmp_path)
    assert (tree / "smudged.bin").read_text() == "REAL content\n"
    assert git(tree, "status", "--porcelain") == ""


def test_an_unfinished_merge_can_be_finished_inside(store: BaseStore, tmp_path: Path) -> None:
    project = repository(tmp_path / "merging")
    git(project, "checkout", "-q", "-b", "side")
    (project / "a.txt").write_text("side\n")
    git(project, "commit", "-q", "-a", "-m", "side")
    git(project, "checkout", "-q", "main")
    (project / "a.txt").write_text("main\n")
    git(project, "commit", "-q", "-a", "-m", "main")
    git(project, "merge", "side", check=False)
    tree = inside(store, seed(store, project), tmp_path)
    assert git(tree, *STATUS) == git(project, *STATUS)
    (tree / "a.txt").write_text("both\n")
    git(tree, "commit", "-q", "-a", "--no-edit")
    assert len(git(tree, "log", "-1", "--format=%P").split()) == 2


def _with_submodule(tmp_path: Path) -> Path:
    inner = repository(tmp_path / "inner", {"inner.txt": "i\n"})
    library = repository(tmp_path / "library", {"lib.txt": "l\n"})
    git(library, "submodule", "add", "-q", os.fspath(inner), "deeper")
    git(library, "commit", "-q", "-m", "with submodule")
    project = repository(tmp_path / "super", {"top.txt": "t\n"})
    git(project, "submodule", "add", "-q", os.fspath(library), "libs/sub")
    git(project, "submodule", "update", "-q", "--init", "--recursive")
    git(project, "commit", "-q", "-m", "with submodule")
    return project


def test_submodules_become_repositories_in_place(store: BaseStore, tmp_path: Path) -> None:
    project = _with_submodule(tmp_path)
    (project / "libs/sub/untracked").write_text("u")
    (project / "libs/sub/deeper/inner.txt").write_text("edited\n")
    base = seed(store, project)
    tree = inside(store, base, tmp_path)
    assert base.origin.dirty
    for folder in ("", "libs/sub", "libs/sub/deeper"):
        assert (tree / folder / ".git").is_dir()
        assert git(tree / folder, *STATUS) == git(project / folder, *STATUS)
        git(tree / folder, "fsck", "--strict")
    assert git(tree, "submodule", "status", "--recursive") == git(project, "submodule", "status", "--recursive")
    assert seed(store, project).cached
    (project / "libs/sub/lib.txt").write_text("edited\n")
    again = seed(store, project)
    assert not again.cached
    assert (inside(store, again, tmp_path, "again") / "libs/sub/lib.txt").read_text() == "edited\n"


def test_a_submodule_that_comes_back_has_its_history_again(store: BaseStore, tmp_path: Path) -> None:
    project = _with_submodule(tmp_path)
    for number in range(100):
        (project / f"filler{number}").write_text("x")
    seed(store, project)
    git(project, "submodule", "deinit", "-q", "-f", "--all")
    shutil.rmtree(project / "libs")
    (project / "libs").write_text("a file now")
    seed(store, project)
    (project / "libs").unlink()
    git(project, "submodule", "update", "-q", "--init", "--recursive")
    tree = inside(store, seed(store, project), tmp_path)
    assert git(tree / "libs/sub", "log", "-1", "--format=%s") == "with submodule\n"
    assert facts(tree) == facts(project)


def test_a_submodule_of_its_own_can_be_the_seed(store: BaseStore, tmp_path: Path) -> None:
    project = _with_submodule(tmp_path)
    tree = inside(store, seed(store, project / "libs/sub"), tmp_path)
    assert git(tree, *STATUS) == git(project / "libs/sub", *STATUS)


def test_other_repositories_in_a_working_copy_keep_their_history(
    store: BaseStore, project: Path, tmp_path: Path
) -> None:
    repository(project / "vendored/other", {"o.txt": "o\n"})
    for options in ({}, {"include_ignored": True}):
        tree = inside(store, seed(store, project, **options), tmp_path, f"merged{len(options)}")
        assert git(tree / "vendored/other", "log", "--format=%s") == "one\n"
        assert (tree / "vendored/other/o.txt").read_text() == "o\n"


def test_a_broken_git_folder_is_refused(store: BaseStore, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    (root / ".git").mkdir(parents=True)
    with pytest.raises(GitFailed, match="no git repository"):
        seed(store, root)


def test_files_are_never_links_to_the_source_and_objects_are_only_when_immutable(
    store: BaseStore, project: Path
) -> None:
    loose = next(path for path in (project / ".git/objects").glob("??/*"))
    loose.chmod(0o644)  # somebody could write it
    base = seed(store, project)
    layer = store.paths.layer(base.layers[0]) / "workspace"
    copy = layer / loose.relative_to(project)
    assert copy.stat().st_ino != loose.stat().st_ino
    for path in (store.paths.layer(base.layers[1]) / "workspace").rglob("*"):
        assert not path.is_file() or path.is_symlink() or path.stat().st_nlink == 1


def test_our_own_state_inside_a_working_copy_is_refused(project: Path) -> None:
    from .seeding import store_at

    with pytest.raises(SeedUnreadable, match="own state"):
        seed(store_at(project / "state"), project)
