"""What the contests share: a sandlot of our own, a project, and the tools to compare with."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.timing import Contender
from benchmarks.trees import Project, git, grow
from sandlot import process
from sandlot.bases.trees import remove_tree
from sandlot.runtimes.bubblewrap import binary
from sandlot.sdk import Sandlot, Workspace

__all__ = ["Stage", "bubblewrap", "delete_all", "set_up"]

_ISOLATE = [
    "--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL",
    "--new-session", "--as-pid-1", "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
]  # fmt: skip
_USR_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def set_up(sandlot: Sandlot, folder: Path, files: int) -> Stage:
    """A stage with a project of ``files`` files in ``folder``, which is empty."""
    project = grow(folder / "project", files)
    twin, plain = folder / "twin", folder / "plain"
    git(folder, "clone", "--quiet", "--local", os.fspath(project.root), os.fspath(twin))
    shutil.copytree(project.root, plain, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    with sandlot.create(plain), sandlot.create(project.root) as first:
        base = str(first.base)
    git(twin, "update-index", "--refresh")
    return Stage(sandlot, project, folder, base, project.at(twin), plain)


def delete_all(sandlot: Sandlot) -> None:
    """End and remove every workspace."""
    for info in sandlot.list():
        sandlot.call("workspace_delete", workspaces=(info.id,))


@dataclass(slots=True)
class Stage:
    """One project, and a state folder on the same file system.

    What the contenders leave behind stays until the end of the run: removing thousands of files right before another
    contender makes some would slow that one down.
    """

    sandlot: Sandlot
    project: Project
    folder: Path
    base: str
    """The project's base, cached."""
    twin: Project
    """A git clone of the project: what a user would work in instead. Clean between contests."""
    plain: Path
    """The project's files without git."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def source(self) -> Path:
        return self.project.root

    def fresh(self) -> Path:
        """A path that does not exist yet."""
        return self.folder / f"t{next(self._numbers)}"

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """A workspace of the project that is gone afterwards."""
        with self.sandlot.create(f"base:{self.base}") as made:
            yield made

    def change(self, workspace: Workspace) -> None:
        """Append a line to the ten files, inside."""
        names = " ".join(shlex.quote(name) for name in self.project.ten)
        result = workspace.exec(f"for name in {names}; do echo '# changed' >> $name; done")
        if result.exit_status != 0:
            raise RuntimeError(result.stderr.text)

    def worktree_add(self) -> Contender:
        """``git worktree add``."""

        def go(target: Path) -> None:
            git(self.source, "worktree", "add", "--quiet", "--detach", os.fspath(target))

        return Contender("git worktree add", go, self.fresh)

    def clone_local(self) -> Contender:
        """``git clone --local``."""

        def go(target: Path) -> None:
            git(self.folder, "clone", "--quiet", "--local", os.fspath(self.source), os.fspath(target))

        return Contender("git clone --local", go, self.fresh)

    def copy_all(self) -> Contender:
        """``cp -a``."""
        return Contender("cp -a", lambda target: process.run(["cp", "-a", self.source, target]), self.fresh)

    def bare(self, name: str, command: Sequence[str]) -> Contender:
        """A command in a bare bubblewrap with the namespaces and the overlay of a workspace; no seccomp, no agent."""

        def before() -> Path:
            target = self.fresh()
            for part in ("upper", "work"):
                (target / part).mkdir(parents=True)
            return target

        def go(target: Path) -> Path:
            done = process.run(bubblewrap(self.source, target, command), env={})
            if done.returncode != 0:
                raise RuntimeError(f"{name}: {done.message}")
            return target

        return Contender(name, go, before, remove_tree)

    def floors(self) -> tuple[Contender, Contender]:
        """What any start in a new sandbox costs: the bare minimum, and with a Python in it."""
        return (
            self.bare("plain bwrap true", ["true"]),
            self.bare("plain bwrap python3 -c pass", ["python3", "-I", "-S", "-E", "-c", "pass"]),
        )


def bubblewrap(lower: Path, private: Path, command: Sequence[str]) -> list[str]:
    """The arguments of a bare bubblewrap that shows ``lower`` with ``private/{upper,work}`` on top."""
    argv = [os.fspath(binary.candidates()[0].path), *_ISOLATE]
    for name in _USR_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            argv += ["--symlink", os.readlink(path), os.fspath(path)]
        elif path.is_dir():
            argv += ["--ro-bind", os.fspath(path), os.fspath(path)]
    if not os.path.exists("/usr/bin/python3"):
        argv += ["--ro-bind", sys.base_prefix, sys.base_prefix]
        command = [sys.executable if word == "python3" else word for word in command]
    argv += ["--overlay-src", os.fspath(lower), "--overlay", os.fspath(private / "upper"), os.fspath(private / "work")]
    return [*argv, "/workspace", "--chdir", "/workspace", "--setenv", "PATH", "/usr/bin:/bin", "--", *command]
