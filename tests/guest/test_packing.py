"""Layers as streams: what goes through one comes out as it was, and what a hostile sender may not do."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandlot.bases import shipping
from sandlot.bases.trees import remove_tree
from sandlot.bases.view import OPAQUE, is_whiteout
from sandlot.errors import FileRefused, ProtocolError
from sandlot.guest.packing import Packing
from sandlot.guest.unpacking import Reader
from sandlot.wire import layers as wire
from tests.layertrees import File, Folder, Gone, Link, build, layers

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PLENTY = 1 << 30


def packed(folder: Path) -> bytes:
    """The stream of a layer folder."""
    parts: list[bytes] = []
    shipping.send(folder, lambda data: parts.append(bytes(data)))
    return b"".join(parts)


def trickling(data: bytes, size: int) -> Callable[[int], bytes]:
    """A source that gives little at a time."""
    pieces = iter([data[at : at + size] for at in range(0, len(data), size)])
    return lambda _: next(pieces, b"")


def unpacked(data: bytes, folder: Path, *, at_once: int = 1 << 20, size: int = PLENTY, entries: int = 1000) -> None:
    shipping.receive(Reader(trickling(data, at_once)), folder, most_bytes=size, most_entries=entries)


def picture(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything about a tree that is to survive, hard links by the first of their names."""
    seen: dict[bytes, tuple[object, ...]] = {}
    names: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(root)
    for where, folders, files in os.walk(top):
        for name in [b"", *sorted(folders + files)] if where == top else sorted(folders + files):
            path = os.path.join(where, name)
            info = os.lstat(path)
            data: object = None
            if stat.S_ISREG(info.st_mode):
                data = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(info.st_mode):
                data = os.readlink(path)
            kept = {}
            if not stat.S_ISLNK(info.st_mode):
                kept = {
                    each: os.getxattr(path, each)
                    for each in os.listxattr(path)
                    if each == OPAQUE or not each.startswith("user.overlay.")
                }
            leader = names.setdefault((info.st_dev, info.st_ino), path) if info.st_nlink > 1 and data else path
            mtime = 0 if is_whiteout(info) else info.st_mtime_ns
            seen[os.path.relpath(path, top)] = (
                stat.S_IFMT(info.st_mode),
                0 if is_whiteout(info) else stat.S_IMODE(info.st_mode),
                mtime,
                data,
                os.path.relpath(leader, top),
                kept,
            )
    return seen


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pack-"))
    try:
        yield folder
    finally:
        remove_tree(folder)


@SLOW
@given(layers(), st.sampled_from([1, 7, 1 << 20]))
@example(Folder({b"a": Folder({b"b": Gone(), b"c": Link(b"/etc")}, opaque=True), b"x": File(b"", True)}), 1)
def test_a_layer_arrives_as_it_was(tree: Folder, at_once: int) -> None:
    with scratch() as folder:
        build(folder / "from", Folder(tree.children))
        data = packed(folder / "from")
        unpacked(data, folder / "to", at_once=at_once)
        assert picture(folder / "from") == picture(folder / "to")


def test_everything_odd_arrives(tmp_path: Path) -> None:
    top = tmp_path / "from"
    (top / "closed" / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "closed" / "script").write_bytes(b"#!/bin/sh\n")
    (top / "closed" / "script").chmod(0o4751)
    os.link(top / "closed" / "script", top / "twin")
    os.link(top / "closed" / "script", top / "closed" / "deep" / "triplet")
    os.setxattr(top / "twin", "user.mine", b"kept\0")
    os.setxattr(top / "twin", "user.overlay.redirect", b"/etc")
    os.setxattr(top / "empty", "user.folder", b"")
    os.mkfifo(top / "fifo", 0o640)
    (top / b"\xff\xfe\n".decode("utf-8", "surrogateescape")).write_text("x")
    with open(top / "sparse", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 30)
        file.write(b"middle")
    (top / "large").write_bytes(os.urandom(700_001))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "socket"))
    os.utime(top / "twin", ns=(1, 1_234_567_890_123_456_789))
    os.utime(top / "closed" / "deep", ns=(1, -5))
    (top / "closed").chmod(0o555)
    top.chmod(0o711)
    unpacked(packed(top), tmp_path / "to")
    (top / "socket").unlink()
    os.utime(top, ns=(0, os.stat(tmp_path / "to").st_mtime_ns))
    sparse = {each: (tmp_path / each / "sparse").stat() for each in ("from", "to")}
    assert sparse["to"].st_size == 1 << 40
    assert sparse["to"].st_blocks * 512 < 1 << 20
    with open(tmp_path / "to" / "sparse", "rb") as file:
        file.seek(1 << 30)
        assert file.read(6) == b"middle"
    for each in ("from", "to"):
        (tmp_path / each / "sparse").unlink()
        os.utime(tmp_path / each, ns=(0, 0))
    assert picture(top) == picture(tmp_path / "to")
    assert (tmp_path / "to" / "twin").stat().st_ino == (tmp_path / "to" / "closed" / "deep" / "triplet").stat().st_ino
    assert not (tmp_path / "to.links").exists()


