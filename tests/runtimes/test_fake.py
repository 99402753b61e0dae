"""Faults at every step of a workspace's life: the caller gets one of our errors, and nothing half-made stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.errors import (
    AgentUnresponsive,
    CommandInterrupted,
    ProtocolError,
    SandlotError,
    StartFailed,
    WorkspaceFailure,
    WorkspaceNotFound,
)
from sandlot.model.command import CommandState
from sandlot.model.isolation import IsolationLevel
from sandlot.model.workspace import WorkspaceState
from sandlot.runtimes.fake import FakeRuntime, Fault
from sandlot.sdk import Sandlot
from sandlot.wire import frames, messages
from sandlot.workspaces import commands


@pytest.fixture
def fake(state_dir: Path) -> Iterator[tuple[Sandlot, FakeRuntime]]:
    with Sandlot(state_dir) as made:
        runtime = FakeRuntime()
        made._context._runtimes["bubblewrap"] = runtime
        yield made, runtime
        runtime.faults.clear()
        for info in made.list():
            made.call("workspace_delete", workspaces=(info.id,))
    assert not runtime.living


def folders(made: Sandlot) -> list[str]:
    return sorted(path.name for path in made._context.paths.workspaces.iterdir())


def test_a_create_whose_start_fails_leaves_neither_folder_nor_record(fake: tuple[Sandlot, FakeRuntime]) -> None:
    made, runtime = fake
    runtime.faults = {Fault.START}
    with pytest.raises(StartFailed):
        made.create(name="mine")
    assert (folders(made), made.list(), runtime.living) == ([], [], {})
    runtime.faults = set()
    assert made.create(name="mine").name == "mine"


def test_a_create_whose_instance_dies_before_its_release_leaves_nothing(fake: tuple[Sandlot, FakeRuntime]) -> None:
    made, runtime = fake
    runtime.faults = {Fault.DEATH_BEFORE_RELEASE}
    with pytest.raises(CommandInterrupted):
        made.create()
    assert (folders(made), made.list(), runtime.living) == ([], [], {})


def test_a_workspace_that_dies_right_after_its_start_is_shown_stopped(fake: tuple[Sandlot, FakeRuntime]) -> None:
    made, runtime = fake
    runtime.faults = {Fault.DEATH_AFTER_RELEASE}
    workspace = made.create()
    runtime.faults = set()
    assert workspace.status().workspace.state is WorkspaceState.STOPPED
    workspace.start()
    assert workspace.status().workspace.state is WorkspaceState.RUNNING


@pytest.mark.parametrize("fault", [Fault.START, Fault.DEATH_BEFORE_RELEASE])
def test_a_reset_that_cannot_start_leaves_the_old_or_the_new_state_and_never_half_of_each(
    fake: tuple[Sandlot, FakeRuntime], fault: Fault
) -> None:
    made, runtime = fake
    workspace = made.create()
    before = made._context.store.find(workspace.id)
    area = made._context.paths.workspace(workspace.id).generation(before.generation).area("workspace") / "tree"
    (area / "precious").write_text("work")
    runtime.faults = {fault}
    with pytest.raises(SandlotError):
        workspace.reset()
    after = made._context.store.find(workspace.id)
    own = made._context.paths.workspace(workspace.id)
    assert own.generation(after.generation).area("workspace").is_dir()
    if after.generation == before.generation:  # nothing had been committed: nothing may have changed
        assert (area / "precious").read_text() == "work"
    else:
        assert fault is Fault.DEATH_BEFORE_RELEASE
        assert after.retired is None
    assert len(runtime.living) <= 1
    runtime.faults = set()
    workspace.start()
    generations = [path.name for path in own.root.iterdir() if path.name[0] == "g"]
    assert f"g{made._context.store.find(workspace.id).generation}" in generations


@pytest.mark.parametrize("fault", [Fault.START, Fault.DEATH_BEFORE_RELEASE])
def test_a_fork_of_several_makes_all_or_none(fake: tuple[Sandlot, FakeRuntime], fault: Fault) -> None:
    made, runtime = fake
    workspace = made.create()
    workspace.stop()
    launch = runtime.launch
    left = iter([set[Fault](), {fault}])

    def launching(request: object) -> object:
        runtime.faults = next(left)
        return launch(request)  # type: ignore[arg-type]  # passed through

    runtime.launch = launching  # type: ignore[assignment, method-assign]  # the second start fails
    with pytest.raises(SandlotError):
        workspace.fork(count=2)
    assert [info.id for info in made.list()] == [workspace.id]
    assert folders(made) == [workspace.id]
    assert not runtime.living


def test_a_delete_whose_processes_survive_says_so_and_is_finished_later(fake: tuple[Sandlot, FakeRuntime]) -> None:
    made, runtime = fake
    workspace = made.create()
    runtime.faults = {Fault.IMMORTAL}
    with pytest.raises(WorkspaceFailure, match="did not end"):
        workspace.delete()
    with pytest.raises(WorkspaceNotFound):
        made.get(workspace.id)
    assert len(runtime.living) == 1
    runtime.faults = set()
    assert made.repair().workspaces == 1
    assert (folders(made), runtime.living) == ([], {})


def test_an_agent_that_never_answers_is_reported_as_that(
    fake: tuple[Sandlot, FakeRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, runtime = fake
    runtime.answer = None
    monkeypatch.setattr(commands, "MARGIN_S", 0.1)
    workspace = made.create()
    with pytest.raises(AgentUnresponsive):
        workspace.exec(["true"], timeout=1)
    [record] = made._context.store.commands(workspace.id)
    assert record.state is CommandState.INTERRUPTED


def test_an_agent_that_goes_away_before_the_end_is_told_interrupts_the_command(
    fake: tuple[Sandlot, FakeRuntime],
) -> None:
    made, runtime = fake
    workspace = made.create()
    runtime.answer = frames.encode(messages.STARTED, 1, [b"7"])
    with pytest.raises(CommandInterrupted):
        workspace.exec(["true"])
    [record] = made._context.store.commands(workspace.id)
    assert record.state is CommandState.INTERRUPTED


EXITED = messages.Exited(0, 0, "", 1, 1, 1, 1, 1, 0).fields()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        frames.HEADER.pack(1, messages.EXITED, 0, 1, frames.MAX_PAYLOAD + 1),
        frames.HEADER.pack(2, messages.EXITED, 0, 1, 0),
        frames.HEADER.pack(1, messages.EXITED, 0, 1, 4) + b"\xff\xff\xff\xff",
        frames.encode(messages.EXITED, 1, EXITED[:5]),
        frames.encode(messages.EXITED, 1, [b"-1", *EXITED[1:]]),
        frames.encode(messages.EXITED, 1, [EXITED[0], b"999", *EXITED[2:]]),
        frames.encode(messages.EXITED, 1, [*EXITED[:2], b"because", *EXITED[3:]]),
        frames.encode(messages.EXITED, 1, [*EXITED[:2], b"\xff", *EXITED[3:]]),
        frames.encode(messages.EXITED, 1, [*EXITED[:3], b"9" * 30, *EXITED[4:]]),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_our_protocol_is_refused(fake: tuple[Sandlot, FakeRuntime], answer: bytes) -> None:
    made, runtime = fake
    workspace = made.create()
    runtime.answer = answer
    with pytest.raises(ProtocolError):
        workspace.exec(["true"])


def test_half_a_frame_is_an_interrupted_command_and_not_a_hang(fake: tuple[Sandlot, FakeRuntime]) -> None:
    made, runtime = fake
    workspace = made.create()
    runtime.answer = frames.encode(messages.EXITED, 1, EXITED)[:-1]
    with pytest.raises(CommandInterrupted):
        workspace.exec(["true"])


def test_a_failure_told_from_inside_is_bounded_and_never_an_unknown_class(fake: tuple[Sandlot, FakeRuntime]) -> None:
    made, runtime = fake
    workspace = made.create()
    runtime.answer = frames.encode(messages.FAILED, 1, [b"SystemExit", b"\x1b]0;owned\x07" * 100_000])
    with pytest.raises(WorkspaceFailure) as caught:
        workspace.exec(["true"])
    assert caught.value.code == "agent_error"
    assert len(caught.value.message) <= 4000


def test_a_demanded_isolation_level_is_never_lowered(fake: tuple[Sandlot, FakeRuntime]) -> None:
    made, runtime = fake
    with pytest.raises(SandlotError) as caught:
        made.create(min_isolation=IsolationLevel.KERNEL)
    assert caught.value.code == "isolation_unavailable"
    assert runtime.launched == 0
