"""compare: what changed, and a patch that git apply accepts."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandlot.bases.capture import materialize
from sandlot.bases.trees import remove_tree
from sandlot.errors import FileRefused, GitFailed
from sandlot.model.changes import ChangeStatus, FileChange, TreeChanges
from sandlot.workspaces.candidates import Selection
from sandlot.workspaces.difference import DiffLimits, changed_paths, compare
from sandlot.workspaces.git_names import is_git_internal, is_refused
from tests.layertrees import Folder, build, layers, stacks, state_of_tree, state_of_view, without_folders

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Place:
    """A base, an upper, and a folder for the rest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "base"
        self.upper = root / "upper"
        self.scratch = root / "scratch"
        self.patch = root / "patch.diff"
        for folder in (self.base, self.upper, self.scratch):
            folder.mkdir()

    def compare(self, *, limits: DiffLimits | None = None, paths: tuple[bytes, ...] = ()) -> TreeChanges:
        stack = [self.base, self.upper]
        return compare(stack[:1], stack, patch_to=self.patch, scratch=self.scratch, limits=limits, paths=paths)

    def one(self) -> FileChange:
        (change,) = self.compare().files
        return change


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def git_apply(tree: Path, patch: Path) -> None:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(patch)], cwd=tree, env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def drop_empty_folders(root: Path) -> None:
    for folder, _, _ in os.walk(os.fsencode(root), topdown=False):
        if not os.listdir(folder):
            os.rmdir(folder)
    root.mkdir(exist_ok=True)


def check_round_trip(root: Path, old: list[Path], new: list[Path]) -> None:
    (root / "scratch").mkdir()
    result = compare(old, new, patch_to=root / "patch", scratch=root / "scratch")
    before, after = without_folders(state_of_view(old)), without_folders(state_of_view(new))
    assert (root / "patch").stat().st_size == result.patch_bytes
    assert os.listdir(root / "scratch") == []
    materialize(old, root / "tree")
    drop_empty_folders(root / "tree")
    if result.files:
        git_apply(root / "tree", root / "patch")
    assert without_folders(state_of_tree(root / "tree")) == after
    different = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    named = {os.fsencode(name) for change in result.files for name in (change.path, change.old_path) if name}
    assert named == different
    assert {os.fsencode(change.path) for change in changed_paths(old, new)} == different


