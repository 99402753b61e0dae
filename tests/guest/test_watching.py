"""What the watcher counts: trees, processes, memory, files without a name."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.guest import measure, usage, watch
from sandlot.guest.storage_watch import StorageWatch

MIB = 1 << 20


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    """Walking changes the working folder."""
    before = os.getcwd()
    yield
    os.chdir(before)


def counted(root: Path, most_bytes: int = 1 << 40, most_inodes: int = 1 << 20) -> measure.Counter:
    counter = measure.Counter()
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        measure.walk(descriptor, counter, most_bytes, most_inodes)
    finally:
        os.close(descriptor)
    return counter


def test_a_tree_counts_what_it_holds_on_the_disk(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "big").write_bytes(b"x" * 4 * MIB)
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_bytes(b"x" * MIB)
    os.link(tree / "sub" / "file", tree / "again")
    (tree / "link").symlink_to(outside)
    with open(tree / "sparse", "wb") as sparse:
        sparse.truncate(1 << 40)
    found = counted(tree)
    assert MIB <= found.bytes < 2 * MIB
    assert found.inodes == 4  # sub, file (once), link, sparse
    assert found.closed == 0


def test_a_tree_deeper_than_any_path_is_counted(tmp_path: Path) -> None:
    os.chdir(tmp_path)
    for _ in range(100):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    with open("file", "wb") as file:
        file.write(b"x" * MIB)
    found = counted(tmp_path)
    assert found.inodes == 101
    assert found.bytes >= MIB


def test_counting_stops_when_it_is_too_much_anyway(tmp_path: Path) -> None:
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "file").touch()
    assert counted(tmp_path, most_inodes=10).inodes == 100


def test_files_without_a_name_are_found_by_who_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "TMPFS", ("/dev/shm",))  # on the host, /tmp may well be on the disk
    monkeypatch.setattr(measure, "IN_MEMORY", (b"/dev/shm/", b"/memfd:"))
    monkeypatch.setattr(measure, "_others", lambda _: iter([str(os.getpid())]))
    path = tmp_path / "gone"
    path.write_bytes(b"x" * MIB)
    memory = os.memfd_create("quiet")
    os.write(memory, b"x" * 2 * MIB)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), MIB, prot=mmap.PROT_READ) as mapped:
        path.unlink()
        assert mapped[0] == ord("x")
        disk, held, _, there = measure.nameless(set())
    os.close(memory)
    assert disk >= MIB
    assert held >= 2 * MIB
    assert there >= MIB


def test_processes_belong_to_the_worker_they_descend_from() -> None:
    def line(pid: int, parent: int) -> usage.Process:
        fields = ["S", str(parent), *["0"] * 8, "0", "3", "4", "0", "0", "0", "0", "2", "0", "77", "0", "5", "0"]
        return usage.Process(pid, b"%d (a) b) " % pid + " ".join(fields).encode())

    table = {each.pid: each for each in (line(1, 0), line(5, 1), line(6, 5), line(7, 6), line(8, 1), line(9, 8))}
    groups = usage.grouped(table, {5}, {1, 5})
    assert {root: sorted(each.pid for each in group) for root, group in groups.items()} == {
        5: [6, 7], usage.LEFTOVERS: [8, 9]
    }  # fmt: skip
    assert (table[7].threads, table[7].start, table[7].rss) == (2, 77, 5 * usage.PAGE)


def test_what_others_free_does_not_pay_for_what_is_written_here(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [100 * MIB]
    monkeypatch.setattr("sandlot.guest.storage_watch._free", lambda: (free[0], 1 << 20))
    monkeypatch.setattr(StorageWatch, "_tmp", lambda _: "")
    monkeypatch.setattr(StorageWatch, "_floor", lambda _: 0)
    storage = StorageWatch({"disk": str(20 * MIB), "fresh": "1"})
    started: list[object] = []
    monkeypatch.setattr(storage, "_start", started.append)
    storage.wake()
    storage.look(set())
    assert not started
    free[0] = 600 * MIB  # somebody deletes half a gigabyte
    storage.look(set())
    free[0] = 550 * MIB  # and somebody writes 50 MB
    storage.look(set())
    assert started


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (b"OSError: [Errno 24] Too many open files: '/dev/null'\n", 256, "hit:open_files"),
        (b"OSError: [Errno 24] Too many open files: '/dev/null'\n", 0, ""),
        (b"Too many open files in system", 256, ""),
        (b"cp: No space left on device\n", 256, "hit:tmp"),
        (b"", 256, ""),
        (b"\xff\x00", 9, ""),
    ],
)
def test_last_words_tell_what_nobody_counts(
    monkeypatch: pytest.MonkeyPatch, words: bytes, status: int, reason: str
) -> None:
    monkeypatch.setattr(watch.Hits, "files", True)
    monkeypatch.setattr(watch, "_full", lambda _: False)
    assert watch.Hits().reason_said(status, words) == reason


def test_who_has_no_limit_is_never_looked_at() -> None:
    idle = watch.Watch("")
    idle.wake()
    assert not idle.due()
    assert idle.sooner(None) is None
    busy = watch.Watch("processes=4")
    assert not busy.due()
    busy.wake()
    timeout = busy.sooner(None)
    assert timeout is not None
    assert 0 < timeout <= 1000 * watch.FIRST_S + 1


def test_memory_is_measured_where_nobody_limits_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest's disk is held by its kernel: what nobody has mapped is looked for all the same."""
    monkeypatch.setattr("sandlot.guest.storage_watch._free", lambda: (100 * MIB, 1 << 20))
    watching = StorageWatch({})
    file = os.memfd_create("quiet")
    try:
        os.write(file, b"x" * (4 * MIB))
        watching.want({1})
        end = time.monotonic() + 60
        while watching.busy():
            assert time.monotonic() < end
            assert watching.look({1})[0] == ""
        assert watching.result_of_memory is not None
        assert watching.result_of_memory >= 4 * MIB
    finally:
        os.close(file)


def test_where_a_look_is_known_to_be_dear_the_first_one_waits() -> None:
    for told, least, most in (("memory=1000000000", 0.0, 0.1), ("memory=1000000000,cost=100", 0.9, 1.1)):
        watching = watch.Watch(told)
        before = time.monotonic()
        watching.wake()
        assert least <= watching.at - before <= most + time.monotonic() - before
