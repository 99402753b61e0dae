"""A working copy unpacked from who knows where: nothing it says is executed on the host, nothing foreign comes in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sandlot.bases.store import BaseStore
from sandlot.errors import GitFailed, SandlotError

from .seeding import everything_below, git, merged, repository, seed

WAYS: tuple[dict[str, object], ...] = ({}, {"include_ignored": True}, {"committed_only": True}, {"ref": "side"})


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def program(tmp_path: Path, canary: Path) -> str:
    """A program that leaves a trace, and passes its input on."""
    script = tmp_path / "program"
    script.write_text(f"#!/bin/sh\necho ran >> {canary}\ncat\n")
    script.chmod(0o755)
    return os.fspath(script)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = repository(tmp_path / "project", {"a.txt": "a\n", "b.bin": "b\n"})
    git(root, "branch", "side")
    return root


def attack(store: BaseStore, project: Path) -> None:
    """Seed it in every way, first, again and after a change."""
    for _ in range(2):
        for options in WAYS:
            try:
                seed(store, project, **options)
            except SandlotError:
                pass
        (project / "a.txt").write_text("changed\n")
        (project / "untracked.bin").write_text("u")
    with pytest.MonkeyPatch.context() as patch:  # as a bare repository and through a URL
        patch.chdir(project)
        for source in (project / ".git", f"file://{project / '.git'}"):
            try:
                seed(store, source)
            except SandlotError:
                pass


def test_programs_named_in_the_configuration_do_not_run(
    store: BaseStore, project: Path, program: str, canary: Path
) -> None:
    (project / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    git(project, "add", ".gitattributes")
    for key in (
        "core.fsmonitor", "core.sshCommand", "core.gitProxy", "core.pager", "core.editor", "core.askPass",
        "core.alternateRefsCommand", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process",
        "diff.evil.textconv", "diff.evil.command", "diff.external", "merge.evil.driver", "credential.helper",
        "uploadpack.packObjectsHook", "remote.origin.uploadpack", "sequence.editor", "gpg.program",
        "interactive.diffFilter", "trailer.x.command", "tar.x.command", "submodule.x.update",
    ):  # fmt: skip
        git(project, "config", key, "!" + program if key == "submodule.x.update" else program)
    git(project, "config", "filter.evil.required", "true")
    git(project, "config", "remote.origin.url", f"ext::{program}")
    git(project, "config", "remote.origin.promisor", "true")
    git(project, "config", "extensions.partialClone", "origin")
    git(project, "config", "core.repositoryFormatVersion", "1")
    git(project, "config", "uploadpack.allowFilter", "true")
    shutil.rmtree(project / ".git/hooks", ignore_errors=True)
    canary.unlink(missing_ok=True)
    attack(store, project)
    assert not canary.exists()
    git(project, "status", check=False)
    assert canary.exists()  # the trap does work


def test_hooks_do_not_run(store: BaseStore, project: Path, program: str, canary: Path, tmp_path: Path) -> None:
    hooks = project / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman"):
        shutil.copy(program, hooks / name)
    git(project, "config", "core.hooksPath", os.fspath(hooks))
    canary.unlink(missing_ok=True)
    attack(store, project)
    assert not canary.exists()
    assert not list(store.paths.layers.glob("*/workspace/.git/hooks/*"))
    git(project, "checkout", "-q", "-f", "side", check=False)
    assert canary.exists()  # the trap does work


def test_included_configuration_is_not_read(
    store: BaseStore, project: Path, program: str, canary: Path, tmp_path: Path
) -> None:
    (tmp_path / "included").write_text(f'[core]\n\tfsmonitor = {program}\n[remote "leak"]\n\turl = https://leak\n')
    git(project, "config", "include.path", os.fspath(tmp_path / "included"))
    git(project, "config", "includeIf.gitdir:/.path", os.fspath(tmp_path / "included"))
    attack(store, project)
    assert not canary.exists()
    for config in store.paths.layers.glob("*/workspace/.git/config"):
        assert "leak" not in config.read_text()


def test_programs_named_by_a_submodule_do_not_run(
    store: BaseStore, project: Path, program: str, canary: Path, tmp_path: Path
) -> None:
    library = repository(tmp_path / "library", {"lib.txt": "l\n"})
    git(project, "submodule", "add", "-q", os.fspath(library), "sub")
    git(project, "commit", "-q", "-m", "sub")
    git(project / "sub", "config", "core.fsmonitor", program)
    git(project / "sub", "config", "filter.evil.clean", program)
    (project / "sub/.gitattributes").write_text("* filter=evil\n")
    (project / "sub/lib.txt").write_text("changed\n")
    canary.unlink(missing_ok=True)
    attack(store, project)
    assert not canary.exists()
    git(project, "status", check=False)
    assert canary.exists()  # the trap does work


def test_configuration_values_cannot_break_out_of_their_line(
    store: BaseStore, project: Path, program: str, tmp_path: Path
) -> None:
    with open(project / ".git/config", "a") as config:
        config.write(
            '[branch "x\\"]\\n[core]\\nfsmonitor = y"]\n\tremote = "a\\n[core]\\n\\tfsmonitor = z"\n'
            '\tmerge = refs/heads/main" # \n'
            f'[remote "q\\"uo\\\\te"]\n\turl = /some/where\\n[core]\\nfsmonitor={program}\n'
            f'[remote "ok\\" back\\\\slash"]\n\turl = "/with \\"quote\\" and ; and # \\\\"\n'
        )
    try:
        base = seed(store, project)
    except GitFailed:
        return  # git itself calls it malformed
    tree = merged(store, base, tmp_path / "merged")
    assert "fsmonitor" not in git(tree, "config", "--list", "--name-only").lower().split()


def test_a_git_file_that_names_somebody_elses_repository_is_refused(
    store: BaseStore, project: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / ".git").write_text(f"gitdir: {project}/.git\n")
    with pytest.raises(GitFailed, match="knows nothing of this working copy"):
        seed(store, hostile)
    (hostile / ".git").unlink()
    (hostile / ".git").symlink_to(project / ".git")
    with pytest.raises(GitFailed, match="knows nothing of this working copy"):
        seed(store, hostile)
    assert everything_below(store.paths.layers) == []


def test_a_repository_kept_apart_from_its_working_copy_may_be_vouched_for(store: BaseStore, tmp_path: Path) -> None:
    root = tmp_path / "apart"
    git(tmp_path, "init", "-q", "-b", "main", "--separate-git-dir", os.fspath(tmp_path / "kept.git"), "apart")
    (root / "a").write_text("a")
    with pytest.raises(GitFailed) as refusal:
        seed(store, root)
    assert "core.worktree" in refusal.value.hint
    git(root, f"--git-dir={tmp_path / 'kept.git'}", "config", "core.worktree", os.fspath(root))
    assert seed(store, root).origin.files == 1


@pytest.mark.parametrize("part", ["objects", "refs", "packed-refs", "info"])
def test_a_git_folder_whose_parts_lead_elsewhere_is_refused(
    store: BaseStore, project: Path, tmp_path: Path, part: str
) -> None:
    git(project, "pack-refs", "--all")
    hostile = repository(tmp_path / "hostile")
    path = hostile / ".git" / part
    if path.is_dir():
        shutil.rmtree(path)
    path.symlink_to(project / ".git" / part)
    with pytest.raises(GitFailed, match="symlink that leaves the repository"):
        seed(store, hostile)


def test_a_common_folder_elsewhere_is_refused(store: BaseStore, project: Path, tmp_path: Path) -> None:
    hostile = repository(tmp_path / "hostile")
    (hostile / ".git/commondir").write_text(f"{project}/.git\n")
    with pytest.raises(GitFailed, match="is not inside it"):
        seed(store, hostile)


def test_a_submodule_behind_a_symlink_is_not_followed(store: BaseStore, project: Path, tmp_path: Path) -> None:
    hostile = repository(tmp_path / "hostile", {"x": "x"})
    commit = git(project, "rev-parse", "HEAD").strip()
    git(hostile, "update-index", "--add", "--cacheinfo", f"160000,{commit},link/project")
    (hostile / "link").symlink_to(tmp_path)
    tree = merged(store, seed(store, hostile), tmp_path / "merged")
    assert (tree / "link").is_symlink()
    assert len(list(store.paths.layers.glob("*/workspace/**/.git"))) == 1


def test_tracked_paths_behind_a_symlink_are_not_followed(store: BaseStore, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("secret")
    hostile = repository(tmp_path / "hostile", {"dir/file": "tracked"})
    shutil.rmtree(hostile / "dir")
    (hostile / "dir").symlink_to(tmp_path / "secret")
    tree = merged(store, seed(store, hostile), tmp_path / "merged")
    assert (tree / "dir").is_symlink()


def test_fifos_in_place_of_gits_files_do_not_hang(store: BaseStore, tmp_path: Path) -> None:
    for name in ("config", "index", "packed-refs", "shallow", "info/exclude", "refs/heads/pipe", "MERGE_HEAD"):
        hostile = repository(tmp_path / ("hostile-" + name.replace("/", "-")))
        (hostile / ".git" / name).unlink(missing_ok=True)
        (hostile / ".git" / name).parent.mkdir(exist_ok=True)
        os.mkfifo(hostile / ".git" / name)
        try:
            seed(store, hostile)
        except SandlotError:
            pass  # a plain refusal is as good
