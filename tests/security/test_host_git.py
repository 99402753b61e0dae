"""Case 7: no git on the host ever runs what the repository of a workspace asks for."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot.errors import SandlotError
from sandlot.sdk import Sandlot, Workspace

ARM = r"""
import os, sys
host = sys.argv[1]
run = "touch %s/ran-$$; echo owned" % host
os.chdir("/workspace")
config = '''
[core]
    fsmonitor = "sh -c '{run}'"
    hooksPath = .evil
    pager = "sh -c '{run}'"
    editor = "sh -c '{run}'"
    sshCommand = "sh -c '{run}'"
    gitProxy = "sh -c '{run}'"
    askPass = "sh -c '{run}'"
    attributesFile = .evil/attributes
    worktree = {host}
[diff]
    external = "sh -c '{run}'"
[diff "evil"]
    textconv = "sh -c '{run}'"
    command = "sh -c '{run}'"
[filter "evil"]
    clean = "sh -c '{run}; cat'"
    smudge = "sh -c '{run}; cat'"
    process = "sh -c '{run}'"
    required = true
[merge "evil"]
    driver = "sh -c '{run}'"
[credential]
    helper = "!sh -c '{run}'"
[gpg]
    program = .evil/post-checkout
[include]
    path = {host}/config
[uploadpack]
    packObjectsHook = "sh -c '{run}'"
[alias]
    status = "!sh -c '{run}'"
    diff = "!sh -c '{run}'"
'''.format(run=run, host=host)
os.makedirs(".git", exist_ok=True)
with open(".git/config", "a") as file:
    file.write(config)
os.makedirs(".evil", exist_ok=True)
for folder in (".evil", ".git/hooks"):
    os.makedirs(folder, exist_ok=True)
    for name in ("post-checkout", "pre-commit", "post-index-change", "reference-transaction", "fsmonitor-watchman",
                 "applypatch-msg", "pre-applypatch", "post-applypatch", "post-merge", "pre-auto-gc", "update"):
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.write("#!/bin/sh\n%s\n" % run)
        os.chmod(path, 0o755)
with open(".gitattributes", "w") as file:
    file.write("* filter=evil diff=evil merge=evil\n")
os.makedirs(".git/info", exist_ok=True)
with open(".git/info/attributes", "w") as file:
    file.write("* filter=evil diff=evil merge=evil\n")
with open(".gitmodules", "w") as file:
    file.write('[submodule "x"]\n path = x\n url = "ext::sh -c %s/ran"\n update = !%s\n' % (host, run))
for number in range(3):
    with open("file%d" % number, "a") as file:
        file.write("changed\n")
"""


@pytest.fixture
def repository(host_folder: Path) -> Path:
    root = host_folder / "project"
    root.mkdir()
    for number in range(3):
        (root / f"file{number}").write_text(f"line {number}\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    (host_folder / "config").write_text(f'[core]\n fsmonitor = "touch {host_folder}/ran-included"\n')
    return root


@pytest.fixture
def armed(sandlot: Sandlot, repository: Path, host_folder: Path) -> Workspace:
    workspace = sandlot.create(repository)
    done = workspace.exec(["python3", "-c", ARM, str(host_folder)])
    assert done.exit_status == 0, done.stderr.text
    return workspace


def nothing_ran(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("ran")) == []


def everything(workspace: Workspace, folder: Path) -> None:
    """Each operation that looks at the workspace from the host, or brings something of it there."""
    actions: tuple[Callable[[], object], ...] = (
        lambda: workspace.diff(),
        lambda: workspace.diff(stat=True),
        lambda: workspace.summary(),
        lambda: workspace.status(),
        lambda: workspace.export(".", folder / "export"),
        lambda: workspace.snapshots.create("armed"),
        lambda: workspace.diff(to="armed"),
        lambda: workspace.sync_push(),
        lambda: workspace.sync_push(force=True),
        lambda: workspace.apply(),
        lambda: workspace.apply(yes=True),
        lambda: workspace.fork(),
        lambda: workspace.reset("armed"),
        lambda: workspace.diff(),
    )
    for action in actions:
        with contextlib.suppress(SandlotError):
            action()
        nothing_ran(folder)


def test_a_hostile_git_folder_runs_nothing_on_the_host(armed: Workspace, repository: Path, host_folder: Path) -> None:
    everything(armed, host_folder)


def test_the_diff_of_a_hostile_repository_is_the_truth(armed: Workspace, host_folder: Path) -> None:
    changed = {change.path for change in armed.diff().files}
    assert {"file0", "file1", "file2", ".gitattributes", ".gitmodules"} <= changed
    assert not [path for path in changed if path.startswith(".git/")]
    nothing_ran(host_folder)


@pytest.mark.parametrize(
    "replacement",
    [
        "rm -rf .git; echo 'gitdir: {host}/project/.git' > .git",
        "rm -rf .git; ln -s {host}/project/.git .git",
        "rm -rf .git; mkfifo .git",
        "rm -rf .git/objects; ln -s {host}/project/.git/objects .git/objects",
        "echo {host}/project/.git/objects > .git/objects/info/alternates; ln -sf /etc/passwd .git/index",
        "rm -rf .git; mkdir .git; truncate -s 1T .git/index .git/HEAD .git/packed-refs .git/config",
        "echo 'ref: ../../../../../etc/passwd' > .git/HEAD",
        "mkdir -p file0.d/.git; mv .git nested; ln -s nested .git; cp -r nested/. file0.d/.git",
    ],
)
def test_a_git_folder_that_points_elsewhere_is_not_followed(
    sandlot: Sandlot, repository: Path, host_folder: Path, replacement: str
) -> None:
    workspace = sandlot.create(repository)
    before = {path: path.read_bytes() for path in (repository / ".git").rglob("*") if path.is_file()}
    workspace.exec("echo more >> file1; " + replacement.format(host=host_folder))
    assert "file1" in {change.path for change in workspace.diff().files}
    workspace.summary()
    with contextlib.suppress(SandlotError):
        workspace.apply(yes=True)
    nothing_ran(host_folder)
    after = {path: path.read_bytes() for path in (repository / ".git").rglob("*") if path.is_file()}
    # Handing back may refresh the index of the host's repository; its objects, refs and config are the user's.
    assert {path: data for path, data in after.items() if path.name != "index"} == {
        path: data for path, data in before.items() if path.name != "index"
    }


def test_the_host_s_own_configuration_is_not_run_by_an_apply(
    armed: Workspace, repository: Path, host_folder: Path
) -> None:
    """The user's repository may have hooks of its own: handing a patch back is no checkout and no commit."""
    hook = repository / ".git/hooks/post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {host_folder}/ran-host-hook\n")
    hook.chmod(0o755)
    with contextlib.suppress(SandlotError):
        armed.apply("file0", yes=True)
    nothing_ran(host_folder)
