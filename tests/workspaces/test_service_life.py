"""Services, the life of their workspace, and starts that do not come to their end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot import AsyncSandlot
from sandlot.errors import UsageError, WorkspaceNotFound
from sandlot.model.service import Readiness, ReadyCheck, ServiceInfo
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import services
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.workspaces.conftest import kill_agent, record_of, wait_until
from tests.workspaces.service_scenes import FOREVER, STUBBORN, in_background, nothing_left, state

# The workspace's own life


def test_a_stop_of_the_workspace_stops_its_services_and_they_say_so(workspace: Workspace) -> None:
    workspace.services.start("polite", FOREVER, restart="on-failure")
    workspace.services.start("stubborn", STUBBORN, ready_command="pgrep -f up", restart="on-failure")
    workspace.services.start("failing", "exit 1", restart="on-failure", backoff=20, wait=False)
    wait_until(lambda: state(workspace, "failing")[0] == "restarting", "it did not fail")
    workspace.stop()
    expected = ("stopped", "the workspace was stopped")
    assert [state(workspace, name) for name in ("polite", "stubborn", "failing")] == [expected] * 3
    assert workspace.status().workspace.state == "stopped"  # asking has started nothing
    assert workspace.services.start("polite", FOREVER).service.state == "running"


def test_a_reset_stops_services_and_they_say_so(workspace: Workspace) -> None:
    workspace.services.start("s", FOREVER)
    workspace.reset()
    assert state(workspace, "s") == ("stopped", "the workspace was reset")
    assert nothing_left(workspace)
    workspace.stop()
    assert state(workspace, "s") == ("stopped", "the workspace was reset")


def test_one_whose_workspace_was_killed_is_interrupted(workspace: Workspace) -> None:
    workspace.services.start("s", FOREVER)
    kill_agent(workspace)
    assert state(workspace, "s") == ("interrupted", "the workspace ended while it ran")
    workspace.reset()
    assert state(workspace, "s") == ("interrupted", "the workspace ended while it ran")


@pytest.mark.parametrize("restarted", [False, True])
def test_one_whose_supervisor_was_killed_is_interrupted_and_gone(workspace: Workspace, restarted: bool) -> None:
    script = "setsid sleep 1000 & echo $PPID > worker; exec sleep 1000"
    service = workspace.services.start("s", script, ready_file="worker", restart="on-failure", backoff=0.02).service
    if restarted:
        workspace.exec(["kill", "-9", str(service.pid)])
        wait_until(lambda: state(workspace, "s")[0] == "ready" and service.pid != pid(workspace), "not restarted")
    workspace.exec("kill -9 $(cat worker)")
    wait_until(lambda: state(workspace, "s")[0] == "interrupted", "said to run without a supervisor")
    assert state(workspace, "s")[1] == "its supervisor was killed, or could not write down how it ended"
    wait_until(lambda: nothing_left(workspace), "its processes go on")
    assert workspace.services.start("s", FOREVER).service.state == "running"


def pid(workspace: Workspace) -> int | None:
    return workspace.services.status("s").service.pid


def test_a_supervisor_cannot_be_ended_politely_or_paused(workspace: Workspace) -> None:
    script = "echo $PPID > worker; for each in TERM INT HUP QUIT PIPE STOP; do kill -$each $PPID; done; exec sleep 1000"
    workspace.services.start("s", script, ready_file="worker")
    assert state(workspace, "s") == ("ready", "")
    assert workspace.services.stop("s").service.state == "stopped"


def test_a_service_keeps_its_workspace_from_being_idle(sandlot: Sandlot) -> None:
    with sandlot.create(idle_timeout=1) as workspace:
        workspace.services.start("s", "sleep 2.5; exit 0", wait=False)
        wait_until(lambda: state(workspace, "s")[0] not in ("running", "starting"), "it goes on")
        assert state(workspace, "s") == ("exited", "it exited with 0")


# Starts that do not come to their end


def test_a_cancelled_start_leaves_nothing(workspace: Workspace) -> None:
    cancellation = Cancellation()
    thread, found = in_background(
        lambda: workspace.services.start("s", FOREVER, ready_file="never", cancellation=cancellation)
    )
    wait_until(lambda: [each.state.value for each in workspace.services.list()] == ["starting"], "not started")
    cancellation.cancel()
    thread.join(60)
    assert isinstance(found[0], Cancelled)
    assert state(workspace, "s") == ("stopped", "its start was cancelled")
    assert nothing_left(workspace)


def test_a_start_whose_task_is_cancelled_leaves_nothing(workspace: Workspace, state_dir: Path) -> None:
    async def scene() -> None:
        async with AsyncSandlot(state_dir) as sandlot:
            inside = await sandlot.get(workspace.id)
            task = asyncio.create_task(inside.services.start("s", FOREVER, ready_file="never"))
            async with asyncio.timeout(60):
                while [each.state.value for each in await inside.services.list()] != ["starting"]:
                    await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [each.reason for each in await inside.services.list()] == ["its start was cancelled"]
            assert (await inside.services.start("t", FOREVER)).ok
            assert (await inside.services.logs("t")).stdout == ""
            assert (await inside.services.stop("t")).service.state == "stopped"

    asyncio.run(scene())
    assert nothing_left(workspace)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (Workspace.stop, ("stopped", "the workspace was stopped")),
        (Workspace.reset, ("stopped", "the workspace was reset")),
        (kill_agent, ("interrupted", "the workspace ended while it ran")),
    ],
)
def test_a_workspace_that_ends_ends_the_waiting_for_a_start(
    workspace: Workspace, end: Callable[[Workspace], None], expected: tuple[str, str]
) -> None:
    thread, found = in_background(lambda: workspace.services.start("s", FOREVER, ready_file="never").service)
    wait_until(lambda: [each.state.value for each in workspace.services.list()] == ["starting"], "not started")
    end(workspace)
    thread.join(60)
    service = found[0]
    assert isinstance(service, ServiceInfo)
    assert (service.state.value, service.reason) == expected


def test_a_workspace_that_is_deleted_ends_the_waiting_for_a_start(sandlot: Sandlot) -> None:
    workspace = sandlot.create()
    thread, found = in_background(lambda: workspace.services.start("s", FOREVER, ready_file="never"))
    wait_until(lambda: [each.state.value for each in workspace.services.list()] == ["starting"], "not started")
    workspace.delete()
    thread.join(60)
    assert isinstance(found[0], WorkspaceNotFound)


# Limits of the machine


def test_a_service_that_floods_its_output_blocks_nobody(workspace: Workspace) -> None:
    workspace.services.start("s", "exec yes " + "x" * 1000, wait=False)
    assert workspace.exec("echo hello").stdout.text == "hello\n"
    assert state(workspace, "s")[0] == "running"
    assert workspace.services.stop("s").service.state == "stopped"
    assert nothing_left(workspace)


def test_many_services_at_once_are_all_told_apart(workspace: Workspace) -> None:
    threads = [
        in_background(lambda n=n: workspace.services.start(f"s{n}", f"touch r{n}; exec sleep 1000", ready_file=f"r{n}"))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        for n in range(12)
    ]
    for thread, _ in threads:
        thread.join(60)
    assert {each.state.value for each in workspace.services.list()} == {"ready"}
    assert len({each.pid for each in workspace.services.list()}) == 12
    workspace.services.stop("s7")
    assert sorted(each.name for each in workspace.services.list() if each.state.over) == ["s7"]


def test_without_an_agent_that_answers_the_state_is_unknown(
    sandlot: Sandlot, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.services.start("s", FOREVER)
    monkeypatch.setattr(services, "RESPONSIVE_S", 0.2)
    instance = record_of(workspace).instance
    assert instance is not None
    os.kill(instance.agent_pid, signal.SIGSTOP)
    try:
        assert state(workspace, "s") == ("unknown", "the workspace's agent does not answer")
    finally:
        os.kill(instance.agent_pid, signal.SIGCONT)
    assert state(workspace, "s")[0] == "running"


def test_a_check_needs_all_of_its_words(sandlot: Sandlot, workspace: Workspace) -> None:
    readiness = Readiness(ReadyCheck.TCP, ("localhost",))
    with pytest.raises(UsageError):
        services.start(sandlot._context, record_of(workspace), "s", FOREVER, readiness=readiness)
    assert nothing_left(workspace)


def test_one_that_goes_over_a_limit_has_failed_of_it(sandlot: Sandlot) -> None:
    workspace = sandlot.create(memory="64M")
    hog = "import time\nkept = []\nfor _ in range(300): kept.append(bytearray(1 << 20)); time.sleep(0.005)"
    workspace.services.start("s", ["python3", "-c", hog], wait=False)
    wait_until(lambda: workspace.services.status("s").service.state.over, "it goes on")
    assert state(workspace, "s")[0] == "failed"
    assert "limit of memory" in state(workspace, "s")[1]
    outcome = workspace.logs().commands[0].outcome
    assert outcome is not None
    assert outcome.limit == "memory"
