"""The three modes, prepared bases, drift, and who uses them at the same time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import (
    EnvironmentNotFound,
    GitFailed,
    IsolationUnavailable,
    PathNotFound,
    Refused,
    UnsafePath,
    UsageError,
    WorkspaceNotFound,
)
from sandlot.evals import pool, scratch
from sandlot.evals.cases import HookName, WorkspaceMode, WorkspacePlan
from sandlot.evals.ownership import left_behind, owning
from sandlot.evals.prepare import Preparation, Surroundings
from sandlot.evals.template import look
from sandlot.model.isolation import IsolationLevel
from sandlot.sdk import Sandlot
from tests.conftest import Cli, CompletedProcess, clean_environment
from tests.evals.places import CASE, commit, hook, hooks, nth, repo, repository
from tests.evals.projects import wait_for
from tests.images import Image, entry, layer, runnable

POOLED, TEMP, STATIC = WorkspaceMode


def template(tmp_path: Path) -> Path:
    made = tmp_path / "template"
    (made / "src").mkdir(parents=True)
    (made / "src/main.py").write_text("print(1)\n")
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    return made


def prepared(sandlot: Sandlot, plan: WorkspacePlan) -> tuple[str, bool]:
    with Preparation(sandlot, plan, "run") as preparation:
        return preparation.fingerprint, preparation.reused


@pytest.mark.parametrize("mode", [POOLED, TEMP])
def test_a_trial_starts_from_template_repos_and_what_before_all_did(
    sandlot: Sandlot, tmp_path: Path, mode: WorkspaceMode
) -> None:
    (tmp_path / "hooks").mkdir()
    ids = repository(tmp_path / "source")
    made = hooks(hook(HookName.BEFORE_ALL, "cat /workspace/repo/app.py > /workspace/built", tmp_path / "hooks"))
    plan = WorkspacePlan(mode, template=str(template(tmp_path)), repos=(repo(tmp_path / "source"),), hooks=made)
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
        seen = place.workspace.exec(
            "cat built; ls -A; git -C repo rev-parse HEAD; git -C repo status --porcelain; ./run.sh"
        )
        assert seen.stdout.text.split("\n") == [
            "version = 3", "built", "repo", "run.sh", "src", ids[-1], ""]  # fmt: skip
        assert seen.stderr.text == ""
        assert preparation.facts()["repos"][0]["commit"] == ids[-1]
        assert place.capture().files == ()


def test_a_repo_can_be_the_whole_workspace(sandlot: Sandlot, tmp_path: Path) -> None:
    ids = repository(tmp_path / "source")
    plan = WorkspacePlan(POOLED, repos=(repo(tmp_path / "source", ".", ancestor=1),))
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
        seen = place.workspace.exec(
            "git log --all --format=%H; git reflog; git tag; git remote; git stash list; git status --porcelain;"
            f"git cat-file -t {ids[2]} 2>/dev/null; git cat-file -t {ids[0]} 2>/dev/null; ls -A"
        )
        assert seen.stdout.text.split() == [ids[1], ".git", ".gitignore", "app.py"]
        place.workspace.exec("mkdir build; echo x > build/x; echo 'version = 9' > app.py; git commit -qam mine")
        assert [change.path for change in place.capture().files] == ["app.py"]
        assert place.capture().ignored == 1


def test_a_templates_own_history_is_not_shown(sandlot: Sandlot, tmp_path: Path) -> None:
    repository(tmp_path / "template")
    plan = WorkspacePlan(TEMP, template=str(tmp_path / "template"))
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
        assert place.workspace.exec("ls -A").stdout.text.split() == [".gitignore", "app.py"]


def test_drift_of_anything_that_shapes_the_tree_gives_another_base_and_coming_back_finds_the_old_one(
    sandlot: Sandlot, tmp_path: Path
) -> None:
    source, folder, files = tmp_path / "source", template(tmp_path), tmp_path / "hooks"
    files.mkdir()
    (files / "setup.sh").write_text("echo 1\n")
    ids = repository(source)

    def plan(command: str = ". ./setup.sh", **fields: Any) -> WorkspacePlan:
        made = hooks(hook(HookName.BEFORE_ALL, command, files), hook(HookName.AFTER_EACH, "true", files))
        clone = replace(repo(source, ref="main"), **fields)
        return WorkspacePlan(POOLED, template=str(folder), repos=(clone,), hooks=made)

    first, reused = prepared(sandlot, plan())
    assert not reused
    assert prepared(sandlot, plan()) == (first, True)
    assert prepared(sandlot, plan(ancestor=1))[0] != first
    assert prepared(sandlot, plan(ref=ids[2]))[0] != first  # the same files, but no branch
    seen = {first}
    for change in (
        lambda: (folder / "src/main.py").write_text("print(2)\n"),
        lambda: (folder / "run.sh").chmod(0o700),
        lambda: (files / "setup.sh").write_text("echo 2\n"),
        lambda: (files / "new").write_text(""),
        lambda: commit(source, "app.py", "version = 4\n"),
    ):
        change()
        fresh, reused = prepared(sandlot, plan())
        assert not reused
        assert fresh not in seen
        seen.add(fresh)
    assert prepared(sandlot, plan("true"))[0] not in seen
    with Preparation(sandlot, plan(), "run", surroundings=Surroundings(limits={"processes": 99})) as other:
        assert other.fingerprint not in seen
    assert prepared(sandlot, plan()) == (fresh, True)


def test_the_same_content_finds_the_same_base_however_it_got_there(sandlot: Sandlot, tmp_path: Path) -> None:
    folder = template(tmp_path)
    (folder / "link").symlink_to("run.sh")
    first, _ = prepared(sandlot, WorkspacePlan(POOLED, template=str(folder)))
    copy = tmp_path / "another checkout"
    shutil.copytree(folder, copy, symlinks=True)  # other inodes, another place
    for path in (folder / "src/main.py", copy / "src/main.py"):
        os.utime(path, (1, 1))
    (folder / "run.sh").write_text((folder / "run.sh").read_text())
    for each in (folder, copy):
        assert prepared(sandlot, WorkspacePlan(POOLED, template=str(each))) == (first, True)
    changes: list[Callable[[], object]] = [
        lambda: (copy / "src/main.py").chmod(0o600),
        lambda: os.replace(copy / "link", copy / "other"),
        lambda: (copy / "empty").mkdir(),
        lambda: os.rename(copy / "run.sh", copy / "go.sh"),
    ]
    for change in changes:
        change()
        assert not prepared(sandlot, WorkspacePlan(POOLED, template=str(copy)))[1]


def test_a_template_is_read_once_and_what_is_remembered_of_it_is_never_trusted_beyond_its_form(tmp_path: Path) -> None:
    folder, notes = template(tmp_path), tmp_path / "notes"
    for path in folder.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    found = look(str(folder), notes).content
    wait_for(lambda: look(str(folder), notes).content and list(notes.glob("*.template")))  # once the files have settled
    (note,) = notes.glob("*.template")
    assert note.read_text() == found
    for broken in ("", "f" * 63, "../../x"):
        note.write_text(broken)
        assert look(str(folder), notes).content == found
    note.write_text("e" * 64)  # no file was opened: this is the warm way
    assert look(str(folder), notes).content == "e" * 64
    (folder / "run.sh").write_text("other")
    assert look(str(folder), notes).content not in (found, "e" * 64)


def test_a_failed_clone_or_a_bad_template_leaves_nothing_that_could_be_graded(sandlot: Sandlot, tmp_path: Path) -> None:
    folder = template(tmp_path)
    (folder / "link").symlink_to(tmp_path)
    (folder / "file").write_text("")
    repository(tmp_path / "source")
    for plan, error in (
        (WorkspacePlan(POOLED, repos=(repo(tmp_path / "nowhere"),)), GitFailed),
        (WorkspacePlan(POOLED, repos=(repo(tmp_path / "source", ref="f" * 40),)), GitFailed),
        (WorkspacePlan(POOLED, repos=(repo(tmp_path / "source", "../out"),)), UnsafePath),
        (WorkspacePlan(POOLED, template=str(folder), repos=(repo(tmp_path / "source", "link/out"),)), UnsafePath),
        (WorkspacePlan(POOLED, template=str(folder), repos=(repo(tmp_path / "source", "file"),)), UsageError),
        (WorkspacePlan(POOLED, template=str(folder), repos=(repo(tmp_path / "source", "src"),)), UsageError),
        (WorkspacePlan(TEMP, template=str(tmp_path / "nowhere")), PathNotFound),
        (WorkspacePlan(TEMP, template=str(folder / "file")), UsageError),
        (WorkspacePlan(STATIC, path=str(folder / "file")), UsageError),
        (WorkspacePlan(STATIC, path=str(tmp_path / "new"), repos=(repo(tmp_path / "nowhere"),)), GitFailed),
    ):
        with pytest.raises(error):
            prepared(sandlot, plan)
    assert sandlot.list() == []
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "new").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_many_at_once_prepare_a_base_once(sandlot: Sandlot, tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    made = hooks(
        hook(HookName.BEFORE_ALL, "sleep 0.3; cat /proc/sys/kernel/random/uuid > /workspace/id", tmp_path / "hooks")
    )
    plan = WorkspacePlan(POOLED, template=str(template(tmp_path)), hooks=made)
    seen: list[tuple[str, bool]] = []

    def use(number: int) -> None:
        with Preparation(sandlot, plan, f"run-{number}") as preparation, preparation.trial(CASE, nth()) as place:
            seen.append((place.workspace.exec("cat id; echo mine > id").stdout.text, preparation.reused))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({text for text, _ in seen}) == 1
    assert sorted(reused for _, reused in seen) == [False, True, True, True]
    assert len(pool.pools(sandlot)) == 1


@pytest.mark.parametrize("step", ["resolving", "preparing", "cloning", "before_all"])
def test_a_killed_preparation_leaves_nothing_that_is_used_and_the_next_run_cleans_up(
    sandlot: Sandlot, state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "hooks").mkdir()
    command = "echo begun > /workspace/half; test ! -e killed && sleep 100; rm /workspace/half; true"
    made = hook(HookName.BEFORE_ALL, command, tmp_path / "hooks")
    repository(tmp_path / "source")
    program = f"""
