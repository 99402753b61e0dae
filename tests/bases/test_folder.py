"""Seeding from a plain folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sandlot.bases import scan as scanning
from sandlot.bases import tree as trees
from sandlot.bases import writing
from sandlot.bases.content import copy_hashed
from sandlot.bases.store import BaseStore
from sandlot.errors import PathNotFound, SeedUnreadable, StateUnwritable
from sandlot.paths import Paths

from .seeding import everything_below, facts, merged, seed, store_at

pytestmark = pytest.mark.usefixtures("no_clock_tick")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "node_modules/.bin").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "tool").write_text("#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    (root / "node_modules/.bin/tool").symlink_to("../../tool")
    (root / "absolute").symlink_to("/usr/bin/python3")
    (root / "dangling").symlink_to("nowhere")
    (root / "with space\nand newline").write_text("odd")
    Path(os.fsdecode(os.fsencode(root) + b"/not utf-8 \xff")).write_text("bytes")
    (root / "read only").mkdir()
    (root / "read only" / "file").write_text("x")
    (root / "private").write_text("p")
    (root / "private").chmod(0o600)
    os.utime(root / "tool", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "dangling", ns=(1, 987_654_321_000_000_001), follow_symlinks=False)
    (root / "read only").chmod(0o555)
    os.utime(root / "node_modules", ns=(5, 1_000_000_000_000_000_007))
    return root


def test_everything_of_a_folder_is_kept(store: BaseStore, project: Path, tmp_path: Path) -> None:
    base = seed(store, project)
    assert facts(merged(store, base, tmp_path / "merged")) == facts(project)
    assert base.origin.files == 8
    assert not base.cached


def test_names_of_one_file_stay_one_file(store: BaseStore, project: Path, tmp_path: Path) -> None:
    (project / "z").mkdir()
    os.link(project / "private", project / "z" / "other name")
    tree = merged(store, seed(store, project), tmp_path / "merged")
    assert (tree / "private").stat().st_ino == (tree / "z" / "other name").stat().st_ino


def test_files_are_never_links_to_the_source(store: BaseStore, project: Path) -> None:
    base = seed(store, project)
    layer = store.paths.layer(base.layers[0]) / "workspace"
    assert (layer / "private").stat().st_ino != (project / "private").stat().st_ino
    assert (layer / "private").stat().st_nlink == 1


def test_a_second_seed_writes_nothing(store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = seed(store, project)
    before = everything_below(store.paths.state)
    monkeypatch.setattr(trees, "TreeWriter", None)
    again = seed(store, project)
    assert again.cached
    assert (again.id, again.layers, again.origin) == (first.id, first.layers, first.origin)
    assert everything_below(store.paths.state) == before


def test_special_files_are_skipped_and_reported(store: BaseStore, project: Path, tmp_path: Path) -> None:
    os.mkfifo(project / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(project)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        base = seed(store, project)
    assert base.origin.skipped == ("pipe", "socket")
    assert not (merged(store, base, tmp_path / "merged") / "pipe").exists()


def test_privileges_and_attributes_stay_behind(store: BaseStore, project: Path) -> None:
    (project / "tool").chmod(0o6755)
    (project / "empty").chmod(0o1777)
    os.setxattr(project / "empty", "user.overlay.opaque", b"y")
    os.setxattr(project / "tool", "user.note", b"y")
    base = seed(store, project)
    layer = store.paths.layer(base.layers[0]) / "workspace"
    assert (layer / "tool").stat().st_mode & 0o7777 == 0o755
    assert (layer / "empty").stat().st_mode & 0o7777 == 0o777
    assert os.listxattr(layer / "empty") == os.listxattr(layer / "tool") == []


def test_a_huge_sparse_file_costs_nothing(store: BaseStore, tmp_path: Path) -> None:
    root = tmp_path / "sparse"
    root.mkdir()
    size = 1 << 40
    with open(root / "huge", "wb") as file:
        file.truncate(size)
        file.seek(size // 2 + 12345)
        file.write(b"in the middle")
    base = seed(store, root)
    copy = store.paths.layer(base.layers[0]) / "workspace/huge"
    assert copy.stat().st_size == size
    assert copy.stat().st_blocks * 512 < 1 << 20
    with open(copy, "rb") as file:
        file.seek(size // 2 + 12345)
        assert file.read(20) == b"in the middle" + bytes(7)
    assert base.stored_bytes < 1 << 20


def test_a_very_deep_folder_is_seeded(store: BaseStore, tmp_path: Path) -> None:
    root = tmp_path / "deep"
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("folder", dir_fd=fd)
        deeper = os.open("folder", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    with open(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=fd), "w") as file:
        file.write("x")
    os.link("leaf", "twin", src_dir_fd=fd, dst_dir_fd=fd)
    os.close(fd)
    base = seed(store, root)
    assert base.origin.files == 2
    assert len(base.layers) == 1
    from sandlot.bases.trees import remove_tree

    remove_tree(root)
    store.prune(set)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named_and_nothing_stays(store: BaseStore, project: Path) -> None:
    (project / "private").chmod(0)
    with pytest.raises(SeedUnreadable, match="private"):
        seed(store, project)
    assert everything_below(store.paths.layers) == everything_below(store.paths.bases) == []
    assert not [name for name in everything_below(store.paths.building) if not name.startswith("lock-")]


def test_a_file_that_vanishes_is_named_and_nothing_stays(
    store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = scanning.scan_all

    def scan_then_remove(*args: object, **options: object) -> object:
        found = scan(*args, **options)  # type: ignore[arg-type]  # passed through
        (project / "private").unlink()
        return found

    monkeypatch.setattr("sandlot.bases.folder.scan_all", scan_then_remove)
    with pytest.raises(SeedUnreadable, match="private vanished"):
        seed(store, project)
    assert everything_below(store.paths.layers) == everything_below(store.paths.bases) == []
    assert not [name for name in everything_below(store.paths.building) if not name.startswith("lock-")]


def test_a_file_that_keeps_growing_is_refused(store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copy_hashed

    def copy_while_it_grows(source: int, size: int, target: int | None) -> tuple[bytes, int]:
        if os.readlink(f"/proc/self/fd/{source}").endswith("/private"):
            with open(project / "private", "a") as file:
                file.write("more")
        return copy(source, size, target)

    monkeypatch.setattr(writing, "copy_hashed", copy_while_it_grows)
    with pytest.raises(SeedUnreadable, match="private changed while it was read"):
        seed(store, project)


def test_a_file_that_changed_once_is_read_again_and_not_trusted_next_time(
    store: BaseStore, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copy_hashed
    grown: list[bool] = []

    def copy_while_it_grows(source: int, size: int, target: int | None) -> tuple[bytes, int]:
        result = copy(source, size, target)
        if os.readlink(f"/proc/self/fd/{source}").endswith("/private") and not grown:
            grown.append(True)
            with open(project / "private", "a") as file:
                file.write("more")
        return result

    monkeypatch.setattr(writing, "copy_hashed", copy_while_it_grows)
    base = seed(store, project)
    assert (merged(store, base, tmp_path / "merged") / "private").read_text() == "pmore"
    assert seed(store, project).id == base.id


def test_a_folder_swapped_for_a_symlink_is_not_followed(
    store: BaseStore, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    scan = scanning.scan_all

    def scan_then_swap(*args: object, **options: object) -> object:
        found = scan(*args, **options)  # type: ignore[arg-type]  # passed through
        (project / "read only").rename(project / "moved")
        (project / "read only").symlink_to(secret)
        return found

    monkeypatch.setattr("sandlot.bases.folder.scan_all", scan_then_swap)
    with pytest.raises(SeedUnreadable, match="read only"):
        seed(store, project)


def test_our_own_state_is_no_seed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = store_at(home / "state")
    with pytest.raises(SeedUnreadable, match="own state"):
        seed(store, home)
    with pytest.raises(SeedUnreadable, match="inside sandlot's own state"):
        seed(store, home / "state" / "layers")


def test_the_root_folder_is_no_seed(store: BaseStore) -> None:
    with pytest.raises(SeedUnreadable, match="root of the file system"):
        seed(store, "/")


def test_a_missing_folder_is_told(store: BaseStore, tmp_path: Path) -> None:
    with pytest.raises(PathNotFound):
        seed(store, tmp_path / "nothing")


def test_a_full_disk_is_told_and_leaves_nothing(
    store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: int, size: int, target: int | None) -> tuple[bytes, int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "copy_hashed", full)
    with pytest.raises(StateUnwritable, match="no space left"):
        seed(store, project)
    assert everything_below(store.paths.layers) == everything_below(store.paths.bases) == []


def test_an_interruption_leaves_nothing(store: BaseStore, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: int, size: int, target: int | None) -> tuple[bytes, int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "copy_hashed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        seed(store, project)
    assert everything_below(store.paths.layers) == []
    assert not [name for name in everything_below(store.paths.building) if not name.startswith("lock-")]


def test_a_file_as_new_as_the_scan_is_read_again(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "RACY_NS", 10**15)  # everything is new
    store = BaseStore(Paths.at(tmp_path / "state"))
    seed(store, project)
    assert not [name for name in os.listdir(store.paths.sources) if not name.endswith(".last")]
    assert seed(store, project).cached  # read again, and found to be the same
