"""Contests about a workspace's life: create, fork, reset, delete, list, repair."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

from benchmarks.stage import Stage, delete_all
from benchmarks.timing import Contender, Contest, Goal
from benchmarks.trees import change_ten, git
from sandlot import process
from sandlot.sdk import Sandlot, Workspace

__all__ = ["COLD", "WARM"]

LISTED = 50


def _delete(workspace: Workspace) -> None:
    workspace.delete()


def first_create(stage: Stage) -> Generator[Contest, None, None]:
    """Cold: nothing is there, neither a state folder nor what a probe found out nor a base."""

    made: list[Sandlot] = []

    def go(state: Path) -> None:
        made.append(Sandlot(state))
        made[-1].create(stage.source)

    def after(_: object = None) -> None:
        while made:
            with made.pop() as sandlot:
                delete_all(sandlot)

    try:
        yield Contest(
            "first create ever, git checkout", (Contender("sandlot", go, stage.fresh, after), stage.clone_local())
        )
    finally:
        after()


def uncached_create(stage: Stage) -> Generator[Contest, None, None]:
    """Cold: this project was never seeded before, or was pruned."""
    with Sandlot(stage.fresh()) as sandlot:
        sandlot.create().delete()

        def after(workspace: Workspace) -> None:
            workspace.delete()
            sandlot.prune_bases()

        try:
            yield Contest(
                "create, base not cached, git checkout",
                (
                    Contender("sandlot", lambda _: sandlot.create(stage.source), after=after),
                    stage.worktree_add(),
                ),
            )
            yield Contest(
                "create, base not cached, folder",
                (Contender("sandlot", lambda _: sandlot.create(stage.plain), after=after), stage.copy_all()),
            )
        finally:
            delete_all(sandlot)


def create(stage: Stage) -> Generator[Contest, None, None]:
    """The base is cached."""
    others = (stage.worktree_add(), stage.clone_local(), stage.copy_all())
    status = Contender("git status", lambda _: git(stage.source, "status", "--porcelain"))
    yield Contest(
        "create base:ID",
        (Contender("sandlot", lambda _: stage.sandlot.create(f"base:{stage.base}"), after=_delete), *stage.floors()),
        Goal(40, 20),
    )
    look = Contender("find (a look at every file)", lambda _: process.run(["find", stage.plain, "-printf", "%s %T@"]))
    yield Contest(
        "create, folder",
        (Contender("sandlot", lambda _: stage.sandlot.create(stage.plain), after=_delete), look, stage.copy_all()),
        Goal(40, 20, above=look.name),
    )
    yield Contest(
        "create, git checkout",
        (Contender("sandlot", lambda _: stage.sandlot.create(stage.source), after=_delete), status, *others),
        Goal(40, 20, above=status.name),
    )


def reset(stage: Stage) -> Generator[Contest, None, None]:
    """Ten changed files and a new one are undone."""
    twin = stage.twin
    with stage.workspace() as workspace:

        def change_ours() -> None:
            stage.change(workspace)
            workspace.exec("echo new > new.txt")

        def change_theirs() -> None:
            change_ten(twin)
            (twin.root / "new.txt").write_text("new\n")

        def undo(_: object) -> None:
            git(twin.root, "reset", "--hard", "--quiet")
            git(twin.root, "clean", "-fdxq")

        yield Contest(
            "reset",
            (
                Contender("sandlot", lambda _: workspace.reset(), change_ours),
                Contender("git reset --hard && git clean -fdx", undo, change_theirs),
            ),
            Goal(60, 25),
        )


def fork(stage: Stage) -> Generator[Contest, None, None]:
    """From a running workspace with ten changed files."""
    with stage.workspace() as workspace:
        stage.change(workspace)
        yield Contest(
            "fork, ten changed files",
            (Contender("sandlot", lambda _: workspace.fork()[0], after=_delete), stage.copy_all()),
            Goal(50, 25),
        )


def delete(stage: Stage) -> Generator[Contest, None, None]:
    """Running, with ten changed files."""

    def changed() -> Workspace:
        workspace = stage.sandlot.create(f"base:{stage.base}")
        stage.change(workspace)
        return workspace

    def added() -> Path:
        target = stage.fresh()
        git(stage.source, "worktree", "add", "--quiet", "--detach", os.fspath(target))
        return target

    yield Contest(
        "delete",
        (
            Contender("sandlot", _delete, changed),
            Contender(
                "git worktree remove",
                lambda target: git(stage.source, "worktree", "remove", "--force", os.fspath(target)),
                added,
            ),
        ),
    )


def fifty(stage: Stage) -> Generator[Contest, None, None]:
    """With fifty running workspaces."""
    made = [stage.sandlot.create(f"base:{stage.base}") for _ in range(LISTED)]
    trees = [stage.fresh() for _ in range(LISTED)]
    for target in trees:
        git(stage.source, "worktree", "add", "--quiet", "--detach", "--no-checkout", os.fspath(target))
    yield Contest(
        f"list of {LISTED}",
        (
            Contender("sandlot", lambda _: stage.sandlot.list()),
            Contender("git worktree list", lambda _: git(stage.source, "worktree", "list", "--porcelain")),
        ),
    )
    yield Contest(
        f"repair, {LISTED} healthy workspaces",
        (
            Contender("sandlot", lambda _: stage.sandlot.repair()),
            Contender("git worktree prune", lambda _: git(stage.source, "worktree", "prune")),
        ),
    )
    for workspace in made:
        workspace.delete()


COLD = (first_create, uncached_create)
WARM = (reset, fifty, fork, create, delete)