from pathlib import Path
from tests.evals.places import *
from sandlot.evals.cases import *
from sandlot.evals.prepare import Preparation
from sandlot.sdk import Sandlot
tmp = Path({str(tmp_path)!r})
plan = WorkspacePlan(WorkspaceMode.POOLED, repos=(repo(tmp / "source", ref="main~1"),),
    hooks=hooks(hook(HookName.BEFORE_ALL, {command!r}, tmp / "hooks")))
Preparation(Sandlot(), plan, "killed", progress=lambda text: print(text, flush=True)).__enter__()
"""
    environment = clean_environment(state_dir) | {"TMPDIR": str(tmp_path)}
    environment["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if step.encode() in line:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert {info.labels[pool.KIND] for info in sandlot.list()} <= {"making"}
    (tmp_path / "hooks/killed").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plan = WorkspacePlan(POOLED, repos=(repo(tmp_path / "source", ref="main~1"),), hooks=hooks(made))
    with Preparation(sandlot, plan, "next") as preparation, preparation.trial(CASE, nth()) as place:
        assert not preparation.reused
        assert place.workspace.exec("ls -A; cat repo/app.py").stdout.text.split() == ["repo", "version", "=", "2"]
    # A git that the killed process had started may be at work for longer than the next run waits: then the one after.

    def clean() -> bool:
        scratch.sweep()
        return {path.name for path in tmp_path.iterdir()} == {"hooks", "source"}

    wait_for(clean)
    assert [info.labels[pool.KIND] for info in sandlot.list()] == ["pool"]


def test_what_a_killed_run_left_is_deleted_by_the_next_one_and_a_living_runs_is_not(
    sandlot: Sandlot, tmp_path: Path
) -> None:
    plan = WorkspacePlan(POOLED, template=str(template(tmp_path)))
    with owning(sandlot.paths.evals) as gone:  # let go without deleting anything, as a killed process does
        dead = sandlot.create(labels={pool.KIND: "trial", pool.OWNER: gone})
    unknown = sandlot.create(labels={pool.KIND: "trial", pool.OWNER: "of another version"})
    theirs = sandlot.create(labels={"mine": "yes"})
    with Preparation(sandlot, plan, "one") as one, one.trial(CASE, nth()) as place:
        with pytest.raises(WorkspaceNotFound):
            dead.status()
        prepared(sandlot, plan)
        assert place.workspace.exec("true").command.outcome is not None
    assert theirs.status().workspace.id == theirs.id
    assert unknown.status().workspace.id == unknown.id
    assert not left_behind(sandlot.paths.evals)


def test_a_base_that_somebody_worked_in_is_made_anew(sandlot: Sandlot, tmp_path: Path) -> None:
    plan = WorkspacePlan(POOLED, template=str(template(tmp_path)))
    first, _ = prepared(sandlot, plan)
    found = pool.find(sandlot, first)
    assert found is not None
    found.exec("echo changed > src/main.py")
    assert prepared(sandlot, plan) == (first, False)
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
        assert place.workspace.exec("cat src/main.py").stdout.text == "print(1)\n"


def test_prune_deletes_bases_that_no_run_holds(sandlot: Sandlot, cli: Cli, tmp_path: Path) -> None:
    folder = template(tmp_path)
    plan = WorkspacePlan(POOLED, template=str(folder))
    first, _ = prepared(sandlot, plan)
    (folder / "more").write_text("more")
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()):
        listed = {each.fingerprint: each for each in pool.pools(sandlot)}
        assert set(listed) == {first, preparation.fingerprint}
        assert (listed[first].trials, listed[preparation.fingerprint].trials) == (0, 1)
        assert listed[preparation.fingerprint].bytes == listed[first].bytes + 4
        assert pool.prune(sandlot, unused_for_s=3600) == []
        assert cli("pool", "prune", "--unused-for", "never").stdout == b"nothing to prune\n"
        assert [each.fingerprint for each in pool.prune(sandlot, dry_run=True)] == [first]
        assert first[:12] in cli("pool", "list").stdout.decode()
        said = cli("pool", "prune")
        assert said.stdout.decode().splitlines()[0].startswith(f"deleted {first[:12]} (ws-")
        assert [each.fingerprint for each in pool.pools(sandlot)] == [preparation.fingerprint]
    assert cli("pool", "prune", "--json").returncode == 0
    assert cli("pool", "list").stdout == b"no prepared workspaces\n"


def test_the_grading_place_has_the_changed_files_and_nothing_else_of_the_trial(
    sandlot: Sandlot, tmp_path: Path
) -> None:
    repository(tmp_path / "source")
    plan = WorkspacePlan(POOLED, repos=(repo(tmp_path / "source"),))
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
        place.workspace.exec(
            "cd repo; echo 'version = 9' > app.py; git config core.hooksPath /x; git commit -qam mine; echo h > ~/h;"
            "echo t > /tmp/t; (setsid sleep 100 >/dev/null 2>&1 &); head -c 3000000 /dev/urandom > big.bin"
        )
        before = place.capture()
        assert [change.path for change in before.files] == ["repo/app.py", "repo/big.bin"]
        assert len(before.patch) > 3_000_000
        with place.grading() as grading:
            seen = grading.exec(
                "cd repo; cat app.py; wc -c < big.bin; git config core.hooksPath; git log --format=%s -n 1;"
                "ls -A ~ /tmp; grep -sx sleep /proc/[0-9]*/comm"
            ).stdout.text
            assert seen.split("\n") == [
                "version = 9", "3000000", "app.py: version = 3", "/home/agent:", "", "/tmp:", ""]  # fmt: skip
            grading.files.write("/workspace/hidden_test.py", "secret")
        place.workspace.exec("echo late >> repo/app.py")
        assert place.capture() is before


def test_a_change_that_no_patch_can_hold_is_said_and_not_dropped(sandlot: Sandlot, tmp_path: Path) -> None:
    with Preparation(sandlot, WorkspacePlan(TEMP), "run") as preparation, preparation.trial(CASE, nth()) as place:
        place.workspace.exec("truncate -s 70M huge; echo x > small")
        changes = place.capture()
        assert [change.path for change in changes.files] == ["huge", "small"]
        assert len(changes.omitted) == 1
        with pytest.raises(Refused, match="do not fit into a patch"), place.grading():
            pass


def _missing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("make", [_missing, Path.mkdir], ids=["missing", "empty"])
def test_static_fills_a_missing_or_empty_folder_once(
    sandlot: Sandlot, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    ids = repository(tmp_path / "source")
    own = tmp_path / "deep" / "own"
    own.parent.mkdir()
    make(own)
    plan = WorkspacePlan(STATIC, str(own), str(template(tmp_path)), (repo(tmp_path / "source"),))
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
        place.workspace.exec("echo 'print(9)' > src/main.py; echo x > repo/made; rm run.sh")
    assert place.warnings == []
    assert (own / "src/main.py").read_text() == "print(9)\n"
    assert (own / "repo/made").read_text() == "x\n"
    assert not (own / "run.sh").exists()
    commit(tmp_path / "source", "app.py", "version = 4\n")
    with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
        seen = place.workspace.exec("cat src/main.py repo/app.py; git -C repo rev-parse HEAD; test ! -e run.sh")
        assert seen.stdout.text.split("\n") == ["print(9)", "version = 3", ids[-1], ""]
    assert [path.name for path in own.parent.iterdir()] == ["own"]


def test_in_static_the_change_of_a_trial_that_does_not_fit_the_folder_any_more_is_a_warning(
    sandlot: Sandlot, tmp_path: Path
) -> None:
    own = template(tmp_path)
    with Preparation(sandlot, WorkspacePlan(STATIC, str(own)), "run") as preparation:
        with preparation.trial(CASE, nth()) as place:
            place.workspace.exec("echo theirs > src/main.py; echo new > new")
            (own / "src/main.py").write_text("mine\n")
        assert len(place.warnings) == 1
        assert "src/main.py" in place.warnings[0]
    assert (own / "src/main.py").read_text() == "mine\n"
    assert not (own / "new").exists()  # all or nothing


def test_static_trials_take_turns_and_each_sees_what_the_one_before_did(sandlot: Sandlot, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "count").write_text("0\n")
    (tmp_path / "hooks").mkdir()
    made = hooks(hook(HookName.BEFORE_ALL, "echo ready > /workspace/ready", tmp_path / "hooks"))
    with Preparation(sandlot, WorkspacePlan(STATIC, str(own), hooks=made), "run") as preparation:

        def work(number: int) -> None:
            with preparation.trial(CASE, nth(number)) as place:
                place.workspace.exec("test -e ready && n=$(cat count) && sleep 0.1 && echo $((n + 1)) > count")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert preparation.serial
    assert (own / "count").read_text() == "3\n"


def test_an_ordinary_user_prepares_and_forks_like_anybody(
    ordinary_user: Callable[[Sequence[str]], CompletedProcess],
) -> None:
    program = r"""
