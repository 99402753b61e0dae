"""Nothing of a trial reaches the next one or the next run, whatever it did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandlot.evals import pool, verify
from sandlot.evals.cases import HookName, WorkspaceMode, WorkspacePlan
from sandlot.evals.pool import KIND
from sandlot.evals.prepare import Preparation
from sandlot.runtimes.base import StorageKind
from sandlot.sdk import Sandlot, Workspace
from tests.evals.places import CASE, git, hook, hooks, nth, repo, repository
from tests.workspaces.conftest import use_storage

MESS = r"""
set -e
cd /workspace/repo
echo "version = 99" > app.py; chmod 777 app.py; touch -d 2001-01-01 .gitignore
echo new > added.txt; mkdir -p build; echo ignored > build/out; echo noise > a.log
git config user.name evil; git config user.email evil@example.com
git config core.hooksPath /workspace/evil; git config core.fsmonitor "touch /workspace/ran"
git add added.txt; git -c core.fsmonitor=false commit -qm mine; git tag mine; git branch mine
echo more >> app.py; git -c core.fsmonitor=false stash -q; echo again >> app.py; chmod 777 app.py
printf '#!/bin/sh\necho hooked > /workspace/hooked\n' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout
echo "*.py filter=evil" > .git/info/attributes; git update-ref refs/evil/one HEAD
rm -rf ../template-file; ln -s /etc/passwd ../template-file; mkdir ../evil; echo beside > ../beside.txt
echo home > ~/.profile; mkdir -p ~/.config/git; echo '[alias] st = !evil' > ~/.config/git/config
echo tmp > /tmp/left; echo shm > /dev/shm/left 2>/dev/null || true
mkfifo /workspace/pipe; ln -f /workspace/beside.txt /workspace/second-name
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.fsmonitor GIT_CONFIG_VALUE_0=false
git notes add -m note; git update-ref refs/replace/$(git rev-parse HEAD~1) HEAD; git update-ref ORIG_HEAD HEAD
git worktree add -q ../tree$(date +%s%N) -b side; git pack-refs --all; git repack -adq
git reflog expire --expire=now refs/heads/side
mkdir -p ../evil/objects; echo /workspace/evil/objects > .git/objects/info/alternates
git config submodule.evil.url /workspace/evil; git config include.path /workspace/evil/config
git config --global core.hooksPath /workspace/evil; git config --global alias.st '!evil'
echo '*.secret' >> .git/info/exclude; echo lock > .git/index.lock; echo x > .git/FETCH_HEAD; echo x > .git/shallow.lock
git -c core.hooksPath= update-index --assume-unchanged app.py 2>/dev/null || true; touch -d 1999-01-01 .git/index
mkdir -p ~/.local/bin ~/.ssh ~/.cache/deep/er; printf '#!/bin/sh\necho mine\n' > ~/.local/bin/git
cp ~/.local/bin/git ~/.local/bin/ls; chmod +x ~/.local/bin/*; echo 'export EVIL=1' > ~/.bashrc; echo key > ~/.ssh/config
mkdir -p ../empty/of/all ../"odd
name"; : > ../-rf; chmod 000 ../evil/objects; chmod 700 /workspace ~; rm -rf build/../.gitignore
echo left > /var/tmp/var-left; echo left > /run/left 2>/dev/null || true
/usr/bin/python3 -c '
import os, signal, socket
for at in ("/workspace/repo/app.py", "/workspace/beside.txt", os.path.expanduser("~")):
    try: os.setxattr(at, "user.evil", b"1")
    except OSError: pass
names = ["/workspace/door", "/tmp/door", "\\0sandlot-evil"]
held = [socket.socket(socket.AF_UNIX) for _ in names]
for each, name in zip(held, names): each.bind(name)
if os.fork() == 0:  # a daemon that nobody waits for, takes no hint, and works again and again
    os.setsid()
    for one in (signal.SIGHUP, signal.SIGINT): signal.signal(one, signal.SIG_IGN)
    if os.fork() == 0:
        for each in (0, 1, 2): os.close(each)
        while True:
            for at in ("/workspace/again", "/workspace/repo/again", os.path.expanduser("~/again"), "/tmp/again"):
                with open(at, "a") as file: file.write("again\\n")
            signal.sigtimedwait([signal.SIGUSR1], 0.01)
    os._exit(0)
'
(setsid sleep 100 >/dev/null 2>&1 &)
"""
LOOK = r"""
export GIT_OPTIONAL_LOCKS=0
command -v git ls; echo "$EVIL"; /usr/bin/mount | wc -l; cat /proc/net/unix | tail -n +2 | grep -c evil
/usr/bin/find /workspace /home/agent -mindepth 1 -printf '%p %y %m %s %n %l TIMES\n' | LC_ALL=C sort
/usr/bin/find /workspace /home/agent /tmp /var/tmp/ /dev/shm /run -maxdepth 1 -not -name 'sandlot*' \
  -printf '%p %y %m\n' | LC_ALL=C sort
/usr/bin/python3 -c '
import os
for at, folders, files in os.walk("/workspace"):
    for name in (*folders, *files):
        if found := os.listxattr(os.path.join(at, name), follow_symlinks=False): print(name, found)
'
cd /workspace/repo && git log --all --format=%H; git reflog; git stash list; git tag; git for-each-ref
git worktree list; git config --list --show-origin | LC_ALL=C sort; git status --porcelain --ignored
git notes list; git ls-files -v; cat .git/info/exclude .git/objects/info/alternates .git/packed-refs .git/shallow 2>&1
cat /proc/[0-9]*/comm 2>/dev/null | grep -vxE 'sh|cat|grep|sort|uniq' | LC_ALL=C sort | uniq
"""
TIMES = LOOK.replace("TIMES", "%T@")
"""The same, and when each file was written, to the nanosecond."""


def look(workspace: Workspace) -> str:
    done = workspace.exec(TIMES, max_output=1 << 20)
    return done.stdout.text + done.stderr.text


def plan(tmp_path: Path, mode: WorkspaceMode) -> WorkspacePlan:
    (tmp_path / "template").mkdir()
    (tmp_path / "template/template-file").write_text("of the template\n")
    repository(tmp_path / "source")
    (tmp_path / "hooks").mkdir()
    built = "mkdir -p repo/build && echo built > repo/build/cache && echo set > ~/.installed"
    before = hook(HookName.BEFORE_ALL, f"cd /workspace && {built}", tmp_path / "hooks")
    return WorkspacePlan(
        mode, template=str(tmp_path / "template"), repos=(repo(tmp_path / "source"),), hooks=hooks(before)
    )


@pytest.mark.parametrize(
    ("mode", "storage"),
    [
        (WorkspaceMode.POOLED, StorageKind.OVERLAY),
        (WorkspaceMode.TEMP, StorageKind.OVERLAY),
        (WorkspaceMode.POOLED, StorageKind.COPY),
    ],
)
def test_the_next_trial_and_the_next_run_see_nothing_of_a_trial_that_leaves_traces_everywhere(
    sandlot: Sandlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: WorkspaceMode, storage: str
) -> None:
    use_storage(monkeypatch, storage)
    wanted = plan(tmp_path, mode)
    seen, seals = [], []
    for run in ("run-1", "run-2"):
        with Preparation(sandlot, wanted, run) as preparation:
            for number in (1, 2):
                with preparation.trial(CASE, nth(number)) as place:
                    seen.append(look(place.workspace))
                    done = place.workspace.exec(MESS)
                    assert done.command.outcome is not None
                    assert done.command.outcome.exit_code == 0, done.stderr.text
                    assert look(place.workspace) != seen[-1]
                    changed = {change.path for change in place.capture().files}
                    assert {"repo/app.py", "repo/added.txt", "beside.txt", "template-file"} <= changed
                assert place.warnings == []
            with preparation.trial(CASE, nth(3)) as place:
                seals.append(verify.seal(place.workspace))
        assert preparation.warnings == []
        assert preparation.reused == (mode is WorkspaceMode.POOLED and run == "run-2")
    if mode is WorkspaceMode.POOLED:
        assert seen == [seen[0]] * 4  # to the nanosecond of every file's time
        assert seals[0] == seals[1]
    else:
        assert seen[0] == seen[1]
        assert seen[2] == seen[3]
    kept = [info.labels[KIND] for info in sandlot.list()]
    assert kept == (["pool"] if mode is WorkspaceMode.POOLED else [])
    assert len(sandlot.bases()) == len(kept)
    pool.prune(sandlot)
    assert (sandlot.bases(), sandlot.list()) == ([], [])


def test_in_static_the_users_branch_index_and_configuration_stay_as_they_are(sandlot: Sandlot, tmp_path: Path) -> None:
    own = tmp_path / "own"
    repository(own / "repo")
    (own / "template-file").write_text("of the user\n")
    (own / "repo/app.py").write_text("version = 4  # not committed\n")
    git(own / "repo", "add", "app.py")
    before = {path: path.read_bytes() for path in (own / "repo/.git").rglob("*") if path.is_file()}
    stamps = {path: os.stat(path).st_mtime_ns for path in before}
    status = git(own / "repo", "--no-optional-locks", "diff", "--cached")
    static = WorkspacePlan(WorkspaceMode.STATIC, path=str(own))
    with Preparation(sandlot, static, "run") as preparation:
        with preparation.trial(CASE, nth(1)) as place:
            assert place.workspace.exec(MESS).command.outcome.exit_code == 0  # type: ignore[union-attr]  # it has ended
        left, commits = place.warnings
        assert left == f"not brought back to {own}: template-file: a link that leads out of the folder"
        assert commits.startswith(f"commits, branches, tags or stashes made in {own}/repo stay outside")
        with preparation.trial(CASE, nth(2)) as place:  # files as the user's folder has them; all else is clean
            assert place.workspace.exec("cat /workspace/beside.txt; ls -A ~ /tmp").stdout.text.split() == [
                "beside", "/home/agent:", "/tmp:",
            ]  # fmt: skip
        assert place.warnings == []
    after = {path: path.read_bytes() for path in (own / "repo/.git").rglob("*") if path.is_file()}
    assert after == before
    assert {path: os.stat(path).st_mtime_ns for path in before} == stamps
    assert git(own / "repo", "--no-optional-locks", "diff", "--cached") == status
    assert (own / "beside.txt").read_text() == "beside\n"
    assert (own / "repo/build/out").read_text() == "ignored\n"
    assert (own / "template-file").read_text() == "of the user\n"
    assert (own / "empty/of/all").is_dir()
    assert not list(own.glob("tree*/.git"))
    assert (next(own.glob("tree*")) / "app.py").exists()
    assert sandlot.list() == []
