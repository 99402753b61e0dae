"""The main job, shown on a small project made on the spot: no network, nothing but git and a shell or Python in /usr.

``run`` makes a project with a history and a real bug, brings it into a workspace, sees its test fail, patches it, sees
the test pass, shows what would be handed back, resets, deletes, and checks after each step that it was so.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sandlot import process
from sandlot.errors import GitFailed
from sandlot.sdk import Sandlot, Workspace

__all__ = ["Project", "Step", "run"]

LONG_AGO = 1767225600
"""When the project was made, for files and commits: each demo is the same, and shares one base."""
WHOLE = 1 << 20
"""Bytes of output shown at most; the real ones are a few hundred."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done."""

    what: str
    command: str
    """The same as a command line; empty when there is none."""
    output: str
    ok: bool
    """Whether it went as it must."""


@dataclass(frozen=True, slots=True)
class Project:
    """A few files with a bug, the test that shows it, and the fix."""

    files: dict[str, str]
    test: tuple[str, ...]
    pattern: str
    patch: str


PYTHON = Project(
    files={
        "README.md": "# till\n\nSplits bills.\n",
        "till/__init__.py": "",
        "till/split.py": '''"""Splitting a bill."""


def split(cents: int, people: int) -> list[int]:
    """Shares that add up to the bill and differ by one cent at most."""
    share = cents // people
    return [share] * people
''',
        "tests/test_split.py": """import unittest

from till.split import split


class SplitTest(unittest.TestCase):
    def test_shares_add_up_to_the_bill(self):
        self.assertEqual(sum(split(1000, 3)), 1000)


if __name__ == "__main__":
    unittest.main()
""",
    },
    test=("python3", "-B", "-m", "unittest", "-q", "tests.test_split"),
    pattern=r"def split",
    patch="""--- a/till/split.py
+++ b/till/split.py
@@ -3,5 +3,5 @@

 def split(cents: int, people: int) -> list[int]:
     \"\"\"Shares that add up to the bill and differ by one cent at most.\"\"\"
-    share = cents // people
-    return [share] * people
+    share, left = divmod(cents, people)
+    return [share + 1] * left + [share] * (people - left)
""",
)
SHELL = Project(
    files={
        "README.md": "# till\n\nSplits bills.\n",
        "split.sh": """# usage: split.sh CENTS PEOPLE. Prints shares that add up to the bill.
share=$(($1 / $2))
i=0
while [ $i -lt $2 ]; do
    echo $share
    i=$((i + 1))
done
""",
        "test.sh": """sum=0
for share in $(sh ./split.sh 1000 3); do sum=$((sum + share)); done
[ $sum -eq 1000 ] || { echo "FAILED: the shares add up to $sum, not 1000"; exit 1; }
echo OK
""",
    },
    test=("sh", "test.sh"),
    pattern=r"share=",
    patch="""--- a/split.sh
+++ b/split.sh
@@ -1,7 +1,8 @@
 # usage: split.sh CENTS PEOPLE. Prints shares that add up to the bill.
 share=$(($1 / $2))
+left=$(($1 % $2))
 i=0
 while [ $i -lt $2 ]; do
-    echo $share
+    echo $((share + (i < left)))
     i=$((i + 1))
 done
""",
)


def choose() -> Project:
    """The Python project where workspaces have a python3 on their PATH, else the one in shell."""
    found = any(os.access(f"/usr/{place}/python3", os.X_OK) for place in ("bin", "local/bin"))
    return PYTHON if found else SHELL


def run(sandlot: Sandlot, *, keep: bool = False, project: Project | None = None) -> Generator[Step, None, None]:
    """Do it, step by step; a step that is not ``ok`` is the last one. Nothing stays behind unless ``keep``.

    Close the iterator to end early.
    """
    project = project or choose()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="sandlot-demo-"))
        if not keep:
            stack.callback(_remove, folder)
        checkout = folder / "till"
        yield _make(project, checkout)
        before = fingerprint(checkout)
        workspace = sandlot.create(checkout, name=f"demo-{os.urandom(2).hex()}")
        if not keep:
            stack.enter_context(workspace)
        ok = True
        for step in _work(workspace, project, checkout):
            yield step
            ok = ok and step.ok
            if not ok:
                return
        if not keep:
            yield _delete(sandlot, workspace)
        same = fingerprint(checkout) == before
        yield Step(
            "compare the project on the host with how it was",
            "",
            "not a byte, mode or time of it has changed" if same else "it was CHANGED",
            same,
        )