@SLOW
@given(trees=stacks(least=2))
def test_the_patch_of_an_upper_turns_the_old_tree_into_the_new_one(trees: list[Folder]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        stack = [build(root / f"l{number}", tree) for number, tree in enumerate(trees)]
        check_round_trip(root, stack[:-1], stack)
    finally:
        remove_tree(root)


@SLOW
@given(trees=stacks(most=2), old=st.lists(layers(), max_size=2), new=st.lists(layers(), max_size=2))
def test_the_patch_from_a_snapshot_turns_it_into_the_present(
    trees: list[Folder], old: list[Folder], new: list[Folder]
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        base = [build(root / f"b{number}", tree) for number, tree in enumerate(trees)]
        before = base + [build(root / f"o{number}", tree) for number, tree in enumerate(old)]
        after = base + [build(root / f"n{number}", tree) for number, tree in enumerate(new)]
        check_round_trip(root, before, after)
    finally:
        remove_tree(root)


@SLOW
@given(old=stacks(most=2), new=stacks(most=2))
def test_the_patch_between_trees_that_share_nothing_is_right_too(old: list[Folder], new: list[Folder]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        before = [build(root / f"o{number}", tree) for number, tree in enumerate(old)]
        after = [build(root / f"n{number}", tree) for number, tree in enumerate(new)]
        check_round_trip(root, before, after)
    finally:
        remove_tree(root)


def test_each_kind_of_change_has_its_status(place: Place) -> None:
    for name in ("modified", "deleted", "mode", "type", "same", "from"):
        (place.base / name).write_text("".join(f"{name} {line}\n" for line in range(20)))
    (place.upper / "modified").write_text((place.base / "modified").read_text().replace("9\n", "nine\n", 1))
    os.mknod(place.upper / "deleted", stat.S_IFCHR)
    (place.upper / "mode").write_text((place.base / "mode").read_text())
    (place.upper / "mode").chmod(0o755)
    (place.upper / "type").symlink_to("mode")
    (place.upper / "same").write_text((place.base / "same").read_text())
    os.mknod(place.upper / "from", stat.S_IFCHR)
    (place.upper / "to").write_text((place.base / "from").read_text())
    (place.upper / "added").write_bytes(b"\0\1")
    changes = {change.path: change for change in place.compare().files}
    assert {path: change.status for path, change in changes.items()} == {
        "modified": ChangeStatus.MODIFIED,
        "deleted": ChangeStatus.DELETED,
        "mode": ChangeStatus.MODE,
        "type": ChangeStatus.TYPE,
        "to": ChangeStatus.RENAMED,
        "added": ChangeStatus.ADDED,
    }
    assert changes["to"].old_path == "from"
    assert (changes["modified"].additions, changes["modified"].deletions) == (1, 1)
    assert (changes["mode"].old_mode, changes["mode"].new_mode) == ("100644", "100755")
    assert changes["added"].binary
    assert changes["added"].old_mode is None
    assert changes["deleted"].new_mode is None
    assert changes["type"].new_mode == "120000"


def test_nothing_changed_is_an_empty_patch_and_starts_no_git(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.base / "file").write_text("x")
    (place.upper / "file").write_text("x")
    os.utime(place.upper / "file", (0, 0))
    monkeypatch.setenv("PATH", "/nonexistent")
    result = place.compare()
    assert result.files == ()
    assert place.patch.read_bytes() == b""


def test_a_forged_time_and_size_do_not_hide_a_change(place: Place) -> None:
    (place.base / "file").write_text("good")
    (place.upper / "file").write_text("evil")
    times = (place.base / "file").stat()
    os.utime(place.upper / "file", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert place.one().status == ChangeStatus.MODIFIED


def test_git_internals_stay_out_at_every_depth(place: Place) -> None:
    for folder in (place.upper / ".git" / "hooks", place.upper / "sub" / ".git"):
        folder.mkdir(parents=True)
        (folder / "config").write_text("[core]\n")
    (place.upper / "module").mkdir()
    (place.upper / "module" / ".git").write_text("gitdir: elsewhere\n")
    (place.upper / "module" / "file").write_text("x")
    assert place.one().path == "module/file"


def test_names_git_refuses_are_listed_but_not_in_the_patch(place: Place) -> None:
    for name in (".GIT", "git~1", ".git ", ".g\u200cit", "a\\.git"):
        (place.upper / name).write_text("x")
    (place.upper / ".gitmodules").symlink_to("x")
    (place.upper / "fine").write_text("x\n")
    result = place.compare()
    assert {change.path for change in result.files if change.omitted is None} == {"fine"}
    assert len(result.files) == 7
    (place.root / "tree").mkdir()
    git_apply(place.root / "tree", place.patch)


@pytest.mark.parametrize(
    "name", [".git", ".GIT", ".git.", ".git ", "git~1", "GIT~2", ".git:x", ".g\u200cit", "a\\.git"]
)
def test_every_spelling_of_the_git_folder_is_known(name: str) -> None:
    assert is_git_internal(f"deep/{name}/x".encode())
    assert is_refused(name.encode(), symlink=False)


@pytest.mark.parametrize("name", [".gitignore", ".github", "git", "x.git", ".gitx", "git~", ".gi"])
def test_ordinary_names_are_not_taken_for_the_git_folder(name: str) -> None:
    assert not is_git_internal(name.encode())
    assert not is_refused(name.encode(), symlink=False)


def test_workspace_attributes_and_the_users_configuration_do_not_matter(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = place.root / "home"
    home.mkdir()
    marker = place.root / "ran"
    (home / ".gitconfig").write_text(
        f'[diff "evil"]\n\ttextconv = touch {marker}; cat\n[core]\n\tattributesFile = {home}/attr\n'
    )
    (home / "attr").write_text("* diff=evil\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {marker}")
    (place.upper / ".gitattributes").write_text("* diff=evil -diff binary\n")
    (place.upper / "text").write_text("hello\n")
    changes = {change.path: change for change in place.compare().files}
    assert changes["text"].additions == 1
    assert not marker.exists()


def test_a_folder_replaced_by_a_file_shows_every_file_it_held(place: Place) -> None:
    (place.base / "dir" / "sub").mkdir(parents=True)
    (place.base / "dir" / "one").write_text("1\n")
    (place.base / "dir" / "sub" / "two").write_text("2\n")
    (place.upper / "dir").write_text("now a file\n")
    statuses = {change.path: change.status for change in place.compare().files}
    assert statuses == {
        "dir": ChangeStatus.ADDED,
        "dir/one": ChangeStatus.DELETED,
        "dir/sub/two": ChangeStatus.DELETED,
    }


def test_a_link_that_moved_and_became_a_folder_still_makes_a_patch_git_takes(place: Place) -> None:
    (place.base / "a").symlink_to("missing")
    (place.upper / "a").mkdir()
    (place.upper / "a" / "file").write_text("x\n")
    (place.upper / "b").symlink_to("missing")
    os.setxattr(place.upper / "a", "user.overlay.opaque", b"y")
    assert {change.path for change in place.compare().files} == {"a", "a/file", "b"}
    (place.root / "tree").mkdir()
    (place.root / "tree" / "a").symlink_to("missing")
    git_apply(place.root / "tree", place.patch)
    assert (place.root / "tree" / "a" / "file").read_text() == "x\n"


def test_fifos_and_devices_count_as_missing(place: Place) -> None:
    (place.base / "file").write_text("x\n")
    os.mkfifo(place.upper / "file")
    os.mkfifo(place.upper / "other")
    change = place.one()
    assert (change.path, change.status) == ("file", ChangeStatus.DELETED)


def test_a_terabyte_of_hole_is_listed_and_left_out(place: Place) -> None:
    for folder in (place.base, place.upper):
        (folder / "huge").touch()
        os.truncate(folder / "huge", 1 << 40)
    (place.upper / "new").touch()
    os.truncate(place.upper / "new", 1 << 40)
    change = place.one()
    assert change.path == "new"
    assert change.omitted is not None
    assert place.patch.read_bytes() == b""


def test_one_byte_in_a_huge_sparse_file_is_found(place: Place) -> None:
    for folder in (place.base, place.upper):
        (folder / "huge").touch()
        os.truncate(folder / "huge", 1 << 38)
    with open(place.upper / "huge", "r+b") as file:
        file.seek(1 << 37)
        file.write(b"x")
    assert place.one().status == ChangeStatus.MODIFIED


def test_the_limits_list_what_they_leave_out(place: Place) -> None:
    (place.upper / "big").write_bytes(b"x" * 2000)
    (place.upper / "lines").write_bytes(b"\n" * 300_000)
    (place.upper / "small").write_text("x\n")
    limits = DiffLimits(file_bytes=1999)
    assert {c.path for c in place.compare(limits=limits).files if c.omitted} == {"big", "lines"}
    limits = DiffLimits(file_lines=1000)
    assert {c.path: c.omitted for c in place.compare(limits=limits).files if c.omitted} == {
        "lines": "it has more than 1000 lines"
    }
    assert sum(c.omitted is not None for c in place.compare(limits=DiffLimits(total_bytes=2001)).files) == 2


def test_a_mode_change_of_a_file_above_the_limit_is_in_the_patch(place: Place) -> None:
    for folder in (place.base, place.upper):
        (folder / "big").write_bytes(b"x" * 5000)
    (place.upper / "big").chmod(0o755)
    (change,) = place.compare(limits=DiffLimits(file_bytes=10)).files
    assert (change.status, change.omitted) == (ChangeStatus.MODE, None)
    assert b"new mode 100755" in place.patch.read_bytes()


def test_large_files_stream_into_the_patch(place: Place) -> None:
    text = b"".join(b"line %d\n" % number for number in range(200_000))
    (place.base / "large").write_bytes(text)
    (place.upper / "large").write_bytes(text.replace(b"line 77777\n", b"changed\n"))
    change = place.one()
    assert (change.additions, change.deletions) == (1, 1)
    assert len(place.patch.read_bytes()) < 1000


def test_a_path_too_deep_for_any_git_is_listed(place: Place) -> None:
    fd = os.open(place.upper, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    (place.upper / "near").write_text("x\n")
    changes = place.compare().files
    assert [change.omitted for change in changes] == ["its path is too long for git", None]
    remove_tree(place.upper)


def test_paths_narrow_the_answer_to_files_and_folders(place: Place) -> None:
    (place.upper / "src" / "deep").mkdir(parents=True)
    for name in ("src/one", "src/deep/two", "src.txt", "other"):
        (place.upper / name).write_text("x\n")
    assert [c.path for c in place.compare(paths=(b"src",)).files] == ["src/deep/two", "src/one"]
    assert [c.path for c in place.compare(paths=(b"./src/deep/", b"other")).files] == ["other", "src/deep/two"]
    assert len(place.compare(paths=(b"nothing", b".")).files) == 4


def test_a_selection_knows_where_it_leads() -> None:
    chosen = Selection.of([b"a/b"])
    assert chosen.leads_to(b"a")
    assert chosen.leads_to(b"a/b/c")
    assert not chosen.leads_to(b"ab")
    assert not chosen.takes(b"a")


def test_without_a_patch_the_counts_are_there_all_the_same(place: Place) -> None:
    (place.upper / "file").write_text("one\ntwo\n")
    result = compare([place.base], [place.base, place.upper], patch_to=None, scratch=place.scratch)
    assert (result.additions, result.patch_bytes) == (2, 0)


def test_missing_git_is_said_in_words(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.upper / "file").write_text("x")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GitFailed, match="not found"):
        place.compare()
    assert os.listdir(place.scratch) == []


def test_a_layer_that_is_gone_is_the_callers_to_explain(place: Place) -> None:
    with pytest.raises(FileNotFoundError):
        compare([place.base], [place.base, place.root / "gone"], patch_to=None, scratch=place.scratch)


@pytest.fixture
def swapping(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Code inside swaps the changed file for a link to a host secret right before it is opened."""
    secret = place.root / "secret"
    secret.write_text("host secret")
    (place.upper / "file").write_text("x")
    real = os.open

    def swapped(path: object, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"file" and dir_fd is not None:
            (place.upper / "file").unlink(missing_ok=True)
            (place.upper / "file").symlink_to(secret)
        return real(path, flags, mode, dir_fd=dir_fd)  # type: ignore[arg-type] # only passed on

    monkeypatch.setattr(os, "open", swapped)
    return secret


@pytest.mark.usefixtures("swapping")
def test_a_file_swapped_for_a_link_meanwhile_gives_nothing_of_the_host(place: Place) -> None:
    place.compare()
    assert b"host secret" not in place.patch.read_bytes()


def test_a_file_that_grows_or_shrinks_while_it_is_read_leaves_the_patch_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.upper / "live").write_bytes(b"line\n" * 200_000)
    (place.upper / "other").write_text("fine\n")
    real = os.pread
    reads = 0

    def shrinking(fd: int, length: int, at: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 2:
            os.truncate(place.upper / "live", 1000)
        return real(fd, min(length, 300_000), at)

    monkeypatch.setattr(os, "pread", shrinking)
    assert [change.path for change in place.compare().files] == ["live", "other"]
    monkeypatch.undo()
    (place.root / "tree").mkdir()
    git_apply(place.root / "tree", place.patch)
    assert (place.root / "tree" / "other").read_text() == "fine\n"
    assert (place.root / "tree" / "live").stat().st_size == 1_000_000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_somebody_elses_closed_folder_is_an_error(place: Place) -> None:
    if os.access("/root", os.R_OK):
        pytest.skip("/root is open")
    with pytest.raises(FileRefused):
        compare([], [Path("/root")], patch_to=None, scratch=place.scratch)
