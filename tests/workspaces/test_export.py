"""copy_out and archive_out: what leaves a workspace, and that nothing else does."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.errors import FileRefused, PathNotFound, SandlotError, TargetExists, UnsafePath, UsageError
from sandlot.workspaces.export import LISTED, archive_out, copy_out
from tests.layertrees import state_of_tree, state_of_view


@pytest.fixture
def stack(tmp_path: Path) -> list[Path]:
    low, up = tmp_path / "low", tmp_path / "up"
    (low / "src" / "empty").mkdir(parents=True)
    (low / "src" / "tool").write_text("#!/bin/sh\n")
    (low / "src" / "tool").chmod(0o4755)
    (low / "src" / "deleted").write_text("x")
    (up / "src").mkdir(parents=True)
    os.mknod(up / "src" / "deleted", stat.S_IFCHR)
    (up / "src" / "new").write_text("new\n")
    os.utime(up / "src" / "new", ns=(3, 1_600_000_000_000_000_005))
    os.link(up / "src" / "new", up / "src" / "twin")
    (up / "src" / "inside").symlink_to("new")
    (up / "src" / "outside").symlink_to("../../etc/passwd")
    (up / "src" / "absolute").symlink_to("/etc/passwd")
    os.mkfifo(up / "src" / "fifo")
    (up / "src" / b"n\nl\xff".decode("utf-8", "surrogateescape")).write_text("odd name")
    (up / "src").chmod(0o555)
    return [low, up]


def unpack(archive: Path, target: Path) -> None:
    """With a tar program that is not Python's, to see that others understand what we write."""
    target.mkdir()
    done = subprocess.run(["tar", "-xpf", archive, "-C", target], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "host").mkdir()
    return tmp_path / "host"


def test_a_folder_comes_out_as_it_is_shown(stack: list[Path], host: Path) -> None:
    done = copy_out(stack, b"src", host / "out")
    expected = {
        path.removeprefix(b"src/"): value for path, value in state_of_view(stack).items() if path.startswith(b"src/")
    }
    assert state_of_tree(host / "out") == expected
    assert done.skipped == ("src/fifo",)
    assert set(done.escaping_links) == {"src/outside", "src/absolute"}
    assert done.files == len([value for value in expected.values() if value != ("folder",)])
    assert os.listdir(host) == ["out"]