import os, pathlib, shutil, subprocess, tempfile
from sandlot.evals.cases import *
from sandlot.evals.outcomes import Trial
from sandlot.evals.prepare import Preparation
from sandlot.sdk import Sandlot
here, place = pathlib.Path(tempfile.mkdtemp()), Place("suite.yaml")
os.chdir(here)
(here / "hooks").mkdir()
subprocess.run("git init -q source && cd source && echo 1 > app && git add app"
    " && git -c user.name=t -c user.email=t@example.com commit -qm one", shell=True, check=True)
each = Hook(HookName.BEFORE_EACH, ("sh", "-c", "echo 2 > repo/app; pwd"), 30, str(here / "hooks"), "/workspace", place)
whole = Hook(HookName.BEFORE_ALL, ("sh", "-c", "cd /workspace; echo 0 > zero"), 30, *[str(here / "hooks")] * 2, place)
test = TestCase("one", place, (Message("user", (Part("x"),)),))
for plan in (
    WorkspacePlan(WorkspaceMode.POOLED, repos=(Repo("repo", str(here / "source"), True, place),),
        hooks={each.name: each, whole.name: whole}),
    WorkspacePlan(WorkspaceMode.STATIC, str(here / "source")),
):
    with Sandlot() as sandlot, Preparation(sandlot, plan, "run") as preparation:
        with preparation.trial(test, Trial("s", "one", "t", 1)) as place_of:
            place_of.workspace.exec("echo 3 > new; git -C . status; git -C repo commit -qam x")
            with place_of.grading() as grading:
                print(grading.exec("cat zero repo/app new app 2>/dev/null").stdout.text.split(), place_of.warnings)
