"""Calls: side by side, cancelled, in the background, with progress."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandlot.mcpserver.calls import LONGEST_WAIT_S, PATIENCE_S, Work
from sandlot.mcpserver.project import Project, ProjectOptions
from sandlot.mcpserver.server import LONGEST_CALL_S, SandlotServer
from sandlot.mcpserver.tools import find_tool, tools_of
from sandlot.modes import surface
from sandlot.sdk import Sandlot
from sandlot.workspaces.cancellation import Cancelled
from tests.conftest import LEFT
from tests.mcpserver.conftest import Talk
from tests.mcpserver.rawclient import raw_client
from tests.mcpserver.waiting import wait_until

Run = Callable[..., Any]
STAMPS = "date +%s.%N; sleep 1; date +%s.%N"


def _impatient(server: SandlotServer) -> None:
    server.patience_s = 0.3


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
def test_three_sleeps_in_one_workspace_run_at_the_same_time(talk: Run, era: str) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        calls = [with_.text("workspace_exec", workspace="w", command=STAMPS) for _ in range(3)]
        times = [
            [float(each) for each in re.findall(r"^\d+\.\d+$", text, re.M)] for text in await asyncio.gather(*calls)
        ]
        assert max(start for start, _ in times) < min(end for _, end in times)

    talk(work, era=era)


def test_a_cancelled_call_ends_the_whole_tree_of_its_command(sandlot: Sandlot, state_dir: Path, project: Path) -> None:
    workspace = sandlot.create(name="w")
    with raw_client(state_dir, "--mode", "inspect", "--project-path", str(project)) as client:
        client.handshake()
        arguments = {"workspace": "w", "command": "(setsid sleep 4321 &) ; touch started; sleep 4321"}
        number = client.start("tools/call", {"name": "workspace_exec", "arguments": arguments})
        wait_until(lambda: "started" in workspace.exec(["ls"]).stdout.text)
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}})
        wait_until(lambda: not workspace.status().running)
        assert workspace.exec(["sh", "-c", LEFT]).stdout.text == ""
        client.alive()
        assert all(each.get("id") != number for each in client.others)  # no answer is sent to who has hung up


def test_a_long_command_becomes_a_background_command_that_can_be_read_to_its_end(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        text = await with_.text(
            "workspace_exec", workspace="w", command="echo first; until [ -e go ]; do sleep 0.05; done; echo last"
        )
        assert text.startswith("command 1 runs in the background; it is ended when it has run for 120 s\n")
        assert "workspace_logs number=1 wait=50s" in text
        assert text.endswith("--- stdout\nfirst")
        await with_.text("workspace_exec", workspace="w", command="touch go")
        text = await with_.text("workspace_logs", workspace="w", number=1, wait="50s")
        assert text.startswith("command 1: exit 0; stdout: bytes 0 to 11 of 11\n")
        assert text.endswith("first\nlast\n")

    talk(work, prepare=_impatient)


def test_a_command_that_was_handed_over_survives_the_server(sandlot: Sandlot, talk: Run) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        await with_.text("workspace_exec", workspace="w", command="until [ -e go ]; do sleep 0.05; done; echo last")

    talk(work, prepare=_impatient)
    workspace = sandlot.get("w")
    assert [each.number for each in workspace.status().running] == [1]
    workspace.exec(["touch", "go"])
    assert workspace.wait(1).stdout.text == "last\n"


def test_background_is_answered_at_once(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        text = await with_.text("workspace_exec", workspace="w", command="sleep 4321", background=True)
        assert text.startswith("command 1 runs in the background\n")
        await with_.text("workspace_delete", workspace="w")

    talk(work)


def test_a_timeout_ends_the_command_and_says_so(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        text = await with_.text("workspace_exec", workspace="w", command="sleep 4321", timeout="200ms")
        assert text.startswith("command 1: ended: its time was up (argument timeout)")

    talk(work)


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
def test_progress_is_told_to_whoever_asks_for_it_and_always_grows(talk: Run, era: str) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        heard: list[tuple[float, str | None]] = []
        three = asyncio.Event()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            assert total is None
            heard.append((progress, message))
            if len(heard) == 3:
                three.set()

        command = "until [ -e go ]; do sleep 0.05; done"
        call = with_.client.call_tool("workspace_exec", {"workspace": "w", "command": command}, progress_callback=hear)
        task = asyncio.create_task(call)
        await asyncio.wait_for(three.wait(), 30)
        await with_.text("workspace_exec", workspace="w", command="touch go")
        assert not (await task).is_error
        told = [progress for progress, _ in heard]
        assert told == sorted(set(told))
        assert heard[-1][1] == "command 1 runs"

    def quick(server: SandlotServer) -> None:
        server.progress_s = 0.15

    talk(work, era=era, prepare=quick)


def test_what_takes_too_long_without_progress_goes_on_and_says_where_to_look(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        command = "until [ -e go ]; do sleep 0.05; done"
        text = await with_.text("workspace_exec", workspace="w", command=command)
        assert "has not ended after" in text
        assert "workspace_status" in text
        await with_.text("workspace_exec", workspace="w", command="touch go")
        assert "command 1: exit 0" in await with_.text("workspace_logs", workspace="w", number=1, wait="50s")

    def quick(server: SandlotServer) -> None:
        server.progress_s, server.longest_call_s = 0.4, 0.3

    talk(work, prepare=quick)


def test_a_create_that_is_cancelled_leaves_no_workspace(sandlot: Sandlot, state_dir: Path, project: Path) -> None:
    shown = surface("repro-fix")
    tools = tools_of(shown)
    work = Work(sandlot, str(state_dir), find_tool(tools, shown, "workspace_create"), frozenset(), 45.0)

    class CancelsMeanwhile:
        words = ""

        def __call__(self, _phase: str, _done: int, _total: int) -> None:
            work.cancellation.cancel()

    work.progress = CancelsMeanwhile()  # type: ignore[assignment]  # has what is used of it
    with pytest.raises(Cancelled):
        work.run({"name": "w"}, Project.find(ProjectOptions(str(project)), {}))
    assert sandlot.list() == []


def test_a_service_that_takes_long_to_get_ready_is_left_to_get_ready(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w", source=".")
        arguments = {"workspace": "w", "name": "web", "command": "sleep 4321", "ready_file": "never"}
        text = await with_.text("service_start", ready_timeout="10m", **arguments)
        assert text.startswith("service web (command 1): starting")
        text = await with_.text("service_stop", workspace="w", name="web")
        assert text.startswith("service web (command 1): stopped")

    talk(work, mode=None, profile="workspace-full", prepare=_impatient)


def test_of_a_long_history_the_latest_commands_are_shown(talk: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandlot.mcpserver.calls.PAGE", 3)
    monkeypatch.setattr("sandlot.mcpserver.results.LISTED", 2)

    async def work(with_: Talk) -> None:
        await with_.text("workspace_create", name="w")
        for number in range(1, 8):
            await with_.text("workspace_exec", workspace="w", command=f"echo number {number}")
        text = await with_.text("workspace_logs", workspace="w")
        assert text.startswith("commands 6 to 7; ")
        assert text.endswith("7. [exit 0] /bin/sh -c 'echo number 7'")
        assert "1. [exit 0]" in await with_.text("workspace_logs", workspace="w", search="number 1")

    talk(work)


def test_a_wait_that_was_asked_for_ends_before_the_call_is_answered_without_it() -> None:
    assert PATIENCE_S < LONGEST_WAIT_S < LONGEST_CALL_S < 60


class CancelsAfter(Sandlot):
    """Cancels the work as soon as one operation has been done for it."""

    after = ""
    work: Work

    def call(self, operation: str, **rest: Any) -> Any:
        result = super().call(operation, **rest)
        if operation == self.after:
            self.work.cancellation.cancel()
        return result


@pytest.mark.parametrize("background", [False, True])
def test_a_command_that_is_cancelled_while_it_starts_does_not_run_on(
    sandlot: Sandlot, state_dir: Path, background: bool
) -> None:
    workspace = sandlot.create(name="w")
    shown = surface("repro-fix")
    tools = tools_of(shown)
    with contextlib.closing(CancelsAfter(state_dir)) as cancelling:
        cancelling.after = "workspace_exec"
        work = cancelling.work = Work(
            cancelling, str(state_dir), find_tool(tools, shown, "workspace_exec"), frozenset(), 45.0
        )
        arguments = {"workspace": "w", "command": "sleep 4321", "background": background}
        with pytest.raises(Cancelled):
            work.run(arguments, Project.find(ProjectOptions(no_source=True), {}))
    assert not workspace.status().running
    assert workspace.exec(["sh", "-c", LEFT]).stdout.text == ""


def test_a_service_whose_start_is_cancelled_is_stopped(sandlot: Sandlot, state_dir: Path) -> None:
    workspace = sandlot.create(name="w")
    shown = surface("cold-start")
    tools = tools_of(shown)
    with contextlib.closing(CancelsAfter(state_dir)) as cancelling:
        cancelling.after = "service_start"
        work = cancelling.work = Work(
            cancelling, str(state_dir), find_tool(tools, shown, "service_start"), frozenset(), 0.2
        )
        arguments = {"workspace": "w", "name": "web", "command": "sleep 4321", "ready_file": "/never"}
        with pytest.raises(Cancelled):
            work.run({**arguments, "ready_timeout": "10m"}, Project.find(ProjectOptions(no_source=True), {}))
    assert [each.state for each in workspace.status().services] == ["stopped"]


def test_a_one_shot_command_says_first_what_it_ran_on(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        text = await with_.text("workspace_run", command="cat calc.py; echo source chosen by: me")
        assert text.startswith("source chosen by: --project-path\ncommand 1: exit 0")
        assert text.endswith("source chosen by: me")

    talk(work, mode=None, profile="workspace-full")
