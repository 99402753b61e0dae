"""Repos of a workspace: refs, history, containment."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sandlot.errors import GitFailed, UnsafePath
from sandlot.evals.cases import Clone, History, WorkspaceMode, WorkspacePlan
from sandlot.evals.gitclient import cancelled_by
from sandlot.evals.repos import Resolved, contained, materialise, resolve
from sandlot.evals.staging import assemble
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.evals.places import commit, git, repo, repository


def test_every_way_to_name_a_commit_resolves_to_it(tmp_path: Path) -> None:
    source = tmp_path / "a 100% source"
    one, two, three = repository(source)
    git(source, "tag", "-a", "v2", two, "-m", "two")
    git(source, "branch", "old/one", one)
    for ref, wanted, branch in (
        (None, three, "main"), ("HEAD", three, "main"), ("main", three, "main"), ("v2", two, None),
        ("refs/tags/v2", two, None), ("heads/old/one", one, "old/one"), ("old/one", one, "old/one"), (two, two, None),
        (two[:10], two, None), ("main~1", two, None), ("v2~1", one, None), ("v2^", one, None), ("HEAD~1", two, None),
    ):  # fmt: skip
        found = resolve(repo(source, ref=ref))
        assert (found.commit, found.branch) == (wanted, branch), ref


def test_a_name_that_only_ends_like_the_ref_is_not_taken(tmp_path: Path) -> None:
    repository(tmp_path / "source")
    git(tmp_path / "source", "branch", "feature/main2")
    with pytest.raises(GitFailed, match=r"suite\.eval\.yaml:3:5: .* has no ref 'main2'"):
        resolve(repo(tmp_path / "source", ref="main2"))


def test_an_ancestor_is_counted_back_from_any_kind_of_ref(tmp_path: Path) -> None:
    one, two, three = repository(tmp_path / "source")
    assert resolve(repo(tmp_path / "source", ancestor=1)).commit == two
    assert resolve(repo(tmp_path / "source", ref=three, ancestor=2)).commit == one
    assert resolve(repo(tmp_path / "source", ref=three[:9], ancestor=2)).commit == one
    with pytest.raises(GitFailed, match="has no ancestor 3 of 'main'"):
        resolve(repo(tmp_path / "source", ref="main", ancestor=3))


@pytest.mark.parametrize("ref", ["--upload-pack=touch /tmp/x", "a b", "-x", "a\nb"])
def test_a_ref_is_never_an_option(tmp_path: Path, ref: str) -> None:
    repository(tmp_path / "source")
    with pytest.raises(GitFailed, match="is not a branch, tag or commit"):
        resolve(repo(tmp_path / "source", ref=ref))


def objects(folder: Path) -> set[str]:
    listed = git(folder, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)")
    return {line.split()[0] for line in listed.splitlines() if line.endswith(" commit")}


def test_by_default_the_clone_holds_its_own_commit_and_no_trace_of_any_other(tmp_path: Path) -> None:
    source = tmp_path / "source"
    one, two, three = repository(source)
    git(source, "tag", "fixed")
    git(source, "stash", "list")
    made = tmp_path / "made"
    materialise(resolve(repo(source, ref="main", ancestor=1)), made)
    assert (made / "app.py").read_text() == "version = 2\n"
    assert objects(made) == {two}
    assert git(made, "log", "--all", "--format=%H").split() == [two]
    assert git(made, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(made, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/main"]
    assert (git(made, "remote"), git(made, "tag"), git(made, "status", "--porcelain")) == ("", "", "")
    assert not (made / ".git/logs").exists()
    assert not list((made / ".git").glob("*_HEAD"))
    assert not (made / ".git/objects/info/alternates").exists()
    assert len(list((made / ".git/objects").rglob("*.pack"))) <= 1
    everything = b"".join(path.read_bytes() for path in (made / ".git").rglob("*") if path.is_file())
    assert three.encode() not in everything
    assert str(source).encode() not in everything
    assert one


def test_shallow_and_full_history_go_back_and_never_forward(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ids = repository(source, commits=5)
    materialise(resolve(repo(source, ref=ids[3], history=History.SHALLOW, clone=Clone(depth=2))), tmp_path / "shallow")
    assert objects(tmp_path / "shallow") == set(ids[2:4])
    materialise(resolve(repo(source, ref=ids[3], history=History.FULL)), tmp_path / "full")
    assert objects(tmp_path / "full") == set(ids[:4])


def test_a_sparse_and_a_filtered_clone_have_what_was_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "source"
    repository(source)
    for name in ("wanted", "other"):
        (source / name).mkdir()
        commit(source, f"{name}/file", name)
    git(source, "config", "uploadpack.allowFilter", "true")
    made = tmp_path / "made"
    materialise(resolve(repo(source, clone=Clone(filter="blob:none", sparse=("wanted",)))), made)
    assert sorted(path.name for path in made.iterdir()) == [".git", ".gitignore", "app.py", "wanted"]
    assert git(made, "status", "--porcelain") == ""
    assert git(made, "remote") == ""
    everything = b"".join(path.read_bytes() for path in (made / ".git").rglob("*") if path.is_file())
    assert str(source).encode() not in everything  # where it came from, with a password perhaps


def test_hooks_and_filters_of_a_source_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    repository(source)
    witness = tmp_path / "ran"
    (source / ".gitattributes").write_text("*.py filter=evil\n")
    commit(source, "more.py", "x = 1\n")
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        script = source / ".git/hooks" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\ntouch {witness}\n")
        script.chmod(0o755)
    git(source, "config", "filter.evil.smudge", f"touch {witness}; cat")
    git(source, "config", "core.fsmonitor", f"touch {witness}")
    configuration = tmp_path / "gitconfig"  # of the user: theirs, but no reason to run it on a stranger's files
    configuration.write_text(
        f'[filter "evil"]\n\tsmudge = touch {witness}; cat\n[core]\n\thooksPath = {source}/.git/hooks\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    materialise(resolve(repo(source)), tmp_path / "made")
    assert (tmp_path / "made/more.py").read_text() == "x = 1\n"
    assert not witness.exists()


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc", "/workspace/../x", ".git", "a/.GIT/hooks", "a\0b"])
def test_a_repo_is_never_cloned_outside(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePath, match=r"suite\.eval\.yaml:3:5"):
        contained(repo(tmp_path, path))


@pytest.mark.parametrize(("path", "at"), [("./repo", "repo"), ("a/./b", "a/b"), (".", "."), ("/workspace/x", "x")])
def test_a_repo_lies_below_the_workspace(tmp_path: Path, path: str, at: str) -> None:
    assert contained(repo(tmp_path, path)) == at


def test_a_clone_ends_when_the_run_is_cancelled(tmp_path: Path) -> None:
    cancellation, ended = Cancellation(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a server that never answers

        def cancel() -> None:
            with silent.accept()[0]:
                cancellation.cancel()
                ended.wait(60)

        thread = threading.Thread(target=cancel)
        thread.start()
        place = repo(tmp_path)
        with pytest.raises(Cancelled), cancelled_by(cancellation):
            resolve(replace(place, url=f"git://127.0.0.1:{silent.getsockname()[1]}/x", local=False))
        ended.set()
        thread.join()
    with cancelled_by(Cancellation()):
        ids = repository(tmp_path / "source")
        assert resolve(repo(tmp_path / "source")).commit == ids[-1]
        with pytest.raises(GitFailed, match="does not appear to be a git repository"):
            resolve(repo(tmp_path / "nowhere"))


def test_credentials_of_a_url_are_not_shown() -> None:
    place = replace(repo(Path("/")), url="https://user:secret@example.invalid/x.git?token=secret", local=False)
    assert "secret" not in str(Resolved(place, "f" * 40, None).facts())


@pytest.mark.parametrize("url", ["git://me:secret@127.0.0.1:1/x", "http://me:secret@127.0.0.1:1/x.git?token=secret"])
def test_what_git_says_of_a_url_is_told_without_its_secrets(tmp_path: Path, url: str) -> None:
    place = replace(repo(tmp_path), url=url, local=False)
    with pytest.raises(GitFailed) as told:
        resolve(place)
    assert "127.0.0.1" in told.value.message
    with pytest.raises(GitFailed) as fetched:
        materialise(Resolved(replace(place, clone=Clone(filter="blob:none")), "f" * 40, None), tmp_path / "made")
    for error in (told.value, fetched.value):
        assert "secret" not in f"{error.message} {error.hint} {error.details}"


def test_neither_a_source_nor_its_url_can_have_a_program_run(tmp_path: Path) -> None:
    source, witness = tmp_path / "source", tmp_path / "ran"
    repository(source)
    for name in ("uploadpack.packObjectsHook", "core.sshCommand", "core.alternateRefsCommand", "core.pager"):
        git(source, "config", name, f"touch {witness}")
    materialise(resolve(repo(source, ref="main~1")), tmp_path / "made")
    place = repo(source)
    for url in (f"ext::sh -c touch% {witness}", f"-oProxyCommand=touch {witness}", f"--upload-pack=touch {witness}"):
        with pytest.raises(GitFailed, match=r"not allowed|blocked"):
            resolve(replace(place, url=url, local=False))
    assert not witness.exists()


def test_a_repo_is_not_cloned_through_a_link_of_another_one(tmp_path: Path) -> None:
    source, staging = tmp_path / "source", tmp_path / "staging"
    repository(source)
    (source / "link").symlink_to(tmp_path)
    commit(source, "more.py", "")
    staging.mkdir()
    plan = WorkspacePlan(WorkspaceMode.TEMP, repos=(repo(source, "a"), repo(source, "a/link/out")))
    with pytest.raises(UnsafePath, match="leads through a link"):
        assemble(plan, [resolve(each) for each in plan.repos], staging)
    assert not (tmp_path / "out").exists()
