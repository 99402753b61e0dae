"""The disks of guests: one that a template has mounted, or one of a guest's own, and what either can hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.model.limits import Limits
from sandlot.runtimes import disks
from sandlot.sdk import Sandlot, Workspace
from sandlot.settings import Settings
from sandlot.workspaces.context import Context
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in

MIB = 1 << 20


@pytest.fixture
def sandlot(tmp_path: Path) -> Iterator[Sandlot]:
    with Sandlot(tmp_path) as made:
        made._context = Context(paths_in(tmp_path), Settings.load())
        yield made
        made.call("workspace_delete", all=True)
    remove_tree(tmp_path)


def can_hold(workspace: Workspace, mib: int) -> bool:
    """Whether so much more room can be had (without writing it); what was taken is given back."""
    done = workspace.exec(f"fallocate -l {mib}M more; status=$?; rm -f more; exit $status")
    assert done.ok or "No space left" in done.stderr.text, done.stderr.text
    return done.ok


@NEEDS_QEMU
@pytest.mark.parametrize("limit_mib", [2048, 256])
def test_a_disk_holds_its_limit_when_it_is_new_and_when_it_is_started_again(sandlot: Sandlot, limit_mib: int) -> None:
    assert disks.is_usual(Limits(disk=limit_mib * MIB)) == (limit_mib == 2048)
    workspace = sandlot.create(runtime="qemu", disk=f"{limit_mib}M")
    half = limit_mib // 2
    assert workspace.exec(f"fallocate -l {half}M taken; echo kept > file; echo mine > ~/note").ok
    for _ in range(2):
        assert can_hold(workspace, half * 9 // 10)
        assert not can_hold(workspace, half * 12 // 10)
        workspace.stop()
        workspace.start()
        assert workspace.exec("cat file ~/note").stdout.text == "kept\nmine\n"


@NEEDS_QEMU
def test_a_limit_that_was_lowered_holds_from_the_next_start(sandlot: Sandlot) -> None:
    workspace = sandlot.create(runtime="qemu", disk="4G")
    assert can_hold(workspace, 3000)
    workspace.stop()
    workspace.update(disk="2G")
    workspace.start()
    assert not can_hold(workspace, 3000)
    assert can_hold(workspace, 1500)


def test_what_a_guest_may_send_follows_its_limits_and_what_its_disk_has_taken(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * (8 * MIB))
    for limits, most in ((Limits(), disks.USUAL_INODES), (Limits(disk=64 * MIB, inodes=5000), 32768)):
        found = disks.bounds_of(limits, disk)
        assert found.bytes >= disks.room(limits)
        assert found.entries == most
