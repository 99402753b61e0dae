"""What services print: read, followed, and without the secrets in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot.model.service import ServiceInfo
from sandlot.runtimes.channel import Channel
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import service_reports
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.workspaces.conftest import kill_agent, wait_until
from tests.workspaces.service_scenes import in_background, state


def test_logs_are_followed_to_the_end_of_the_service(workspace: Workspace) -> None:
    script = "echo one; while ! test -e go; do sleep 0.01; done; echo two; echo err >&2; exit 3"
    workspace.services.start("s", script)
    seen: list[tuple[str, bytes]] = []

    def note(stream: str, data: bytes) -> None:
        seen.append((stream, data))
        if data == b"one\n":
            workspace.exec("touch go")

    service = workspace.services.follow("s", on_output=note)
    assert (service.state, service.reason) == ("failed", "it exited with 3")
    assert b"".join(data for stream, data in seen if stream == "stdout") == b"one\ntwo\n"
    assert b"".join(data for stream, data in seen if stream == "stderr") == b"err\n"
    again: list[tuple[str, bytes]] = []
    workspace.services.follow("s", on_output=lambda *piece: again.append(piece), tail=1, stream="stdout")
    assert again == [("stdout", b"two\n")]


@pytest.mark.parametrize("end", [Workspace.stop, Workspace.reset, kill_agent])
def test_following_ends_with_the_workspace(workspace: Workspace, end: Callable[[Workspace], None]) -> None:
    workspace.services.start("s", "echo one; exec sleep 1000")
    seen = threading.Event()
    thread, found = in_background(lambda: workspace.services.follow("s", on_output=lambda *_: seen.set()))
    assert seen.wait(60)
    end(workspace)
    thread.join(60)
    assert isinstance(found[0], ServiceInfo)
    assert found[0].state.over


def test_following_goes_on_when_the_worker_let_go_of_a_slow_follower(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.services.start("s", "echo one; while ! test -e go; do sleep 0.01; done; echo two; exit 0")
    receive, let_go = Channel.receive, threading.Event()

    def once_cut_off(channel: Channel, timeout_s: float | None = None) -> tuple[int, list[bytes]] | None:
        if timeout_s is None and not let_go.is_set():  # the waiting of a follower; to it this is the worker's end
            let_go.set()
            workspace.exec("touch go")
            return None
        return receive(channel, timeout_s)

    monkeypatch.setattr(Channel, "receive", once_cut_off)
    seen: list[bytes] = []
    service = workspace.services.follow("s", on_output=lambda _, data: seen.append(data))
    assert let_go.is_set()
    assert (service.state, b"".join(seen)) == ("exited", b"one\ntwo\n")


def test_a_secret_that_a_service_prints_is_in_none_of_its_answers_nor_on_disk(
    sandlot: Sandlot, workspace: Workspace
) -> None:
    value = "hunter2-hunter2-hunter2"
    workspace.secrets.set("API_KEY", value=value, reveal_only=True)
    script = (
        f'test "$API_KEY" = {value} || exit 9; echo got $API_KEY; printf hunter2-; sleep 0.1; '
        "printf hunter2-; sleep 0.1; echo hunter2; echo $API_KEY >&2; touch printed; exec sleep 1000"
    )
    done = workspace.services.start("s", script, ready_file="printed", reveal=["API_KEY"])
    assert done.ok
    followed: list[bytes] = []
    seen = threading.Event()

    def note(_: str, data: bytes) -> None:
        followed.append(data)
        seen.set()

    thread, _ = in_background(lambda: workspace.services.follow("s", on_output=note))
    assert seen.wait(60)
    shown = [done, workspace.services.status("s"), workspace.services.logs("s"), workspace.services.list()]
    shown += [workspace.status(), workspace.logs(), workspace.services.stop("s"), workspace.summary()]
    thread.join(60)
    assert b"got *******" in b"".join(followed)
    assert value not in repr(shown) + repr(followed)
    folder = sandlot._context.paths.workspace(workspace.id).command(done.service.number)
    assert all(value.encode() not in (folder / name).read_bytes() for name in ("stdout", "stderr", "exit"))


def test_following_can_be_cancelled_and_the_service_goes_on(workspace: Workspace) -> None:
    workspace.services.start("s", "echo one; exec sleep 1000")
    cancellation = Cancellation()
    seen = threading.Event()
    thread, found = in_background(
        lambda: workspace.services.follow("s", on_output=lambda *_: seen.set(), cancellation=cancellation)
    )
    assert seen.wait(60)
    cancellation.cancel()
    thread.join(60)
    assert isinstance(found[0], Cancelled)
    assert state(workspace, "s")[0] == "running"


def test_of_an_endless_log_the_beginning_and_the_present_end_can_be_read(
    sandlot: Sandlot, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDLOT_OUTPUT_QUOTA", "100K")
    with Sandlot(sandlot._context.paths.state) as small:
        inside = small.get(workspace.id)
        script = "echo begin; seq 100000; echo end; touch printed; exec sleep 1000"
        inside.services.start("s", script, ready_file="printed")
        wait_until(lambda: inside.services.logs("s", tail=1).stdout == "end\n", "the end is not there")
        assert inside.services.logs("s", limit=1 << 20).stdout.startswith("begin\n1\n2\n")
        passed: list[bytes] = []
        thread, _ = in_background(lambda: inside.services.follow("s", on_output=lambda _, data: passed.append(data)))
        wait_until(lambda: bool(passed), "nothing passed on")
        inside.services.stop("s")
        thread.join(60)
        assert inside.services.logs("s", tail=2).stdout == "100000\nend\n"


@pytest.mark.parametrize(
    ("text", "count", "begins"),
    [(b"", 3, 0), (b"a\nb\n", 0, 4), (b"a\nb\n", 1, 2), (b"a\nb", 1, 2), (b"a\nb\n", 9, 0), (b"\n\n", 1, 1)],
)
def test_the_last_lines_begin_behind_the_line_before(tmp_path: Path, text: bytes, count: int, begins: int) -> None:
    (tmp_path / "stdout").write_bytes(text)
    assert service_reports.last_lines(tmp_path, "stdout", count) == begins
