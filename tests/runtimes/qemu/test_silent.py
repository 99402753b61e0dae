"""A guest that says nothing any more, or whose keeper does: whoever asks is told, and it can be got rid of."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.errors import AgentUnresponsive
from sandlot.model.workspace import Instance
from sandlot.process import ProcessIdentity
from sandlot.sdk import Sandlot, Workspace
from sandlot.settings import Settings
from sandlot.workspaces.context import Context
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in

pytestmark = [NEEDS_QEMU, pytest.mark.slow, pytest.mark.xdist_group("guests")]


@pytest.fixture
def sandlot(tmp_path: Path) -> Iterator[Sandlot]:
    with Sandlot(tmp_path) as made:
        made._context = Context(paths_in(tmp_path), Settings.load())
        yield made
        made.call("workspace_delete", all=True)
    remove_tree(tmp_path)


def instance_of(sandlot: Sandlot, workspace: Workspace) -> Instance:
    found = sandlot._context.store.find(workspace.id).instance
    assert found is not None
    return found


@pytest.mark.parametrize("who", ["agent_pid", "monitor_pid"])
def test_a_silent_guest_is_an_error_in_words_and_goes_at_once(sandlot: Sandlot, who: str) -> None:
    workspace = sandlot.create(runtime="qemu")
    workspace.exec("echo kept > kept; sync")
    silent = instance_of(sandlot, workspace)
    os.kill(getattr(silent, who), signal.SIGSTOP)
    with pytest.raises(AgentUnresponsive):
        workspace.exec("true", timeout=1)
    workspace.stop()
    for pid, start in ((silent.agent_pid, silent.agent_start), (silent.monitor_pid, silent.monitor_start)):
        assert not ProcessIdentity(pid, start, silent.boot).alive()
    assert workspace.exec("cat kept").stdout.text == "kept\n"
    again = instance_of(sandlot, workspace)
    os.kill(getattr(again, who), signal.SIGSTOP)
    workspace.reset()
    assert workspace.exec("ls").stdout.text == ""
    os.kill(getattr(instance_of(sandlot, workspace), who), signal.SIGSTOP)
    workspace.delete()
    assert list(sandlot.paths.workspaces.iterdir()) == []
    assert not ProcessIdentity(again.agent_pid, again.agent_start, again.boot).alive()
