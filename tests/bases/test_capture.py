"""capture, merge and materialize: copies that mean the same as the original."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from sandlot.bases.capture import capture, materialize, merge
from sandlot.bases.copying import copy_content, copy_range
from sandlot.bases.trees import remove_tree
from sandlot.bases.view import OPAQUE, is_whiteout
from sandlot.errors import FileRefused, StateUnwritable
from tests.layertrees import File, Folder, Gone, build, stacks, state_of_tree, state_of_view

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    upper = tmp_path / "upper"
    (upper / "sub").mkdir(parents=True)
    (upper / "sub" / "script").write_bytes(b"#!/bin/sh\n")
    (upper / "sub" / "script").chmod(0o750)
    os.utime(upper / "sub" / "script", ns=(1_000_000_001, 1_500_000_002))
    os.link(upper / "sub" / "script", upper / "twin")
    os.symlink("/nowhere\nelse", upper / "link")
    os.utime(upper / "link", ns=(5, 7), follow_symlinks=False)
    os.mkfifo(upper / "fifo", 0o640)
    os.mknod(upper / "gone", stat.S_IFCHR)
    os.setxattr(upper / "sub", OPAQUE, b"y")
    os.setxattr(upper / "sub", "user.overlay.origin", b"forged")
    os.setxattr(upper / "sub" / "script", "user.mine", b"kept")
    os.setxattr(upper / "sub" / "script", "user.overlay.redirect", b"/etc")
    (upper / "sub").chmod(0o555)
    os.utime(upper / "sub", ns=(11, 13))
    upper.chmod(0o711)
    return upper


def test_a_captured_upper_keeps_everything_a_layer_may_hold(upper: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(upper / "socket"))
    target = tmp_path / "layer"
    done = capture(upper, target)
    assert (done.files, done.bytes) == (3, 10)
    assert sorted(os.listdir(target)) == ["fifo", "gone", "link", "sub", "twin"]
    script = (target / "sub" / "script").stat()
    assert (stat.S_IMODE(script.st_mode), script.st_mtime_ns) == (0o750, 1_500_000_002)
    assert script.st_ino == (target / "twin").stat().st_ino
    assert os.readlink(target / "link") == "/nowhere\nelse"
    assert (target / "link").lstat().st_mtime_ns == 7
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
    assert stat.S_IMODE((target / "fifo").stat().st_mode) == 0o640
    assert is_whiteout((target / "gone").stat())
    assert stat.S_IMODE((target / "sub").stat().st_mode) == 0o555
    assert (target / "sub").stat().st_mtime_ns == 13
    assert stat.S_IMODE(target.stat().st_mode) == 0o711


def test_of_overlay_attributes_only_the_opaque_mark_is_copied(upper: Path, tmp_path: Path) -> None:
    capture(upper, tmp_path / "layer")
    assert os.listxattr(tmp_path / "layer" / "sub") == [OPAQUE]
    assert os.listxattr(tmp_path / "layer" / "sub" / "script") == ["user.mine"]


def test_holes_stay_holes_and_are_not_counted(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    with open(upper / "huge", "wb") as file:
        file.write(b"head")
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"middle")
    done = capture(upper, tmp_path / "layer")
    info = (tmp_path / "layer" / "huge").stat()
    assert info.st_size == 1 << 40
    assert info.st_blocks * 512 < 1 << 20
    assert done.bytes < 1 << 20
    with open(tmp_path / "layer" / "huge", "rb") as file:
        assert file.read(4) == b"head"
        file.seek(1 << 39)
        assert file.read(6) == b"middle"


def test_files_closed_to_their_owner_are_copied_with_their_mode(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "closed").mkdir(parents=True)
    (upper / "closed" / "file").write_text("x")
    (upper / "closed" / "file").chmod(0)
    (upper / "closed").chmod(0)
    capture(upper, tmp_path / "layer")
    for tree in (upper, tmp_path / "layer"):
        assert stat.S_IMODE((tree / "closed").stat().st_mode) == 0
        (tree / "closed").chmod(0o700)
        assert stat.S_IMODE((tree / "closed" / "file").stat().st_mode) == 0
        (tree / "closed" / "file").chmod(0o400)
        assert (tree / "closed" / "file").read_text() == "x"


def test_a_hundred_thousand_byte_files_and_deep_folders_survive(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    fd = os.open(upper, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.write(file, b"z" * 100_000)
    os.close(file)
    os.close(fd)
    assert capture(upper, tmp_path / "layer").bytes == 100_000
    remove_tree(tmp_path / "layer")
    remove_tree(upper)


def test_a_failed_capture_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper" / "file").write_text("x")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sandlot.bases.copying.copy_content", full)
    with pytest.raises(StateUnwritable, match="No space left"):
        capture(tmp_path / "upper", tmp_path / "layer")
    assert not (tmp_path / "layer").exists()


def test_something_at_the_target_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "precious").write_text("x")
    with pytest.raises(StateUnwritable):
        capture(tmp_path / "upper", tmp_path / "layer")
    assert (tmp_path / "layer" / "precious").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_somebody_elses_closed_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper" / "root").symlink_to("/root")
    capture(tmp_path / "upper", tmp_path / "layer")  # the link itself is fine
    if not os.access("/root", os.R_OK):
        with pytest.raises(FileRefused):
            capture(Path("/root"), tmp_path / "other")


HIDDEN = Folder({b"d": Folder({b"hidden": File(b"x", False)})})
SHOWN = Folder({b"d": Folder({b"shown": File(b"y", False)})})


@SLOW
@example(trees=[HIDDEN, Folder({b"d": Gone()}), SHOWN])
@example(trees=[HIDDEN, Folder({b"d": File(b"z", False)}), SHOWN])
@example(trees=[HIDDEN, Folder({b"d": Folder({}, opaque=True)}), SHOWN])
@given(trees=stacks(least=3, most=5))
def test_merged_layers_mean_the_same_above_whatever_lies_beneath(trees: list[Folder]) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        stack = [build(place / f"l{number}", tree) for number, tree in enumerate(trees)]
        merge(stack[1:], place / "merged")
        assert state_of_view([stack[0], place / "merged"]) == state_of_view(stack)
        merge(stack, place / "whole")
        assert state_of_view([place / "whole"]) == state_of_view(stack)
        capture(stack[-1], place / "captured")
        assert state_of_view([*stack[:-1], place / "captured"]) == state_of_view(stack)
    finally:
        remove_tree(place)


@SLOW
@given(trees=stacks())
def test_a_materialized_stack_is_the_tree_it_shows(trees: list[Folder]) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        stack = [build(place / f"l{number}", tree) for number, tree in enumerate(trees)]
        done = materialize(stack, place / "tree")
        plain = state_of_tree(place / "tree")
        assert plain == state_of_view(stack)
        assert done.files == sum(value != ("folder",) for value in plain.values())
    finally:
        remove_tree(place)


def test_a_materialized_tree_keeps_hard_links_and_times(upper: Path, tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    (tmp_path / "low" / "gone").write_text("hidden")
    materialize([tmp_path / "low", upper], tmp_path / "tree")
    tree = tmp_path / "tree"
    assert not (tree / "gone").exists()
    assert (tree / "twin").stat().st_ino == (tree / "sub" / "script").stat().st_ino
    assert (tree / "sub").stat().st_mtime_ns == 13
    assert os.listxattr(tree / "sub") == []


def test_a_range_is_copied_the_slow_way_where_the_kernel_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    with open(tmp_path / "from", "w+b") as source, open(tmp_path / "to", "w+b") as target:
        source.write(os.urandom(3_000_000))
        source.flush()
        assert copy_range(source.fileno(), target.fileno(), 1000, 3_000_000, to=10) == 2_999_000
        source.seek(1000)
        target.seek(10)
        assert source.read() == target.read()


def test_a_file_that_shrank_since_it_was_looked_at_is_copied_as_far_as_it_goes(tmp_path: Path) -> None:
    with open(tmp_path / "from", "w+b") as source, open(tmp_path / "to", "w+b") as target:
        source.write(b"x" * 500_000)
        source.flush()
        info = os.fstat(source.fileno())
        os.truncate(tmp_path / "from", 400_000)
        assert copy_content(source.fileno(), target.fileno(), info) == 400_000