def test_a_tree_of_any_depth_needs_few_descriptors(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for name in (b"from", *[b"d" * 100] * 3000):
        os.mkdir(name, dir_fd=at)
        deeper = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(at)
    try:
        data = packed(tmp_path / "from")
        assert len(data) < 1_000_000
        unpacked(data, tmp_path / "to", entries=5000)
        assert packed(tmp_path / "to") == data
    finally:
        remove_tree(tmp_path / "from")
        remove_tree(tmp_path / "to")


def test_an_ordinary_users_closed_folders_arrive_and_stay_closed(
    ordinary_user: Callable[[list[str]], object],
) -> None:
    done = ordinary_user(["-c", CLOSED])
    assert getattr(done, "stdout", b"") == b"same\n", done


CLOSED = """
import os, pathlib, tempfile
from sandlot.bases import shipping
from sandlot.bases.trees import remove_tree
from sandlot.guest.unpacking import Reader
root = pathlib.Path(tempfile.mkdtemp(prefix="sl-"))
top = root / "from"
(top / "closed" / "inner").mkdir(parents=True)
(top / "closed" / "inner" / "secret").write_text("x")
(top / "closed" / "inner" / "secret").chmod(0)
os.mknod(top / "closed" / "gone", 0o020000, 0)
(top / "closed" / "inner").chmod(0o300)
(top / "closed").chmod(0)
def stream(folder):
    parts = []
    shipping.send(folder, lambda data: parts.append(bytes(data)))
    return b"".join(parts)
data = stream(top)
pieces = iter([data])
shipping.receive(Reader(lambda _: next(pieces, b"")), root / "to", most_bytes=10**6, most_entries=100)
assert stream(root / "to") == data
assert (top / "closed").stat().st_mode & 0o777 == 0 == (root / "to" / "closed").stat().st_mode & 0o777
remove_tree(root)
print("same")
"""


def head(kind: int, name: bytes = b"", *, flags: int = 0, mode: int = 0o755, number: int = 0) -> bytes:
    return wire.HEAD.pack(kind, flags, mode, len(name), 0, number) + name


ROOT = wire.MAGIC + head(wire.FOLDER)
TAIL = head(wire.UP) + head(wire.END)
NOTHING = wire.PIECE.pack(0)


def piece(data: bytes) -> bytes:
    return wire.PIECE.pack(len(data)) + data + NOTHING


HOSTILE = {
    "nothing": b"",
    "no layer": b"x" * 100,
    "no end": ROOT + head(wire.UP),
    "cut in a file": ROOT + head(wire.FILE, b"a") + wire.PIECE.pack(1 << 20) + b"x",
    "no root": wire.MAGIC + head(wire.FILE, b"a") + piece(b"x") + TAIL,
    "a root with a name": wire.MAGIC + head(wire.FOLDER, b"a") + TAIL,
    "an opaque root": wire.MAGIC + head(wire.FOLDER, flags=wire.OPAQUE) + TAIL,
    "up beyond the root": ROOT + head(wire.UP) + head(wire.UP) + TAIL,
    "two roots": ROOT + head(wire.UP) + ROOT + TAIL,
    "dot dot": ROOT + head(wire.FOLDER, b"..") + head(wire.UP) + TAIL,
    "dot": ROOT + head(wire.FILE, b".") + piece(b"") + TAIL,
    "no name": ROOT + head(wire.FILE) + piece(b"") + TAIL,
    "a path": ROOT + head(wire.FILE, b"../x") + piece(b"x") + TAIL,
    "an absolute path": ROOT + head(wire.FILE, b"/etc/x") + piece(b"x") + TAIL,
    "a zero byte": ROOT + head(wire.FILE, b"a\0b") + piece(b"x") + TAIL,
    "a long name": ROOT + head(wire.FILE, b"a" * 256) + piece(b"x") + TAIL,
    "twice": ROOT + (head(wire.FILE, b"a") + piece(b"x")) * 2 + TAIL,
    "a folder where a link is": ROOT
    + head(wire.SYMLINK, b"a", number=4) + b"/tmp" + head(wire.FOLDER, b"a") + head(wire.UP) + TAIL,
    "a file where a link is": ROOT + head(wire.SYMLINK, b"a", number=4) + b"/tmp" + head(wire.FILE, b"a") + TAIL,
    "a link to nothing": ROOT + head(wire.SYMLINK, b"a") + TAIL,
    "a long link": ROOT + head(wire.SYMLINK, b"a", number=1 << 40) + TAIL,
    "one more name of nothing": ROOT + head(wire.AGAIN, b"a", number=0) + TAIL,
    "an unknown kind": ROOT + head(77, b"a") + TAIL,
    "endless holes": ROOT + head(wire.FILE, b"a") + wire.PIECE.pack(wire.HOLE) * 20_000 + NOTHING + TAIL,
    "too long a file": ROOT + head(wire.FILE, b"a") + wire.PIECE.pack(wire.HOLE | (1 << 62)) * 2 + NOTHING + TAIL,
    "too many bytes": ROOT + head(wire.FILE, b"a") + piece(b"x" * 100_001) + TAIL,
    "too many entries": ROOT + b"".join(head(wire.WHITEOUT, b"%d" % n) for n in range(1001)) + TAIL,
    "too deep": ROOT + b"".join(head(wire.FOLDER, b"a") for _ in range(1001)) + TAIL,
    "a large attribute": ROOT
    + head(wire.FILE, b"a", flags=wire.ATTRIBUTES) + wire.VALUE.pack(6, 1 << 31) + b"user.x" + TAIL,
    "endless attributes": ROOT
    + head(wire.FILE, b"a", flags=wire.ATTRIBUTES) + (wire.VALUE.pack(6, 0) + b"user.x") * 20_000 + TAIL,
    "a broken sender": ROOT + head(wire.BROKEN, number=3) + b"\x1b[2",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_layer_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises((ProtocolError, FileRefused)) as caught:
        unpacked(HOSTILE[name], tmp_path / "to", size=100_000)
    assert os.listdir(tmp_path) == []
    assert "\x1b" not in str(caught.value)


def test_what_a_guest_forges_has_no_meaning_on_the_host(tmp_path: Path) -> None:
    forged = b"".join(
        wire.VALUE.pack(len(name), 1) + name + b"y"
        for name in (b"user.overlay.opaque", b"user.overlay.redirect", b"trusted.x", b"security.capability", b"user.ok")
    ) + wire.VALUE.pack(0, 0)
    data = (
        ROOT
        + head(wire.FOLDER, b"d", flags=wire.ATTRIBUTES, mode=0o7777) + forged
        + head(wire.FILE, b"f", flags=wire.ATTRIBUTES, mode=0o7777) + forged + piece(b"x")
        + head(wire.UP) + TAIL
    )  # fmt: skip
    unpacked(data, tmp_path / "to")
    for path in (tmp_path / "to" / "d", tmp_path / "to" / "d" / "f"):
        assert os.listxattr(path) == ["user.ok"]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_noise_in_a_stream_never_leads_out_or_hangs(data: st.DataObject) -> None:
    with scratch() as folder:
        build(folder / "from", data.draw(layers()))
        stream = bytearray(packed(folder / "from"))
        for _ in range(data.draw(st.integers(1, 4))):
            stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
        outside = {each for each in os.listdir(folder) if each != "to"}
        try:
            unpacked(bytes(stream), folder / "to", size=1 << 20)
        except (ProtocolError, FileRefused):
            assert not (folder / "to").exists()
        assert {each for each in os.listdir(folder) if each != "to"} == outside


def test_a_tree_that_changes_meanwhile_is_left_out_or_ends_the_walk(tmp_path: Path) -> None:
    top = tmp_path / "from"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_bytes(b"x" * 300_000)
    (top / "elsewhere").mkdir()

    class Moving(Packing):
        def open_file(self, parent: int, name: bytes) -> int:
            file = super().open_file(parent, name)
            os.rename(top / "a" / "b", top / "elsewhere" / "b")
            return file

    parts: list[bytes] = []
    descriptor = os.open(top, os.O_RDONLY)
    with pytest.raises(OSError, match="moved"):
        Moving(lambda data: parts.append(bytes(data)), opaque=OPAQUE).run(descriptor)
    os.close(descriptor)
    with pytest.raises(ProtocolError, match="moved"):
        unpacked(b"".join(parts), tmp_path / "to")
