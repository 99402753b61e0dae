"""receive: what the host pushes arrives whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.guest.tools import ToolError, parcel, receive, swap
from tests.guest.calling import Answer, call, picture, refusal

TIME = 1_600_000_000_123_456_789


def send(root: Path, *records: bytes, force: int = 0) -> Answer:
    return call("receive", root, force, content=b"".join(records) + parcel.end())


def refused(root: Path, *records: bytes, force: int = 0) -> ToolError:
    before = picture(root)
    error = refusal("receive", root, force, content=b"".join(records) + parcel.end())
    assert picture(root) == before
    return error


def a_file(path: bytes, content: bytes, mode: int = 0o644) -> bytes:
    return parcel.file(path, mode, TIME, len(content)) + content


def expect_file(path: bytes, content: bytes) -> bytes:
    return parcel.expect(path, b"f", len(content), hashlib.sha256(content).hexdigest().encode())


def test_files_folders_symlinks_and_deletions_arrive_with_modes_and_times(tmp_path: Path) -> None:
    (tmp_path / "edit").write_bytes(b"old")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "f").write_bytes(b"")
    (tmp_path / "gone" / "link").symlink_to("/")
    answer = send(
        tmp_path,
        expect_file(b"edit", b"old"),
        parcel.expect(b"new/\xff\n", b""),
        parcel.delete(b"gone"),
        parcel.delete(b"gone/f"),
        parcel.delete(b"gone/link"),
        parcel.delete(b"never"),
        parcel.folder(b"ro", 0o555, TIME),
        a_file(b"edit", b"new", 0o600),
        a_file(b"new/\xff\n", b"x" * 1_000_000, 0o755),
        a_file(b"ro/f", b""),
        parcel.symlink(b"link", TIME, b"../anywhere"),
    )
    assert answer.numbers == [3, 1, 1, 3, 0]
    seen = picture(tmp_path)
    assert sorted(seen) == [b"edit", b"link", b"new", b"new/\xff\n", b"ro", b"ro/f"]
    assert seen[b"edit"] == ("f", 0o600, b"new")
    assert seen[b"new/\xff\n"] == ("f", 0o755, b"x" * 1_000_000)
    assert seen[b"link"] == ("l", 0, b"../anywhere")
    assert seen[b"ro"][1] == 0o555
    for name in ("edit", "link", "ro"):
        assert (tmp_path / name).lstat().st_mtime_ns == TIME


def test_every_conflict_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "changed").write_bytes(b"mine")
    (tmp_path / "new").write_bytes(b"mine")
    (tmp_path / "type").mkdir()
    (tmp_path / "to").symlink_to("mine")
    (tmp_path / "parent").symlink_to("type")
    (tmp_path / "same").write_bytes(b"same")
    records = [
        expect_file(b"changed", b"base"),
        parcel.expect(b"new", b""),
        expect_file(b"type", b""),
        parcel.expect(b"deleted", b"f", 3),
        parcel.expect(b"to", b"l", 0, hashlib.sha256(b"base").hexdigest().encode()),
        parcel.expect(b"parent/x", b""),
        expect_file(b"same", b"same"),
    ]
    error = refused(tmp_path, *records, parcel.delete(b"same"), a_file(b"same", b"pushed"))
    assert error.code == "sync_conflict"
    assert [line.split(":")[0] for line in error.details] == ["changed", "new", "type", "deleted", "to", "parent/x"]
    send(tmp_path, *records, a_file(b"changed", b"pushed"), force=1)
    assert (tmp_path / "changed").read_bytes() == b"pushed"


def test_a_symlinked_or_wrong_parent_is_a_conflict_even_by_force(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (root / "to").symlink_to("../outside")
    (root / "file").write_bytes(b"")
    (outside / "victim").write_bytes(b"safe")
    for path in (b"to/f", b"to/victim", b"file/f"):
        error = refused(root, a_file(path, b"bad"), force=1)
        assert error.code == "sync_conflict"
        assert path.decode() in error.details[0]
    assert refused(root, parcel.delete(b"to/victim"), force=1).code == "sync_conflict"
    assert refused(root, parcel.folder(b"to/x", 0o755, 0), force=1).code == "sync_conflict"
    assert picture(outside).keys() == {b"victim"}


def test_a_file_becomes_a_folder_and_a_folder_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"file")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"")
    send(
        tmp_path,
        expect_file(b"a", b"file"),
        parcel.expect(b"a/x", b""),
        parcel.expect(b"b", b"d"),
        parcel.delete(b"a"),
        parcel.delete(b"b"),
        parcel.delete(b"b/c"),
        parcel.folder(b"a", 0o755, TIME),
        a_file(b"a/x", b"in a"),
        a_file(b"b", b"was a folder"),
    )
    assert {path: entry[2] for path, entry in picture(tmp_path).items()} == {
        b"a": b"",
        b"a/x": b"in a",
        b"b": b"was a folder",
    }


def test_a_folder_that_holds_more_is_kept_and_blocks_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine").write_bytes(b"")
    assert send(tmp_path, parcel.delete(b"d")).numbers == [0, 0, 0, 0, 1]
    error = refused(tmp_path, parcel.delete(b"d"), a_file(b"d", b"x"))
    assert error.code == "sync_conflict"
    assert "holds something" in error.details[0]


def test_a_file_changed_after_the_check_is_a_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"base")
    (tmp_path / "g").write_bytes(b"base")
    real = receive._Delivery.carry_out

    def late(delivery: receive._Delivery) -> None:
        (tmp_path / "g").write_bytes(b"late")
        real(delivery)

    monkeypatch.setattr(receive._Delivery, "carry_out", late)
    expectations = [expect_file(b"f", b"base"), expect_file(b"g", b"base")]
    content = b"".join([*expectations, a_file(b"f", b"pushed"), a_file(b"g", b"pushed"), parcel.end()])
    error = refusal("receive", tmp_path, 0, content=content)
    assert (error.code, error.details) == ("sync_conflict", ["g: was changed just now"])
    assert {path: entry[2] for path, entry in picture(tmp_path).items()} == {b"f": b"base", b"g": b"late"}


def test_a_failure_half_way_puts_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"old")
    real = swap.Swap.put

    def failing(self: swap.Swap, number: bytes, path: bytes) -> None:
        if path == b"c":
            raise OSError(28, "No space left on device")
        real(self, number, path)

    monkeypatch.setattr(swap.Swap, "put", failing)
    error = refused(tmp_path, *(a_file(name, b"new") for name in (b"a", b"b", b"new/x", b"c")))
    assert error.code == "file_refused"
    assert error.message == "c: no space left in the workspace"


@pytest.mark.parametrize("path", [b"../x", b"/etc/x", b"a//b", b"a/./b", b"a/..", b"x/"])
def test_unsafe_paths_are_refused(tmp_path: Path, path: bytes) -> None:
    for record in (a_file(path, b""), parcel.delete(path), parcel.folder(path, 0o755, 0), parcel.expect(path, b"")):
        assert refused(tmp_path, record, force=1).code == "unsafe_path"


WHOLE = (
    b"".join(
        [expect_file(b"f", b"base"), parcel.delete(b"g"), parcel.folder(b"d", 0o755, 1), a_file(b"d/f", b"content")]
    )
    + parcel.end()
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3), st.booleans())
def test_a_cut_or_damaged_parcel_changes_nothing_or_is_a_valid_one(cut: int, noise: bytes, shorten: bool) -> None:
    import tempfile

    data = WHOLE[:cut] + noise + (b"" if shorten else WHOLE[cut + len(noise) :])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "f").write_bytes(b"base")
        (root / "g").write_bytes(b"")
        before = picture(root)
        try:
            call("receive", root, 0, content=data)
        except ToolError:
            assert picture(root) == before
        assert not [name for name in os.listdir(root) if name.startswith(".sandlot")]


def test_twenty_thousand_files_arrive_in_one_parcel(tmp_path: Path) -> None:
    records = [a_file(b"d%d/f%d" % (i % 100, i), b"%d" % i) for i in range(20_000)]
    assert send(tmp_path, *records).numbers[0] == 20_000
    assert (tmp_path / "d7/f7").read_bytes() == b"7"
    assert stat.S_IMODE((tmp_path / "d7/f7").stat().st_mode) == 0o644
