"""Contests about work in a workspace: exec, read, diff, snapshot."""

from __future__ import annotations

import itertools
from collections.abc import Generator

from benchmarks.stage import Stage
from benchmarks.timing import Contender, Contest, Goal
from benchmarks.trees import change_ten, git
from sandlot import process
from sandlot.bases.layer import area_layers
from sandlot.sdk import Workspace
from sandlot.workspaces.difference import changed_paths
from sandlot.workspaces.lifecycle import storage_of

__all__ = ["WARM"]


def execute(stage: Stage) -> Generator[Contest, None, None]:
    """One command, from a process that keeps its Sandlot open."""
    with stage.workspace() as workspace:
        yield Contest(
            "exec true",
            (
                Contender("sandlot", lambda _: workspace.exec(["true"])),
                Contender("true on the host", lambda _: process.run(["true"])),
                *stage.floors(),
            ),
            Goal(5, 2.5),
        )


def first_touch(stage: Stage) -> Generator[Contest, None, None]:
    """git looks at every file: the first time in a new workspace, and again."""

    def status(workspace: Workspace) -> Workspace:
        done = workspace.exec(["git", "status", "--porcelain"])
        if done.exit_status != 0:
            raise RuntimeError(done.stderr.text)
        return workspace

    with stage.workspace() as used:
        yield Contest(
            "exec git status, new workspace",
            (
                Contender(
                    "sandlot",
                    status,
                    lambda: stage.sandlot.create(f"base:{stage.base}"),
                    lambda workspace: workspace.delete(),
                ),
                Contender("the same again", lambda _: status(used)),
                Contender("git status on the host", lambda _: git(stage.source, "status", "--porcelain")),
            ),
        )


def read(stage: Stage) -> Generator[Contest, None, None]:
    """A file of 2 to 4 kB."""
    name = stage.project.ten[-1]
    with stage.workspace() as workspace:
        yield Contest(
            "file read",
            (
                Contender("sandlot", lambda _: workspace.files.read(name)),
                Contender("open on the host", lambda _: (stage.source / name).read_text()),
                stage.bare("plain bwrap cat", ["cat", name]),
            ),
        )


def diff(stage: Stage) -> Generator[Contest, None, None]:
    """Ten changed files, as a patch, and merely found."""
    twin = stage.twin
    with stage.workspace() as workspace:
        stage.change(workspace)
        change_ten(twin)
        context = stage.sandlot._context
        record = context.store.find(workspace.id)
        old = area_layers(context.paths, record.baseline, "workspace")
        new = storage_of(context, record).stack("workspace")
        yield Contest(
            "diff, ten changed files",
            (
                Contender("sandlot", lambda _: workspace.diff()),
                Contender("git diff", lambda _: git(twin.root, "diff")),
            ),
            Goal(30),
        )
        yield Contest(
            "find ten changed files",
            (
                Contender("sandlot (in the process)", lambda _: changed_paths(old, new)),
                Contender("git status", lambda _: git(twin.root, "status", "--porcelain")),
            ),
            Goal(0.6, 0.3),
        )
        git(twin.root, "reset", "--hard", "--quiet")


def snapshot(stage: Stage) -> Generator[Contest, None, None]:
    """Ten changed files, while the workspace runs."""
    numbers = itertools.count()
    twin = stage.twin
    with stage.workspace() as workspace:
        stage.change(workspace)

        def save(_: object) -> str:
            name = f"s{next(numbers)}"
            workspace.snapshots.create(name)
            return name

        def commit(_: object) -> None:
            git(twin.root, "add", "--all")
            git(twin.root, "commit", "--quiet", "--message", "saved")

        yield Contest(
            "snapshot, ten changed files",
            (
                Contender("sandlot", save, after=workspace.snapshots.delete),
                Contender("git add --all && git commit", commit, lambda: change_ten(twin)),
            ),
            Goal(8, 4),
        )


WARM = (execute, first_touch, read, diff, snapshot)
