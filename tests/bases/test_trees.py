"""Removing trees that hostile code may have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sandlot.bases.trees import move_to_trash, remove_tree
from sandlot.errors import StateUnwritable
from sandlot.paths import Paths


def test_nothing_is_followed_out_of_the_tree(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    (tree / "file link").symlink_to(outside / "precious")
    remove_tree(tree)
    assert not tree.exists()
    (tmp_path / "top link").symlink_to(outside)
    remove_tree(tmp_path / "top link")
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert not os.path.lexists(tmp_path / "top link")


def test_folders_nobody_may_enter_are_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "work/work/inner").mkdir(parents=True)
    (tree / "work/work/inner/file").write_text("x")
    (tree / "read only").mkdir()
    (tree / "read only/file").write_text("x")
    (tree / "read only").chmod(0o555)
    (tree / "work/work/inner").chmod(0o200)
    (tree / "work/work").chmod(0)
    tree.chmod(0o100)
    remove_tree(tree)
    assert not tree.exists()


def test_everything_that_is_no_folder_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    os.mknod(tree / "whiteout", stat.S_IFCHR, 0)
    (tree / "name\nwith \udcff").write_text("x")
    remove_tree(tree)
    assert not tree.exists()
    remove_tree(tree)  # again: nothing there is fine
    remove_tree(tmp_path / "no" / "such" / "parent")


def test_a_tree_of_any_depth_is_removed_without_recursion(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(4000):
        os.mkdir("d" * 20, dir_fd=fd)
        deeper = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    remove_tree(tree)
    assert not tree.exists()


def test_a_folder_of_many_files_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    os.mknod("first", stat.S_IFREG | 0o600, dir_fd=fd)
    for number in range(20_000):
        os.link("first", str(number), src_dir_fd=fd, dst_dir_fd=fd)
    os.close(fd)
    remove_tree(tree)
    assert not tree.exists()


def test_trash_takes_what_its_owner_may_not_write(tmp_path: Path) -> None:
    paths = Paths.at(tmp_path / "state")
    paths.ensure()
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    tree.chmod(0o000)
    trash = move_to_trash(tree, paths)
    assert trash is not None
    assert trash.parent == paths.trash
    assert not tree.exists()
    remove_tree(trash)
    assert move_to_trash(tree, paths) is None
    (tmp_path / "link").symlink_to(tmp_path)
    assert move_to_trash(tmp_path / "link", paths) is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove everything")
def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateUnwritable, match="cannot remove"):
        remove_tree(Path("/proc/1"))