def test_modes_times_and_hard_links_come_along_but_no_setuid(stack: list[Path], host: Path) -> None:
    copy_out(stack, b"src", host / "out")
    out = host / "out"
    assert stat.S_IMODE((out / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE(out.stat().st_mode) == 0o555
    assert (out / "new").stat().st_mtime_ns == 1_600_000_000_000_000_005
    assert (out / "new").stat().st_ino == (out / "twin").stat().st_ino
    assert (out / "empty").is_dir()


def test_a_single_file_and_a_single_link_come_out(stack: list[Path], host: Path) -> None:
    assert copy_out(stack, b"src/new", host / "renamed").files == 1
    assert (host / "renamed").read_text() == "new\n"
    assert copy_out(stack, b"src/absolute", host / "link").escaping_links == ("src/absolute",)
    assert os.readlink(host / "link") == "/etc/passwd"


def test_the_whole_workspace_comes_out(stack: list[Path], host: Path) -> None:
    copy_out(stack, b"", host / "all")
    assert state_of_tree(host / "all") == state_of_view(stack)


def test_what_exists_stays_unless_overwriting_was_asked_for(stack: list[Path], host: Path) -> None:
    (host / "out").mkdir()
    (host / "out" / "mine").write_text("mine")
    with pytest.raises(TargetExists) as caught:
        copy_out(stack, b"src", host / "out")
    assert "--overwrite" in caught.value.hint
    assert (host / "out" / "mine").read_text() == "mine"
    copy_out(stack, b"src", host / "out", overwrite=True)
    assert not (host / "out" / "mine").exists()
    assert (host / "out" / "new").exists()
    copy_out(stack, b"src/new", host / "out", overwrite=True)
    assert (host / "out").read_text() == "new\n"
    assert os.listdir(host) == ["out"]


def test_a_symlink_at_the_destination_is_replaced_not_followed(stack: list[Path], host: Path) -> None:
    (host / "precious").write_text("precious")
    (host / "out").symlink_to("precious")
    with pytest.raises(TargetExists):
        copy_out(stack, b"src/new", host / "out")
    copy_out(stack, b"src/new", host / "out", overwrite=True)
    assert not (host / "out").is_symlink()
    assert (host / "precious").read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "name", "error"),
    [
        (b"nothing", "out", PathNotFound),
        (b"src/inside/x", "out", PathNotFound),
        (b"src/new", "no/such/out", PathNotFound),
        (b"src/../..", "out", UnsafePath),
        (b"/etc/passwd", "out", UnsafePath),
        (b"src/fifo", "out", FileRefused),
        (b"src/new", "..", UsageError),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(
    stack: list[Path], host: Path, path: bytes, name: str, error: type[SandlotError]
) -> None:
    with pytest.raises(error):
        copy_out(stack, path, host / name)
    assert os.listdir(host) == []


def test_a_folder_that_became_a_symlink_to_the_host_leads_nowhere(stack: list[Path], host: Path) -> None:
    (stack[1] / "way").symlink_to("/etc")
    with pytest.raises(PathNotFound):
        copy_out(stack, b"way/passwd", host / "out")
    copy_out(stack, b"way", host / "out")
    assert os.readlink(host / "out") == "/etc"


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_an_interrupted_export_leaves_nothing(
    stack: list[Path], host: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sandlot.bases.copying.copy_content", interrupted)
    monkeypatch.setattr("sandlot.workspaces.archive._pieces", interrupted)
    with pytest.raises(KeyboardInterrupt):
        (copy_out if name == "out" else archive_out)(stack, b"src", host / name)
    assert os.listdir(host) == []


def test_only_so_many_names_are_listed(stack: list[Path], host: Path) -> None:
    (stack[1] / "pipes").mkdir()
    for number in range(LISTED + 20):
        os.mkfifo(stack[1] / "pipes" / str(number))
    assert len(copy_out(stack, b"pipes", host / "out").skipped) == LISTED


def test_holes_stay_holes(stack: list[Path], host: Path) -> None:
    (stack[1] / "huge").touch()
    os.truncate(stack[1] / "huge", 1 << 40)
    copy_out(stack, b"huge", host / "huge")
    info = (host / "huge").stat()
    assert (info.st_size, info.st_blocks) == (1 << 40, 0)


@pytest.mark.parametrize("name", ["out.tar", "out.tar.gz", "out.tgz"])
def test_an_archive_holds_what_is_shown(stack: list[Path], host: Path, name: str) -> None:
    done = archive_out(stack, b"src", host / name)
    assert done.skipped == ("src/fifo",)
    assert set(done.escaping_links) == {"src/outside", "src/absolute"}
    unpack(host / name, host / "tree")
    assert state_of_tree(host / "tree") == {
        path: value for path, value in state_of_view(stack).items() if path.startswith(b"src")
    }
    assert (host / "tree/src/new").stat().st_ino == (host / "tree/src/twin").stat().st_ino
    assert stat.S_IMODE((host / "tree/src/tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((host / "tree/src").stat().st_mode) == 0o555
    remove_tree(host / "tree")


def test_an_archive_of_everything_has_relative_names(stack: list[Path], host: Path) -> None:
    archive_out(stack, b"", host / "all.tar")
    with tarfile.open(host / "all.tar", errors="surrogateescape") as archive:
        names = archive.getnames()
    assert names[:2] == [".", "src"]
    assert not any(name.startswith("/") for name in names)


def test_a_terabyte_of_hole_fits_into_a_small_archive(stack: list[Path], host: Path) -> None:
    with open(stack[1] / "huge", "wb") as file:
        file.write(b"head")
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"middle")
    archive_out(stack, b"huge", host / "out.tar")
    assert (host / "out.tar").stat().st_size < 1 << 20
    unpack(host / "out.tar", host / "tree")
    with open(host / "tree" / "huge", "rb") as file:
        assert os.fstat(file.fileno()).st_size == 1 << 40
        assert file.read(4) == b"head"
        file.seek(1 << 39)
        assert file.read(6) == b"middle"


def test_an_archive_needs_a_known_suffix_and_a_free_name(stack: list[Path], host: Path) -> None:
    with pytest.raises(UsageError, match=r"\.tar"):
        archive_out(stack, b"src", host / "out.rar")
    (host / "out.tar").write_text("mine")
    with pytest.raises(TargetExists):
        archive_out(stack, b"src", host / "out.tar")
    archive_out(stack, b"src", host / "out.tar", overwrite=True)
    assert tarfile.is_tarfile(host / "out.tar")


def test_a_file_that_shrinks_while_it_is_archived_leaves_the_archive_whole(
    stack: list[Path], host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stack[1] / "live").mkdir()
    (stack[1] / "live" / "a").write_bytes(b"x" * 100_000)
    (stack[1] / "live" / "b").write_bytes(b"after")
    real = os.pread

    def shrinking(fd: int, length: int, at: int) -> bytes:
        os.truncate(stack[1] / "live" / "a", 10)
        return real(fd, length, at)

    monkeypatch.setattr(os, "pread", shrinking)
    archive_out(stack, b"live", host / "out.tar")
    with tarfile.open(host / "out.tar") as archive:
        last = archive.extractfile("live/b")
        assert last is not None
        assert last.read() == b"after"
