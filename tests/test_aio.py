"""The asynchronous facade: many calls at once, and cancelling that leaves nothing behind."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sandlot import AsyncSandlot, AsyncWorkspace, Sandlot, Workspace
from sandlot.aio import THREADS, AsyncFiles, AsyncShell, AsyncShells, AsyncSnapshots
from sandlot.errors import NameTaken, UsageError, WorkspaceNotFound
from sandlot.model.command import CommandState
from sandlot.sdk import Files, Shell, Shells, Snapshots
from tests.conftest import LEFT

DEADLINE_S = 60


def play(state_dir: Path, scene: Callable[[AsyncSandlot], Awaitable[None]]) -> None:
    """Run a scene with an AsyncSandlot, within a deadline."""

    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), AsyncSandlot(state_dir) as sandlot:
            await scene(sandlot)

    asyncio.run(main())


def test_a_workspace_is_used_and_deleted(sandlot: Sandlot, state_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")

    async def scene(sandlot: AsyncSandlot) -> None:
        async with await sandlot.create(tmp_path, name="x") as workspace:
            assert workspace.name == "x"
            assert workspace.base
            assert workspace.info.origin.files == 1
            assert "x" in repr(workspace)
            assert (await workspace.exec(["cat", "a"])).stdout.text == "1\n"
            await workspace.files.write("b", "2")
            assert [entry.path for entry in (await workspace.files.list()).entries] == ["a", "b"]
            await workspace.snapshots.create("s")
            assert [each.name for each in await workspace.snapshots.list()] == ["s"]
            assert [change.path for change in (await workspace.diff()).files] == ["b"]
            (fork,) = await workspace.fork(name="y")
            async with fork:
                assert (await fork.files.read("b")).content == "2"
            await workspace.reset()
            assert (await workspace.diff()).files == ()
            assert (await sandlot.get("x")).id == workspace.id
        assert await sandlot.list() == []

    play(state_dir, scene)


def test_errors_are_the_same(sandlot: Sandlot, state_dir: Path) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        with pytest.raises(WorkspaceNotFound):
            await sandlot.get("nobody")
        workspace = await sandlot.create(name="x")
        with pytest.raises(NameTaken):
            await sandlot.create(name="x")
        with pytest.raises(UsageError):
            await workspace.exec([])

    play(state_dir, scene)


def test_many_commands_run_at_the_same_time(sandlot: Sandlot, workspace: Workspace, state_dir: Path) -> None:
    """Each waits for all the others: run one after the other they would never end."""
    script = 'touch "here-$1"; until [ $(ls | grep -c here-) -eq {count} ]; do sleep 0.05; done; echo $1'
    count = 16

    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)
        command = ["sh", "-c", script.format(count=count), "sh"]
        results = await asyncio.gather(*(same.exec([*command, str(number)]) for number in range(count)))
        assert [result.stdout.text for result in results] == [f"{number}\n" for number in range(count)]

    play(state_dir, scene)


def test_more_calls_than_threads_wait_their_turn(sandlot: Sandlot, workspace: Workspace, state_dir: Path) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)
        results = await asyncio.gather(*(same.exec(["echo", str(number)]) for number in range(THREADS + 20)))
        assert [result.stdout.text for result in results] == [f"{number}\n" for number in range(THREADS + 20)]

    play(state_dir, scene)


def test_cancelling_ends_the_whole_tree_before_it_returns(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path
) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)
        begun = asyncio.Event()
        task = asyncio.create_task(
            same.exec("(setsid sleep 1000 &) ; echo begun; sleep 1000", timeout=None, on_output=lambda *_: begun.set())
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await same.exec(LEFT)).stdout.text == ""

    play(state_dir, scene)
    assert workspace.logs(1).commands[0].state is CommandState.KILLED


def test_cancelling_twice_still_waits_for_the_end_of_the_tree(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path
) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)
        begun = asyncio.Event()
        stubborn = """ln -s /bin/sh stubborn; ./stubborn -c "trap '' TERM; echo begun; while :; do sleep 0.05; done" """
        task = asyncio.create_task(same.exec(stubborn, on_output=lambda *_: begun.set()))
        await begun.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await same.exec(LEFT)).stdout.text == ""

    play(state_dir, scene)


def test_a_timeout_of_asyncio_ends_the_tree(sandlot: Sandlot, workspace: Workspace, state_dir: Path) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await same.exec(["sleep", "1000"])
        assert (await same.exec(LEFT)).stdout.text == ""

    play(state_dir, scene)


def test_a_failing_task_group_ends_the_others_commands(sandlot: Sandlot, workspace: Workspace, state_dir: Path) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)
        started = asyncio.Event()

        async def fail() -> None:
            await started.wait()
            raise RuntimeError("one of us failed")

        async def together() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(same.exec("echo; sleep 1000", on_output=lambda *_: started.set()))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup):
            await together()
        assert (await same.exec(LEFT)).stdout.text == ""

    play(state_dir, scene)


def test_cancelling_run_leaves_no_workspace(sandlot: Sandlot, state_dir: Path) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(sandlot.run("echo; sleep 1000", on_output=lambda *_: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await sandlot.list() == []

    play(state_dir, scene)


def test_cancelling_create_leaves_no_workspace(sandlot: Sandlot, state_dir: Path, tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_text("x")

    async def scene(sandlot: AsyncSandlot) -> None:
        loop = asyncio.get_running_loop()
        seeding = asyncio.Event()

        def progress(*_: object) -> None:
            loop.call_soon_threadsafe(seeding.set)

        task = asyncio.create_task(sandlot.create(tmp_path, name="x", progress=progress))
        await seeding.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await sandlot.list() == []
        async with await sandlot.create(name="x"):
            pass

    play(state_dir, scene)


def test_cancelling_get_deletes_nothing(sandlot: Sandlot, workspace: Workspace, state_dir: Path) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        task = asyncio.create_task(sandlot.get(workspace.id))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [info.id for info in await sandlot.list()] == [workspace.id]

    play(state_dir, scene)


def test_waiting_is_cancelled_and_the_command_goes_on(sandlot: Sandlot, workspace: Workspace, state_dir: Path) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)
        number = (await same.exec(["sleep", "1000"], background=True)).command.number
        task = asyncio.create_task(same.wait(number))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [each.number for each in (await same.status()).running] == [number]
        assert (await same.kill(number)).state is CommandState.KILLED

    play(state_dir, scene)


def test_output_arrives_in_the_loops_thread_in_order_and_before_the_result(
    sandlot: Sandlot, workspace: Workspace, state_dir: Path
) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)
        threads: set[int] = set()
        data: list[bytes] = []

        def sink(_stream: str, piece: bytes) -> None:
            threads.add(threading.get_ident())
            data.append(piece)

        result = await same.exec(["seq", "1", "200000"], on_output=sink)
        assert b"".join(data) == b"".join(b"%d\n" % number for number in range(1, 200001))
        assert result.stdout.total_bytes == len(b"".join(data))
        assert threads == {threading.get_ident()}

    play(state_dir, scene)


def test_an_error_in_the_sink_ends_the_command(sandlot: Sandlot, workspace: Workspace, state_dir: Path) -> None:
    async def scene(sandlot: AsyncSandlot) -> None:
        same = await sandlot.get(workspace.id)

        def sink(*_: object) -> None:
            raise RuntimeError("enough")

        with pytest.raises(RuntimeError, match="enough"):
            await same.exec("echo; sleep 1000", on_output=sink, timeout=None)
        assert (await same.status()).running == ()

    play(state_dir, scene)


@pytest.mark.parametrize(
    ("asynchronous", "synchronous"),
    [
        (AsyncSandlot, Sandlot),
        (AsyncWorkspace, Workspace),
        (AsyncFiles, Files),
        (AsyncSnapshots, Snapshots),
        (AsyncShell, Shell),
        (AsyncShells, Shells),
    ],
)
def test_every_method_takes_the_same_arguments(asynchronous: type, synchronous: type) -> None:
    for name, method in vars(synchronous).items():
        if name.startswith("_") or name == "call" or not inspect.isfunction(method):
            continue
        twin = getattr(asynchronous, name)
        assert inspect.iscoroutinefunction(twin), name
        assert inspect.signature(twin).parameters == inspect.signature(method).parameters, name
        assert inspect.getdoc(twin), name
