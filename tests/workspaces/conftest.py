"""Fixtures of the tests of life and state."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sandlot.bases.shipping import receive, send
from sandlot.guest.unpacking import Reader
from sandlot.model.workspace import Instance, WorkspaceRecord
from sandlot.process import ProcessIdentity
from sandlot.runtimes.base import AreaMount, Bounds, LaunchRequest, ProbeReport, StorageKind
from sandlot.runtimes.bubblewrap.runtime import BubblewrapRuntime
from sandlot.sdk import Workspace

SHOW = (
    "cd /workspace && find . ! -name . -printf '%y %m %p %l\\n' | sort && find . -type f -exec cat {} + && cat ~/note"
)
"""Prints type, mode, name and content of everything."""


@pytest.fixture(params=[StorageKind.OVERLAY, StorageKind.COPY, StorageKind.GUEST])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way of keeping a workspace's changes; workspaces made afterwards use it."""
    use_storage(monkeypatch, request.param)
    if request.param == StorageKind.GUEST:
        pretend_guests(monkeypatch)
    return str(request.param)


def use_storage(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Have the runtime report that this storage is what works here."""
    probe = BubblewrapRuntime.probe

    def report(self: BubblewrapRuntime, *, fresh: bool = False) -> ProbeReport:
        return replace(probe(self, fresh=fresh), storage=kind)

    monkeypatch.setattr(BubblewrapRuntime, "probe", report)


def pretend_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have bubblewrap keep changes where nobody looks, as guests do, and give copies of them to who asks."""
    launch = BubblewrapRuntime.launch

    def hidden(generation: Path, target: str) -> Path:
        return generation / "inside" / target.strip("/").replace("/", "-")

    def launched(self: BubblewrapRuntime, request: LaunchRequest) -> Instance:
        if request.disk is None:  # the probe's
            return launch(self, request)
        request.disk.touch()
        areas = []
        for area in request.areas:
            place = hidden(request.disk.parent, area.target)
            for each in ("upper", "work"):
                (place / each).mkdir(parents=True, exist_ok=True)
            lowers = area.lowers or (self._paths.empty,)
            areas.append(AreaMount(area.target, place / "upper", place / "work", lowers))
        return launch(self, replace(request, areas=tuple(areas)))

    def fetch(
        self: BubblewrapRuntime, instance: Instance, socket: Path, target: str, folder: Path, bounds: Bounds
    ) -> None:
        assert self.alive(instance)
        parts: list[bytes] = []
        send(hidden(socket.parent, target) / "upper", lambda data: parts.append(bytes(data)))
        pieces = iter(parts)
        reader = Reader(lambda _: next(pieces, b""))
        receive(reader, folder, most_bytes=bounds.bytes, most_entries=bounds.entries)

    monkeypatch.setattr(BubblewrapRuntime, "launch", launched)
    monkeypatch.setattr(BubblewrapRuntime, "fetch", fetch)


def record_of(workspace: Workspace) -> WorkspaceRecord:
    """What the store knows about a workspace."""
    return workspace._sandlot._context.store.find(workspace.id)


def folder_of(workspace: Workspace) -> Path:
    """A workspace's own folder."""
    return workspace._sandlot._context.paths.workspace(workspace.id).root


def agent_of(workspace: Workspace) -> int:
    """The agent's pid."""
    instance = record_of(workspace).instance
    assert instance is not None
    return instance.agent_pid


def kill_agent(workspace: Workspace) -> None:
    """SIGKILL the agent (or QEMU), and wait until the kernel has ended it with everything in the workspace.

    Whoever watches over it goes next, and with it what it holds open of the commands' files.
    """
    instance = record_of(workspace).instance
    assert instance is not None
    os.kill(instance.agent_pid, 9)
    wait_until(lambda: not running(workspace), "the agent is still there")
    watching = ProcessIdentity(instance.monitor_pid, instance.monitor_start, instance.boot)
    wait_until(lambda: not watching.alive(), "who watched over it is still there")


def running(workspace: Workspace) -> bool:
    """Whether the workspace's processes exist."""
    instance = record_of(workspace).instance
    return instance is not None and workspace._sandlot._context.runtime(workspace.info.runtime).alive(instance)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that other processes are about to do."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def seed_tree(folder: Path) -> Path:
    """A small folder with the things that get lost first."""
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "file").write_text("seeded\n")
    (folder / "sub" / "script").write_text("#!/bin/sh\necho script\n")
    (folder / "sub" / "script").chmod(0o755)
    (folder / "private").write_text("private\n")
    (folder / "private").chmod(0o600)
    (folder / "link").symlink_to("sub/script")
    (folder / "dangling").symlink_to("/nowhere")
    return folder


def everything(workspace: Workspace) -> str:
    """All of a workspace's project, and a note in its home."""
    return workspace.exec(SHOW).stdout.text
