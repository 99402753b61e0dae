"""Many changes, all or none: swap.py, also when its process is killed at any step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandlot.guest.tools.interruption import Interruptible, Terminated
from sandlot.guest.tools.place import Blocked, Place
from sandlot.guest.tools.swap import PREFIX, Swap
from tests.guest.calling import call, picture


def prepare(root: Path) -> None:
    (root / "keep").mkdir()
    (root / "keep" / "same").write_bytes(b"same")
    (root / "keep" / "edit").write_bytes(b"old")
    (root / "keep" / "edit").chmod(0o640)
    (root / "gone").mkdir(mode=0o750)
    (root / "gone" / "file").write_bytes(b"gone")
    (root / "link").symlink_to("keep/edit")
    (root / "swap").write_bytes(b"a file that becomes a folder")


CHANGES = """
import os, sys
from sandlot.guest.tools.interruption import Interruptible
from sandlot.guest.tools.place import Blocked, Place
from sandlot.guest.tools.swap import Swap

def change(root):
    with Interruptible() as interruptible, Swap(os.open(root, os.O_RDONLY), interruptible) as swap:
        def staged(content):
            name = swap.spare()
            with open(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=swap.new), "wb") as file:
                file.write(content)
            return name
        swap.set_aside(b"gone/file")
        swap.remove_folder(b"gone")
        swap.set_aside(b"swap")
        swap.make_folder(b"swap")
        swap.put(staged(b"inside"), b"swap/inside")
        swap.make_parents(b"deep/er/file")
        swap.put(staged(b"deep"), b"deep/er/file")
        swap.put(staged(b"new"), b"keep/edit")
        name = swap.spare()
        os.symlink("elsewhere", name, dir_fd=swap.new)
        swap.put(name, b"link")
        swap.chmod_folder(b"keep", 0o711)
        swap.finish()
"""


def test_all_changes_happen_and_the_stage_is_gone(tmp_path: Path) -> None:
    prepare(tmp_path)
    exec(compile(CHANGES, "changes", "exec"), scope := {"__name__": "changes"})
    scope["change"](tmp_path)  # type: ignore[operator]  # what exec defines has no type
    seen = picture(tmp_path)
    assert sorted(seen) == [
        b"deep", b"deep/er", b"deep/er/file", b"keep", b"keep/edit", b"keep/same", b"link", b"swap", b"swap/inside",
    ]  # fmt: skip
    assert seen[b"keep/edit"][2] == b"new"
    assert seen[b"link"][2] == b"elsewhere"
    assert seen[b"keep"][1] == 0o711


KILLED = (
    CHANGES
    + """
import signal
left = int(sys.argv[2])
for name in ("rename", "link", "mkdir", "rmdir", "unlink", "write", "fchmod"):
    def wrapped(*args, real=getattr(os, name), **kwargs):
        global left
        left -= 1
        if left < 0:
            if sys.argv[3] == "KILL":
                os.kill(os.getpid(), signal.SIGKILL)
            if sys.argv[3] == "TERM":
                os.kill(os.getpid(), signal.SIGTERM)
            elif left == -1:
                raise OSError(28, "No space left on device")
        return real(*args, **kwargs)
    setattr(os, name, wrapped)
change(sys.argv[1])
"""
)


@pytest.mark.parametrize("how", ["KILL", "TERM", "fail"])
def test_a_change_stopped_at_any_step_leaves_the_old_tree_or_the_new_one(tmp_path: Path, how: str) -> None:
    outcomes = set()
    new: object = None
    for step in range(200, -1, -1):
        root = tmp_path / str(step)
        root.mkdir()
        prepare(root)
        old = picture(root)
        if new is None:
            exec(compile(CHANGES, "changes", "exec"), scope := {"__name__": "changes"})
            scope["change"](root)  # type: ignore[operator]  # what exec defines has no type
            new = picture(root)
            continue
        if step > 60:
            continue  # there are fewer steps than that; a wrong guess fails the assertion below
        done = subprocess.run([sys.executable, "-c", KILLED, root, str(step), how], capture_output=True, check=False)
        call("recover", root)  # after a failure as well: it may have been the cleaning up that failed
        assert not [name for name in os.listdir(root) if name.startswith(PREFIX.decode())]
        seen = {path: entry for path, entry in picture(root).items() if b".sandlot-making-" not in path}
        assert seen in (old, new), (step, done.stderr)
        outcomes.add(seen == new)
    assert outcomes == {True, False}


def test_a_change_that_is_at_work_is_not_recovered_by_another(tmp_path: Path) -> None:
    prepare(tmp_path)
    root = os.open(tmp_path, os.O_RDONLY)
    before = picture(tmp_path)

    def interrupted() -> None:
        with Interruptible() as interruptible, Swap(root, interruptible) as swap:
            swap.set_aside(b"gone/file")
            assert call("recover", tmp_path).numbers == [0, 0]
            assert not (tmp_path / "gone/file").exists()
            raise Terminated

    with pytest.raises(Terminated):
        interrupted()
    os.close(root)
    assert picture(tmp_path) == before


@pytest.mark.parametrize("journal", ["missing", "fifo", "sparse", "garbage"])
def test_a_forged_leftover_neither_hangs_nor_stops_the_recovery(tmp_path: Path, journal: str) -> None:
    stage = tmp_path / (PREFIX.decode() + "x")
    stage.mkdir()
    if journal == "fifo":
        os.mkfifo(stage / "journal")
    elif journal == "sparse":
        with open(stage / "journal", "wb") as file:
            file.truncate(1 << 40)
    elif journal == "garbage":
        (stage / "journal").write_bytes(b"kept\x000\x00../../etc/x\x00chmod\x00zz\x00" + b"\xff\0" * 9)
    (tmp_path / "f").write_bytes(b"f")
    assert sum(call("recover", tmp_path).numbers) in (0, 1)
    assert (tmp_path / "f").read_bytes() == b"f"


def test_no_parent_that_is_a_symlink_is_walked_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "to").symlink_to("real")
    place = Place(os.open(tmp_path, os.O_RDONLY))
    for path in (b"to/x", b"real/../x", b"./x", b"/etc/x"):
        with pytest.raises(Blocked):
            place.parent(path)
    os.close(place.root)