def _make(project: Project, checkout: Path) -> Step:
    for name, text in project.files.items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (LONG_AGO, LONG_AGO))
    _git(checkout, "init", "--quiet", "--initial-branch=main")
    _git(checkout, "add", "README.md")
    _git(checkout, "commit", "--quiet", "--message=Say what it is")
    _git(checkout, "add", ".")
    _git(checkout, "commit", "--quiet", "--message=Split bills")
    for where, _, _ in os.walk(checkout):
        os.utime(where, (LONG_AGO, LONG_AGO))
    log = _git(checkout, "log", "--oneline")
    return Step("a project with a history, and a bug", f"git -C {checkout} log --oneline", log, bool(log))


def _git(checkout: Path, *words: str) -> str:
    """git with none of the user's configuration."""
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    for role in ("AUTHOR", "COMMITTER"):
        environment[f"GIT_{role}_NAME"] = "demo"
        environment[f"GIT_{role}_EMAIL"] = "demo@localhost"
        environment[f"GIT_{role}_DATE"] = f"{LONG_AGO} +0000"
    try:
        done = process.run(["git", "-C", checkout, *words], env=environment, timeout=60)
    except OSError as error:
        raise GitFailed(f"git cannot be run: {error.strerror}", hint="install git") from error
    if done.returncode != 0:
        raise GitFailed(f"git {words[0]}: {done.message}")
    return done.stdout.decode("utf-8", "replace")


def _work(workspace: Workspace, project: Project, checkout: Path) -> Iterator[Step]:
    info = workspace.info
    cli = "sandlot workspace"
    name = workspace.name or workspace.id
    made = f"{info.id} ({name}): isolation {info.isolation} by {info.runtime}, commit {(info.origin.commit or '')[:12]}"
    yield Step("bring it into a workspace", f"{cli} create {checkout} --name {name}", made, info.state == "running")

    test = f"{cli} exec {name} -- {shlex.join(project.test)}"
    yield _tested(workspace, project, "its own test fails", test, passes=False)

    found = workspace.files.search(project.pattern)
    lines = [f"{match.path}:{match.line}:{match.text}" for match in found.matches]
    yield Step(
        "look for the cause", f"{cli} file search {name} {shlex.quote(project.pattern)}", "\n".join(lines), bool(lines)
    )

    patched = workspace.patch(project.patch)
    done = "\n".join(f"{each.status} {each.path} +{each.additions} -{each.deletions}" for each in patched.files)
    yield Step("patch it", f"{cli} patch apply {name} < fix.patch", done, len(patched.files) == 1)

    yield _tested(workspace, project, "the test passes", test, passes=True)

    summary = workspace.summary()
    yield Step("what happened", f"{cli} summary {name}", summary.text, len(summary.commands) == 2)

    diff = workspace.diff()
    yield Step("the change, for review", f"{cli} diff {name}", diff.patch, len(diff.files) == 1 and "+" in diff.patch)

    dry = workspace.apply()
    told = f"would change {', '.join(change.path for change in dry.files)} in {dry.target}; with --yes it does"
    yield Step("what handing it back would do", f"{cli} apply {name}", told, bool(dry.files) and not dry.applied)

    workspace.reset()
    clean = not workspace.diff(stat=True).files
    yield Step("back to the start", f"{cli} reset {name}", f"{name} is as it was created", clean)
    yield _tested(workspace, project, "and the failure is back", test, passes=False)


def _tested(workspace: Workspace, project: Project, what: str, command: str, *, passes: bool) -> Step:
    result = workspace.exec(project.test, timeout=60, max_output=WHOLE)
    output = f"{result.stdout.text}{result.stderr.text}".rstrip() + f"\n[exit {result.exit_status}]"
    return Step(what, command, output, result.ok if passes else result.exit_status == 1)


def _delete(sandlot: Sandlot, workspace: Workspace) -> Step:
    workspace.delete()
    gone = all(info.id != workspace.id for info in sandlot.list())
    return Step("delete it", f"sandlot workspace delete {workspace.name}", f"deleted {workspace.id}", gone)


def fingerprint(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time of change and content of everything below a folder, .git included."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in ("", *names):
            path = os.path.join(folder, name)
            info = os.lstat(path)
            content = b""
            if stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).digest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.fsencode(os.readlink(path))
            found[path] = (info.st_mode, info.st_mtime_ns, content)
    return found


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
