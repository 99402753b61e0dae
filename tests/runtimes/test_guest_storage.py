"""The storage of a guest: layers go in, areas are put together, changes come out and mean the same."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.bases.layer import area_layers
from sandlot.bases.store import BaseStore
from sandlot.bases.trees import remove_tree
from sandlot.bases.view import OPAQUE, is_whiteout
from sandlot.errors import AgentUnresponsive, CommandInterrupted, IsolationUnavailable, ProtocolError, StartFailed
from sandlot.model.limits import Limits
from sandlot.paths import Paths
from sandlot.runtimes import disks
from sandlot.runtimes.base import DISK_BYTES, AreaMount, Bounds, LaunchRequest
from sandlot.runtimes.guest_storage import GuestStorage, layer_name, warm_key
from sandlot.wire import frames
from sandlot.wire import layers as wire
from tests.bases.seeding import repository, seed
from tests.layertrees import File, Folder, Gone, Link, build, state_of_view
from tests.runtimes.guest_rig import Inside, inside

BOUNDS = Bounds(64 << 20, 10_000)

pytestmark = pytest.mark.skipif(disks.mke2fs() is None, reason="mke2fs (package e2fsprogs) is not here")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sl-"))
    yield made
    remove_tree(made)


@pytest.fixture
def guest(folder: Path) -> Iterator[Inside]:
    disks.make_disk(folder / "cache", folder / "data.img", Limits(disk=32 << 20))
    with inside(folder / "inside", folder / "data.img") as made:
        yield made


@pytest.fixture
def lower(folder: Path) -> Path:
    return build(
        folder / "lower",
        Folder({
            b"kept": File(b"kept\n", True),
            b"gone": File(b"gone\n", False),
            b"full": Folder({b"one": File(b"1", False), b"two": Link(b"one")}),
            b"below": Folder({b"deep": Folder({b"file": File(b"x" * 5000, False)})}),
        }),
    )  # fmt: skip


def request(folder: Path, guest: Inside, *lowers: Path) -> LaunchRequest:
    areas = (AreaMount(guest.target("workspace"), folder / "none", lowers=lowers),)
    return LaunchRequest("one", areas, folder / "sock", folder / "log", disk=folder / "data.img")


CHANGES = """
set -e; cd {}
test "$(cat kept)" = kept; test -x kept; test "$(stat -c %Y kept)" = 1000000000
rm gone; rm -r full; mkdir full; echo new > full/new; ln full/new full/twin
echo more >> below/deep/file; ln -s /etc/shadow link; mkdir empty
mkfifo fifo; printf 'x' > "$(printf 'odd\\377\\nname')"
truncate -s 1T sparse
"""


def test_changes_made_inside_come_out_as_an_upper(folder: Path, guest: Inside, lower: Path) -> None:
    os.utime(lower / "kept", (1_000_000_000, 1_000_000_000))
    asked = request(folder, guest, lower)
    target = asked.areas[0].target
    owner = 1000 if guest.real else 0  # in the rig of an ordinary user, that is who shows as root
    owned = f'test -z "$(find {target} ! -uid {owner})"\n'
    with guest.connect(owned + CHANGES.format(target)) as storage:
        storage.install(asked)
    with guest.connect() as storage:  # a new start of the same disk
        storage.install(asked)
        assert storage.layers() == [layer_name(lower)]
        taken = storage.take(target, folder / "upper", BOUNDS)
    upper = folder / "upper"
    assert is_whiteout((upper / "gone").lstat())
    assert os.getxattr(upper / "full", OPAQUE) == b"y"
    assert (upper / "full" / "new").stat().st_nlink == 2
    assert (upper / "sparse").stat().st_size == 1 << 40
    assert stat.S_ISFIFO((upper / "fifo").lstat().st_mode)
    assert not (upper / "kept").exists()
    assert taken.bytes < 10_000
    (upper / "sparse").unlink()
    assert state_of_view([lower, upper]) == {
        b"kept": ("file", b"kept\n", True),
        b"full": ("folder",),
        b"full/new": ("file", b"new\n", False),
        b"full/twin": ("file", b"new\n", False),
        b"below": ("folder",),
        b"below/deep": ("folder",),
        b"below/deep/file": ("file", b"x" * 5000 + b"more\n", False),
        b"link": ("link", b"/etc/shadow"),
        b"empty": ("folder",),
        b"odd\xff\nname": ("file", b"x", False),
    }


def test_a_saved_layer_can_be_stood_on_again(folder: Path, guest: Inside, lower: Path) -> None:
    middle = build(
        folder / "middle",
        Folder({b"gone": Gone(), b"full": Folder({b"three": File(b"3", False)}, opaque=True)}),
    )
    asked = request(folder, guest, lower, middle)
    target = asked.areas[0].target
    with guest.connect(
        f"cd {target} && test $(ls | tr '\\n' ,) = below,full,kept, && test $(ls full) = three"
    ) as storage:
        storage.install(asked)


def test_warm_layers_are_not_sent_again(folder: Path, guest: Inside, lower: Path) -> None:
    asked = request(folder, guest, lower)
    with guest.connect() as storage:
        storage.warm([lower])
    with guest.connect(f"test -x {asked.areas[0].target}/kept") as storage:
        assert storage.layers() == [layer_name(lower)]
        sent = (lower / "kept").read_bytes()
        (lower / "kept").unlink()  # nobody reads it any more
        storage.install(asked)
    assert sent
    assert not list((folder / "inside").glob("disk/layers/*"))


def test_a_layer_that_is_cut_off_is_never_seen(folder: Path, guest: Inside, lower: Path) -> None:
    with guest.connect() as storage:
        storage._send(frames.encode(wire.PUT, 0, [layer_name(lower), wire.WARM]))
        storage._send(wire.MAGIC)
    with guest.connect() as storage:
        assert storage.layers() == []
        storage.put(lower, warm=True)
        assert storage.layers() == [layer_name(lower)]


def test_a_disk_that_is_full_is_said_so(folder: Path, guest: Inside) -> None:
    if not guest.real:
        pytest.skip("an ordinary user has no disk in this rig")
    big = folder / "big"
    big.mkdir()
    (big / "file").write_bytes(os.urandom(100 << 20))
    with guest.connect() as storage, pytest.raises(StartFailed, match="No space left"):
        storage.install(request(folder, guest, big))


def test_names_of_layers_follow_the_folder(tmp_path: Path) -> None:
    assert layer_name(tmp_path / "a") == layer_name(tmp_path / "a") != layer_name(tmp_path / "b")
    assert warm_key([tmp_path / "a", tmp_path / "b"]) != warm_key([tmp_path / "b", tmp_path / "a"])


def test_a_disk_takes_no_room_and_holds_what_the_limit_says(folder: Path) -> None:
    for limits in (Limits(), Limits(disk=200 << 20, inodes=5000)):
        disk = folder / f"{limits.disk}.img"
        disks.make_disk(folder / "cache", disk, limits)
        info = disk.stat()
        assert info.st_size == DISK_BYTES
        assert info.st_blocks * 512 < 4 << 20
        assert stat.S_IMODE(info.st_mode) == 0o600
    assert len(list((folder / "cache").iterdir())) == 2


def test_without_mke2fs_the_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "mke2fs", lambda: None)
    with pytest.raises(IsolationUnavailable) as caught:
        disks.make_disk(folder / "cache", folder / "data.img", Limits())
    assert "e2fsprogs" in caught.value.hint


def _hostile(answer: bytes, *, stay: bool = False, within_s: float = 60.0, drip: bool = False) -> GuestStorage:
    """A connection to something that answers whatever is asked with these bytes; ``drip``: one now and then."""
    ours, theirs = socket.socketpair()

    def answering() -> None:
        with theirs:
            theirs.recv(1 << 16)
            try:
                for at in range(len(answer) if drip else 0):
                    theirs.sendall(answer[at : at + 1])
                    time.sleep(0.05)  # the pace of the attack; nothing waits for it
                theirs.sendall(b"" if drip else answer)
                while stay and theirs.recv(1 << 16):
                    pass
            except OSError:
                pass

    threading.Thread(target=answering, daemon=True).start()
    return GuestStorage(ours, within_s=within_s)


def test_a_guest_that_sends_more_than_it_may_is_cut_off(tmp_path: Path) -> None:
    endless = wire.MAGIC + wire.HEAD.pack(wire.FOLDER, 0, 0o755, 0, 0, 0)
    endless += wire.HEAD.pack(wire.FILE, 0, 0o644, 1, 0, 0) + b"a" + (wire.PIECE.pack(1000) + b"x" * 1000) * 2000
    with _hostile(endless) as storage, pytest.raises(ProtocolError, match="larger"):
        storage.take("/workspace", tmp_path / "upper", Bounds(1 << 20, 10))
    assert os.listdir(tmp_path) == []


def test_a_guest_that_falls_silent_or_hangs_up_is_no_hang(tmp_path: Path) -> None:
    with _hostile(wire.MAGIC, stay=True, within_s=0.2) as storage, pytest.raises(AgentUnresponsive):
        storage.take("/workspace", tmp_path / "upper", BOUNDS)
    with _hostile(wire.MAGIC + b"\1" * 10_000, drip=True, within_s=0.2) as storage, pytest.raises(AgentUnresponsive):
        storage.take("/workspace", tmp_path / "upper", BOUNDS)
    with _hostile(b"") as storage, pytest.raises(CommandInterrupted):
        storage.layers()
    with _hostile(b"\0" * 100) as storage, pytest.raises(ProtocolError):
        storage.layers()
    with _hostile(frames.encode(wire.FAILED, 0, [b"5", b"\x1b[2Jno"])) as storage, pytest.raises(StartFailed):
        storage.layers()
    assert os.listdir(tmp_path) == []


def test_git_need_not_read_the_files_of_a_base_again(folder: Path, guest: Inside) -> None:
    """Their stamps are what the index says: or the first ``git status`` of 20,000 files would take half a minute."""
    made = repository(folder / "repo", {f"lib/{number}.py": f"{number}\n" for number in range(50)})
    (made / "lib" / "7.py").write_text("edited\n")
    paths = Paths.at(folder / "state")
    paths.ensure()
    base = seed(BaseStore(paths), made)
    asked = request(folder, guest, *area_layers(paths, base.layers, "workspace"))
    # diff-files compares stamps alone: it names each file that git would have to read.
    stale = f"cd {asked.areas[0].target} && test \"$(git -c safe.directory='*' diff-files --name-only)\" = lib/7.py"
    for warm in (True, False):
        if warm:
            with guest.connect() as storage:
                storage.warm(asked.areas[0].lowers)
        with guest.connect(stale) as storage:
            storage.install(asked)
        remove_tree(folder / "inside" / "layers")
