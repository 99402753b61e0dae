"""Die by SIGKILL at the n-th call that changes something, for every n: ``python -m tests.chaos.killpoints STATE WORK``.

A forked child does one operation and kills itself right before its n-th call of one of ``CALLS``; the parent repairs
and looks whether anything is lost or leaked. Without a limit every n is tried, until the operation comes to its end.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from sandlot.model.workspace import WorkspaceState
from sandlot.sdk import Sandlot, Workspace
from tests.chaos.leaks import find_leaks

CALLS = frozenset({
    "bind", "chmod", "connect", "copy_file_range", "execute", "executemany", "fchmod", "flock", "fork_exec", "fsync",
    "ftruncate", "link", "listen", "mkdir", "mknod", "open", "pidfd_send_signal", "pipe", "poll", "pwrite", "recv",
    "rename", "replace", "rmdir", "send", "sendall", "sendmsg", "symlink", "unlink", "utime", "write",
})  # fmt: skip
"""Names of C functions before which it is interesting to die."""

NEVER = 10**9
SHOW = 'cd /workspace; for file in *; do echo "$file=$(cat "$file")"; done; cat ~/note 2>/dev/null'


def content(workspace: Workspace) -> str:
    """All files of a workspace made here, as one text."""
    return workspace.exec(SHOW).stdout.text


class Scenario:
    """One operation: the world before it, and what may be true after it was cut off."""

    def __init__(self, state: Path, work: Path) -> None:
        self.state = state
        self.work = work
        self.n = 0

    def before(self, sandlot: Sandlot) -> None:
        """Make the world; called before each death, in the parent."""

    def act(self, sandlot: Sandlot) -> None:
        """The operation, in the child."""
        raise NotImplementedError

    def after(self, sandlot: Sandlot, done: bool) -> None:
        """Check, after a repair; ``done`` when the operation came to its end."""
        raise NotImplementedError


class _Made(Scenario):
    """Something makes a workspace named after n: afterwards it is there completely, or not at all."""

    expected = ""

    def after(self, sandlot: Sandlot, done: bool) -> None:
        made = sandlot.list(name=f"n{self.n}")
        assert made or not done, "it is not there"
        for info in made:
            workspace = sandlot.get(info.id)
            assert content(workspace) == self.expected
            workspace.delete()
        if self.n % 7 == 0:
            with sandlot.create(name=f"n{self.n}") as again:  # the name is free
                assert content(again).startswith("*=")


class CreateFromFolder(_Made):
    def before(self, sandlot: Sandlot) -> None:
        seed = self.work / "seed"
        (seed / "folder").mkdir(parents=True, exist_ok=True)
        (seed / "a").write_text(f"{self.n}")
        (seed / "b").write_text("b" * 3)
        self.expected = f"a={self.n}\nb=bbb\nfolder=\n"

    def act(self, sandlot: Sandlot) -> None:
        sandlot.create(self.work / "seed", name=f"n{self.n}")


class CreateFromGit(_Made):
    def before(self, sandlot: Sandlot) -> None:
        repository = self.work / "repository"
        if not repository.exists():
            repository.mkdir()
            for file in ("a", "b"):
                (repository / file).write_text(file)
            for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
                _git(repository, *words)
        (repository / "a").write_text(f"{self.n}")
        self.expected = f"a={self.n}\nb=b\n"

    def act(self, sandlot: Sandlot) -> None:
        sandlot.create(self.work / "repository", name=f"n{self.n}")

    def after(self, sandlot: Sandlot, done: bool) -> None:
        for info in sandlot.list(name=f"n{self.n}"):
            assert sandlot.get(info.id).exec("git status --porcelain && git fsck").stdout.text == " M a\n"
        super().after(sandlot, done)


class CreateEmpty(_Made):
    expected = "*=\n"

    def act(self, sandlot: Sandlot) -> None:
        sandlot.create(name=f"n{self.n}")


class _Used(Scenario):
    """Something happens to one workspace, which is there before and after it."""

    workspace: Workspace

    def before(self, sandlot: Sandlot) -> None:
        found = sandlot.list(name="used")
        self.workspace = sandlot.get(found[0].id) if found else self.make(sandlot)

    def make(self, sandlot: Sandlot) -> Workspace:
        workspace = sandlot.create(name="used")
        workspace.exec("echo clean > file; echo note > ~/note")
        workspace.snapshots.create("clean")
        return workspace

    def same(self, sandlot: Sandlot) -> Workspace:
        """The workspace again, as another client sees it."""
        return sandlot.get(self.workspace.id)


class Exec(_Used):
    background = False

    def act(self, sandlot: Sandlot) -> None:
        self.same(sandlot).exec(f"echo {self.n} > file; echo printed", background=self.background)

    def after(self, sandlot: Sandlot, done: bool) -> None:
        workspace = self.same(sandlot)
        for number in [each.number for each in workspace.logs(count=1000).commands if each.outcome is None]:
            assert workspace.wait(number, timeout=30).command.outcome is not None
        history = workspace.logs(count=1000).commands
        assert [each.number for each in history] == list(range(1, len(history) + 1))
        last = history[-1]
        if done:
            assert last.outcome is not None
            assert last.outcome.exit_code == 0
            assert workspace.logs(last.number).output == "printed\n"
            assert content(workspace) == f"file={self.n}\nnote\n"


class ExecInBackground(Exec):
    background = True


class WriteFile(_Used):
    def act(self, sandlot: Sandlot) -> None:
        self.same(sandlot).files.write("file", f"{self.n}\n" * 1000)

    def after(self, sandlot: Sandlot, done: bool) -> None:
        text = self.same(sandlot).exec("cat file").stdout.text
        lines = text.splitlines()
        assert len(set(lines)) == 1, "the file is half-written"
        assert lines[0] == str(self.n) if done else lines[0] == "clean" or len(lines) == 1000
        assert self.same(sandlot).exec("ls -A").stdout.text == "file\n"


class TakeSnapshot(_Used):
    def before(self, sandlot: Sandlot) -> None:
        super().before(sandlot)
        self.workspace.exec(f"echo {self.n} > file; rm -f gone; touch gone", background=False)
        self.workspace.exec("sleep 1000 & echo $!", background=True)

    def act(self, sandlot: Sandlot) -> None:
        self.same(sandlot).snapshots.create(f"s{self.n}")

    def after(self, sandlot: Sandlot, done: bool) -> None:
        workspace = self.same(sandlot)
        expected = f"file={self.n}\ngone=\nnote\n"
        assert content(workspace) == expected
        frozen = workspace.exec("cat /proc/[0-9]*/stat | grep -c ' T '").stdout.text
        assert frozen == "0\n", "processes were left frozen"
        taken = f"s{self.n}" in [each.name for each in workspace.snapshots.list()]
        assert taken or not done
        if taken:
            workspace.exec("echo other > file; rm gone")
            workspace.reset(f"s{self.n}")
            assert content(workspace) == expected
            workspace.snapshots.delete(f"s{self.n}")
        workspace.reset("clean")


class DropSnapshot(_Used):
    def before(self, sandlot: Sandlot) -> None:
        super().before(sandlot)
        self.workspace.exec(f"echo {self.n} > file")
        self.workspace.snapshots.create("doomed")
        self.workspace.exec("echo now > file")

    def act(self, sandlot: Sandlot) -> None:
        self.same(sandlot).snapshots.delete("doomed")

    def after(self, sandlot: Sandlot, done: bool) -> None:
        workspace = self.same(sandlot)
        assert content(workspace) == "file=now\nnote\n"
        if "doomed" in [each.name for each in workspace.snapshots.list()]:
            assert not done
            workspace.reset("doomed")
            assert content(workspace) == f"file={self.n}\nnote\n"
            workspace.snapshots.delete("doomed")
        workspace.reset("clean")
        assert content(workspace) == "file=clean\nnote\n"


class Reset(_Used):
    def before(self, sandlot: Sandlot) -> None:
        super().before(sandlot)
        self.workspace.exec(f"echo {self.n} > file; echo more > ~/note")
        if self.n % 3 == 2:
            self.workspace.stop()

    def act(self, sandlot: Sandlot) -> None:
        self.same(sandlot).reset("clean")

    def after(self, sandlot: Sandlot, done: bool) -> None:
        found = content(self.same(sandlot))
        assert found == "file=clean\nnote\n" or (not done and found == f"file={self.n}\nmore\n")


class Fork(_Used):
    def before(self, sandlot: Sandlot) -> None:
        super().before(sandlot)
        self.workspace.exec(f"echo {self.n} > file")

    def act(self, sandlot: Sandlot) -> None:
        self.same(sandlot).fork(name=f"n{self.n}", count=2)

    def after(self, sandlot: Sandlot, done: bool) -> None:
        made = [info for info in sandlot.list() if info.name in (f"n{self.n}-1", f"n{self.n}-2")]
        assert len(made) == 2 or not done
        assert content(self.same(sandlot)) == f"file={self.n}\nnote\n"
        for info in made:
            workspace = sandlot.get(info.id)
            assert content(workspace) == f"file={self.n}\nnote\n"
            workspace.delete()


class Delete(Scenario):
    def before(self, sandlot: Sandlot) -> None:
        workspace = sandlot.create(name=f"n{self.n}")
        workspace.exec("for i in $(seq 100); do echo $i > file; cp file file$i; done; rm file?*")
        workspace.snapshots.create("one")
        workspace.exec("for i in $(seq 100); do touch ~/$i; done; echo note > ~/note")
        if self.n % 3 == 2:
            workspace.stop()

    def act(self, sandlot: Sandlot) -> None:
        sandlot.get(f"n{self.n}").delete()

    def after(self, sandlot: Sandlot, done: bool) -> None:
        left = sandlot.list(name=f"n{self.n}")
        assert not (left and done)
        for info in left:
            assert content(sandlot.get(info.id)) == "file=100\nnote\n"
            sandlot.get(info.id).delete()


class StopAndStart(_Used):
    def act(self, sandlot: Sandlot) -> None:
        workspace = self.same(sandlot)
        if workspace.info.state is WorkspaceState.RUNNING:
            workspace.stop()
        else:
            workspace.start()

    def after(self, sandlot: Sandlot, done: bool) -> None:
        workspace = self.same(sandlot)
        if self.n % 2:
            assert content(workspace) == "file=clean\nnote\n"
        else:
            workspace.stop()
            assert workspace.files.read("file").content == "clean\n"


class Rename(_Used):
    def before(self, sandlot: Sandlot) -> None:
        found = [info for info in sandlot.list() if info.labels.get("renamed")]
        self.workspace = sandlot.get(found[0].id) if found else self.make(sandlot)
        self.workspace.update(labels={"renamed": "yes"})

    def act(self, sandlot: Sandlot) -> None:
        self.same(sandlot).update(name=f"n{self.n}", labels={"n": str(self.n)}, idle_timeout=1000 + self.n % 1000)

    def after(self, sandlot: Sandlot, done: bool) -> None:
        info = self.same(sandlot).info
        changed = info.name == f"n{self.n}"
        assert changed or not done
        assert changed == (info.labels.get("n") == str(self.n)) == (info.idle_timeout_s == 1000 + self.n % 1000)


class RunOnce(Scenario):
    def act(self, sandlot: Sandlot) -> None:
        sandlot.run("sleep 0.01; echo ran > file")

    def after(self, sandlot: Sandlot, done: bool) -> None:
        assert not [info for info in sandlot.list() if not info.labels], "a one-shot workspace was left"


class Repair(_Used):
    """A repair that is itself killed."""

    def before(self, sandlot: Sandlot) -> None:
        super().before(sandlot)
        (self.state / "workspaces" / "ws-0000").mkdir(exist_ok=True)
        (self.state / "building" / "half").mkdir(exist_ok=True)
        (self.state / "layers" / "s0000" / "workspace").mkdir(parents=True, exist_ok=True)

    def act(self, sandlot: Sandlot) -> None:
        sandlot.repair()

    def after(self, sandlot: Sandlot, done: bool) -> None:
        assert content(self.same(sandlot)) == "file=clean\nnote\n"


class Prune(_Used):
    def before(self, sandlot: Sandlot) -> None:
        super().before(sandlot)
        seed = self.work / "pruned"
        seed.mkdir(exist_ok=True)
        (seed / "file").write_text(f"{self.n}")
        sandlot.create(seed).delete()

    def act(self, sandlot: Sandlot) -> None:
        sandlot.prune_bases()

    def after(self, sandlot: Sandlot, done: bool) -> None:
        assert content(self.same(sandlot)) == "file=clean\nnote\n"
        with sandlot.create(self.work / "pruned") as workspace:
            assert content(workspace) == f"file={self.n}\n"
        sandlot.prune_bases()


SCENARIOS: dict[str, type[Scenario]] = {
    each.__name__: each
    for each in (
        CreateFromFolder, CreateFromGit, CreateEmpty, Exec, ExecInBackground, WriteFile, TakeSnapshot, DropSnapshot,
        Reset, Fork, Delete, StopAndStart, Rename, RunOnce, Repair, Prune,
    )
}  # fmt: skip


def _git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True)


class _Death:
    """Counts the calls, and ends the process right before the n-th."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.count = 0

    def profile(self, _frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and getattr(called, "__name__", "") in CALLS:
            self.count += 1
            if self.count == self.n:
                os.kill(os.getpid(), signal.SIGKILL)


def attempt(scenario: Scenario, n: int) -> int:
    """Let a child die at call n and check; returns how many calls it made if it came to the end before that, else 0."""
    scenario.n = n
    read, write = os.pipe()
    with Sandlot(scenario.state) as sandlot:
        scenario.before(sandlot)
    child = os.fork()
    if child == 0:
        status = 3
        try:
            death = _Death(n)
            sys.setprofile(death.profile)
            with Sandlot(scenario.state) as sandlot:
                scenario.act(sandlot)
            sys.setprofile(None)
            os.write(write, b"%d" % death.count)
            status = 0
        except BaseException:
            sys.setprofile(None)
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    _, status = os.waitpid(child, 0)
    calls = int(os.read(read, 100) or 0)
    os.close(read)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the operation failed by itself"
    with Sandlot(scenario.state) as sandlot:
        sandlot.repair()
        problems = find_leaks(scenario.state)
        assert not problems, "\n".join(problems)
        scenario.after(sandlot, calls > 0)
    return calls


def main() -> None:
    """Try every n, or ``--sample`` of them, of the named scenarios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sample", type=int, default=0, help="points of each scenario; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=SCENARIOS)
    parser.add_argument("--at", type=int, help="try this point alone")
    options = parser.parse_args()
    for name in options.only or SCENARIOS:
        scenario = SCENARIOS[name](options.state, options.work)
        started = time.monotonic()
        tried, n = 0, options.at or 1
        try:
            if options.sample:
                calls = attempt(scenario, NEVER)
                points = sorted(random.Random(options.seed).sample(range(1, calls), min(options.sample, calls - 1)))
                for n in points:
                    attempt(scenario, n)
                    tried += 1
            else:
                while not attempt(scenario, n) and not options.at:
                    n += 1
                    tried += 1
        except BaseException:
            print(f"{name}: killed at call {n} (seed {options.seed})", file=sys.stderr)
            raise
        finally:
            with Sandlot(options.state) as sandlot:
                sandlot.call("workspace_delete", all=True)
        print(f"{name}: killed at {tried} points, {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
