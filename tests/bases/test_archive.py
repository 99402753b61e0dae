"""Seeding from archives, friendly and hostile."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandlot.bases import archive as archives
from sandlot.bases import members
from sandlot.bases.store import BaseStore
from sandlot.bases.trees import remove_tree
from sandlot.errors import ArchiveRefused, SandlotError

from .seeding import everything_below, facts, merged, seed, store_at

pytestmark = pytest.mark.usefixtures("no_clock_tick")

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size, info.mtime = kind, target, mode, len(content), 1_500_000_000
    return info, content


def tar_file(path: Path, entries: Iterable[Entry]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "sub/deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "sub/link").symlink_to("../run.sh")
    (root / "absolute").symlink_to("/etc/hostname")
    os.link(root / "run.sh", root / "sub/another name")
    Path(os.fsdecode(os.fsencode(root) + b"/odd \xff\nname")).write_text("x")
    (root / "zeros").write_bytes(bytes(3 << 20) + b"end")
    for path in [root, *root.rglob("*")]:
        os.utime(path, ns=(1, 1_400_000_000_987_654_321), follow_symlinks=False)
    return root


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.zst"])
def test_a_tar_archive_is_unpacked_faithfully(store: BaseStore, project: Path, tmp_path: Path, suffix: str) -> None:
    plain = tmp_path / "plain.tar"
    subprocess.run(["tar", "--format=pax", "-cf", plain, "-C", project, "."], check=True)
    data = plain.read_bytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(
        zstandard.compress(data) if suffix.endswith("zst") else data if suffix == ".tar" else gzip.compress(data)
    )
    base = seed(store, path)
    tree = merged(store, base, tmp_path / "merged")
    assert facts(tree) == facts(project)
    assert (tree / "run.sh").stat().st_ino == (tree / "sub/another name").stat().st_ino
    assert base.origin.location == os.fspath(path)
    assert base.origin.files == 6
    copy = store.paths.layer(base.layers[0]) / "workspace/zeros"
    assert copy.stat().st_blocks * 512 < 1 << 20


def test_a_zip_archive_keeps_modes_times_and_symlinks(store: BaseStore, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, mode, content in (
            ("top/run.sh", stat.S_IFREG | 0o4755, b"#!/bin/sh\n"),
            ("top/link", stat.S_IFLNK | 0o777, b"../elsewhere"),
            ("top/pipe", stat.S_IFIFO | 0o644, b""),
            ("top/folder/", stat.S_IFDIR | 0o700, b""),
            ("ünï", stat.S_IFREG | 0o600, b"u"),
        ):
            info = zipfile.ZipInfo(name, (2020, 1, 2, 3, 4, 6))
            info.create_system, info.external_attr = 3, mode << 16
            info.extra = b"UT\x05\x00\x01" + (1_234_567_890).to_bytes(4, "little")
            opened.writestr(info, content)
    base = seed(store, path)
    tree = merged(store, base, tmp_path / "merged")
    moment = 1_234_567_890 * 10**9
    assert facts(tree)["top/run.sh"] == ("file", 0o755, moment, b"#!/bin/sh\n")
    assert facts(tree)["top/link"] == ("link", "../elsewhere", moment)
    assert facts(tree)["top/folder"] == ("folder", 0o700, moment)
    assert facts(tree)["ünï"] == ("file", 0o600, moment, b"u")
    assert base.origin.skipped == ("top/pipe",)


def test_devices_and_fifos_are_skipped_and_reported(store: BaseStore, tmp_path: Path) -> None:
    path = tar_file(
        tmp_path / "a.tar",
        [entry("pipe", kind=tarfile.FIFOTYPE), entry("null", kind=tarfile.CHRTYPE), entry("file", b"x")],
    )
    base = seed(store, path)
    assert base.origin.skipped == ("pipe", "null")
    assert sorted(facts(merged(store, base, tmp_path / "merged"))) == [".", "file"]


def test_a_git_folder_in_an_archive_is_just_files(store: BaseStore, tmp_path: Path) -> None:
    base = seed(store, tar_file(tmp_path / "a.tar", [entry(".git/config", b"[core]"), entry("x", b"x")]))
    assert len(base.layers) == 1
    assert (merged(store, base, tmp_path / "merged") / ".git/config").read_text() == "[core]"


def test_a_second_seed_unpacks_nothing(store: BaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar_file(tmp_path / "a.tar", [entry("x", b"x")])
    first = seed(store, path)
    monkeypatch.setattr(archives, "_build", None)
    monkeypatch.setattr(archives, "_hash", None)
    assert seed(store, path).cached
    monkeypatch.undo()
    monkeypatch.setattr(archives, "_build", None)
    path.write_bytes(path.read_bytes())  # new times, same content
    assert seed(store, path).id == first.id


HOSTILE = {
    "leaves the root": [entry("../x", b"x")],
    "leaves the root inside": [entry("a/../../x", b"x")],
    "absolute": [entry("/etc/x", b"x")],
    "below a symlink": [entry("a", kind=tarfile.SYMTYPE, target="/tmp"), entry("a/x", b"x")],
    "symlink where a folder is": [entry("a/x", b"x"), entry("a", kind=tarfile.SYMTYPE, target="/tmp")],
    "below a symlink by another spelling": [
        entry("./a", kind=tarfile.SYMTYPE, target="/tmp"),
        entry("a//./x", b"x"),
    ],
    "below a file": [entry("a", b"x"), entry("a/x", b"x")],
    "twice": [entry("a", b"1"), entry("a", b"2")],
    "twice by another spelling": [entry("a/b", b"1"), entry("./a//b", b"2")],
    "file and symlink": [entry("a", b"1"), entry("a", kind=tarfile.SYMTYPE, target="b")],
    "hard link outside": [entry("a", kind=tarfile.LNKTYPE, target="/etc/passwd")],
    "hard link up": [entry("a", kind=tarfile.LNKTYPE, target="../../etc/passwd")],
    "hard link to what comes later": [entry("a", kind=tarfile.LNKTYPE, target="b"), entry("b", b"x")],
    "hard link to a symlink": [
        entry("s", kind=tarfile.SYMTYPE, target="/etc/passwd"),
        entry("a", kind=tarfile.LNKTYPE, target="s"),
    ],
    "hard link to a folder": [entry("d/x", b"x"), entry("a", kind=tarfile.LNKTYPE, target="d")],
    "a name that is too long": [entry("x" * 300, b"x")],
    "nameless file": [entry("./", b"x")],
    "too deep": [entry("d/" * 5000 + "x", b"x")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_refused_before_the_first_write(
    store: BaseStore, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar_file(tmp_path / "a.tar", [entry("good", b"good"), *HOSTILE[name]])
    monkeypatch.setattr(archives, "_Unpacking", None)
    with pytest.raises(ArchiveRefused):
        seed(store, path)
    assert everything_below(store.paths.layers) == everything_below(store.paths.bases) == []


def test_a_symlink_member_is_never_written_through(store: BaseStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        info = zipfile.ZipInfo("a")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        opened.writestr(info, os.fspath(victim))
        opened.writestr("a/x", "x")
    with pytest.raises(ArchiveRefused, match="a symlink"):
        seed(store, path)
    assert list(victim.iterdir()) == []


def test_bombs_are_refused(store: BaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "RATIO_FROM", 1 << 20)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for number in range(8):
            opened.writestr(str(number), bytes(16 << 20))
    with pytest.raises(ArchiveRefused, match="expand"):
        seed(store, path)
    monkeypatch.setattr(members, "MAX_EXPANDED", 100)
    with pytest.raises(ArchiveRefused, match="expand"):
        seed(store, tar_file(tmp_path / "b.tar", [entry("x", bytes(101))]))
    monkeypatch.setattr(members, "MAX_MEMBERS", 10)
    with pytest.raises(ArchiveRefused, match="members"):
        seed(store, tar_file(tmp_path / "c.tar", [entry(str(number)) for number in range(11)]))
    assert everything_below(store.paths.layers) == []


def test_a_header_that_asks_for_gigabytes_is_refused(store: BaseStore, tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20))
    with pytest.raises(ArchiveRefused, match="header"):
        seed(store, tmp_path / "a.tar")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst", ".zip"])
def test_a_truncated_archive_is_refused(store: BaseStore, tmp_path: Path, suffix: str) -> None:
    content = [entry(str(number), os.urandom(2000)) for number in range(20)]
    data = tar_file(tmp_path / "plain.tar", content).read_bytes()[: 20 * 2560 + 1024]
    if suffix == ".zip":
        with zipfile.ZipFile(tmp_path / "whole.zip", "w") as opened:
            for info, body in content:
                opened.writestr(info.name, body)
        data = (tmp_path / "whole.zip").read_bytes()
    elif suffix != ".tar":
        data = gzip.compress(data) if suffix == ".tar.gz" else zstandard.compress(data)
    whole = len(data)
    for keep in (0, 1, 600, whole // 2, 2560 * 4, whole - 1024):
        path = tmp_path / f"cut{keep}{suffix}"
        path.write_bytes(data[:keep])
        with pytest.raises(ArchiveRefused):
            seed(store, path)
    assert everything_below(store.paths.layers) == []


def test_an_encrypted_zip_is_refused(store: BaseStore, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("x", "x")
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveRefused, match="encrypted"):
        seed(store, path)


def test_a_zip_whose_content_is_damaged_is_refused(store: BaseStore, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("x", "content that is stored")
    path.write_bytes(path.read_bytes().replace(b"that is stored", b"that is forged"))
    with pytest.raises(ArchiveRefused):
        seed(store, path)
    assert everything_below(store.paths.layers) == []


def test_an_archive_that_is_swapped_between_judging_and_unpacking_is_refused(
    store: BaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar_file(tmp_path / "a.tar", [entry("good", b"good")])
    evil = tar_file(tmp_path / "b.tar", [entry("evil", b"evil")]).read_bytes()
    real = archives._Unpacking

    def swap(*args: object) -> object:
        path.write_bytes(evil)
        return real(*args)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(archives, "_Unpacking", swap)
    with pytest.raises(SandlotError, match="changed while it was read"):
        seed(store, path)
    assert everything_below(store.paths.layers) == []


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "a/b", "./a", "a/", "a/b/c", "../a", "/a", "a/../b", "", ".", "..", "b/./c"]),
            st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]),
            st.sampled_from(["a", "b", "a/b", "../x", "/etc/passwd", ""]),
        ),
        max_size=6,
    ),
    st.integers(0, 4000),
    st.integers(0, 255),
)
def test_whatever_an_archive_says_nothing_outside_is_touched(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, bytes, str]], place: int, value: int
) -> None:
    scratch = tmp_path_factory.mktemp("any")
    store = store_at(scratch / "state")
    path = tar_file(scratch / "a.tar", [entry(name, b"", kind, target) for name, kind, target in entries])
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data)
    store.paths.ensure()
    try:
        seed(store, path)
    except SandlotError:
        assert everything_below(store.paths.layers) == []
    assert sorted(os.listdir(scratch)) == ["a.tar", "state"]
    remove_tree(scratch)
