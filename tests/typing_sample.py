"""The SDK as its users' type checkers see it: only mypy runs this (``make types``), Python never does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

from sandlot import AsyncSandlot, AsyncWorkspace, IsolationLevel, Sandlot, SandlotError, Workspace
from sandlot.model.changes import FileChange
from sandlot.model.command import CommandOutcome, CommandRecord
from sandlot.operations import diff, file_list, file_read, file_search, logs, patch_apply, summary, wait
from sandlot.operations.described import WorkspaceInfo
from sandlot.operations.executed import CommandResult
from sandlot.operations.run import Result as RunResult
from sandlot.operations.status import Result as StatusResult


def sink(stream: str, data: bytes) -> None:
    """Take output."""


def synchronous(folder: Path) -> None:
    """Everything a program does, with the types it gets."""
    with Sandlot(folder) as sandlot, sandlot.create(".", name="x", idle_timeout=None, retention=3600) as workspace:
        assert_type(workspace, Workspace)
        assert_type(workspace.id, str)
        assert_type(workspace.name, str | None)
        assert_type(workspace.info, WorkspaceInfo)
        assert_type(workspace.info.isolation, IsolationLevel)
        result = workspace.exec(["true"], timeout=1.5, env={"A": "b"}, stdin=b"x", on_output=sink)
        assert_type(result, CommandResult)
        assert_type(result.ok, bool)
        assert_type(result.exit_status, int)
        assert_type(result.command.outcome, CommandOutcome | None)
        assert_type(workspace.exec("exit 3").stdout.text, str)
        assert_type(workspace.wait(1), wait.Result)
        assert_type(workspace.kill(1), CommandRecord)
        assert_type(workspace.logs(search="x"), logs.Result)
        assert_type(workspace.patch(b"..."), patch_apply.Result)
        assert_type(workspace.diff("src", stat=True), diff.Result)
        assert_type(workspace.diff().files, tuple[FileChange, ...])
        assert_type(workspace.summary(), summary.Result)
        assert_type(workspace.status(), StatusResult)
        assert_type(workspace.files.read("a"), file_read.Result)
        assert_type(workspace.files.list(), file_list.Result)
        assert_type(workspace.files.search("a").matches, tuple[file_search.Match, ...])
        assert_type(workspace.fork(count=2), list[Workspace])
        assert_type(sandlot.get("x"), Workspace)
        assert_type(sandlot.list(labels={"a": "b"}), list[WorkspaceInfo])
        assert_type(sandlot.run("true"), RunResult)
        workspace.exec(["true"], timout=1)  # type: ignore[call-arg]  # a misspelt argument is noticed
        workspace.exec(3)  # type: ignore[arg-type]  # so is one of the wrong type
        workspace.fork(count="2")  # type: ignore[arg-type]  # here as well
    try:
        sandlot.get("gone")
    except SandlotError as error:
        assert_type(error.code, str)
        assert_type(error.details, tuple[str, ...])


async def asynchronous(command: Sequence[str]) -> None:
    """The same, awaited."""
    async with AsyncSandlot() as sandlot, await sandlot.create(".", labels={"a": "b"}) as workspace:
        assert_type(workspace, AsyncWorkspace)
        result = await workspace.exec(command, timeout=5, on_output=sink)
        assert_type(result, CommandResult)
        assert_type((await workspace.diff(stat=True)).additions, int)
        assert_type((await workspace.files.read("a")).content, str)
        assert_type(await workspace.fork(count=2), list[AsyncWorkspace])
        assert_type(await sandlot.list(), list[WorkspaceInfo])
        assert_type(await sandlot.run("true"), RunResult)
        await workspace.exec(command, timout=1)  # type: ignore[call-arg]  # a misspelt argument is noticed
        await workspace.reset(3)  # type: ignore[arg-type]  # so is one of the wrong type