print((here / "source/new").read_text())
shutil.rmtree(here)
"""
    done = ordinary_user(["-c", program])
    assert done.stdout.decode().splitlines() == ["['0', '2', '3'] []", "['3', '1'] []", "3", ""], done.stderr.decode()


def test_an_environment_is_inside_and_part_of_what_a_base_is_known_by(sandlot: Sandlot, tmp_path: Path) -> None:
    plan = WorkspacePlan(POOLED, template=str(template(tmp_path)), environment="tiny:1")
    with pytest.raises(EnvironmentNotFound, match="tiny:1"):
        prepared(sandlot, plan)
    for number in (1, 2):
        layers = [runnable(), layer(entry("opt/version", b"%d\n" % number))]
        sandlot.environments.import_image(Image(layers).layout(tmp_path / f"image{number}"), name="tiny:1")
        with Preparation(sandlot, plan, "run") as preparation, preparation.trial(CASE, nth()) as place:
            assert not preparation.reused
            assert place.workspace.exec("cat /opt/version; ls /usr").stdout.text == f"{number}\n"
        assert prepared(sandlot, plan)[1], "the same name with the same content"


def test_a_suite_says_how_trials_are_isolated_and_nothing_runs_with_less(sandlot: Sandlot, tmp_path: Path) -> None:
    folder = str(template(tmp_path))
    enough = WorkspacePlan(POOLED, template=folder, min_isolation="kernel")
    with Preparation(sandlot, enough, "run") as preparation, preparation.trial(CASE, nth()) as place:
        assert place.workspace.info.isolation.satisfies(IsolationLevel.KERNEL)
    plain = WorkspacePlan(POOLED, template=folder)
    assert not prepared(sandlot, plain)[1], "a base is known by how what is forked from it is isolated"
    with pytest.raises(IsolationUnavailable, match="vm was demanded"):
        prepared(sandlot, WorkspacePlan(POOLED, template=folder, runtime="bubblewrap", min_isolation="vm"))
