"""apply_to_host: a hostile patch changes the target as reviewed, or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandlot.bases.capture import materialize
from sandlot.bases.trees import remove_tree
from sandlot.errors import FileRefused, PatchRejected, PathNotFound, SandlotError, UnsafePath
from sandlot.workspaces.difference import compare
from sandlot.workspaces.handback import Applied, apply_to_host
from sandlot.workspaces.installing import Installation
from sandlot.workspaces.patch_paths import read_patch
from tests.layertrees import Folder, build, stacks, state_of_tree, state_of_view, without_folders


class Host:
    """A target folder, beside it a scratch folder and a file for the patch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.target = root / "target"
        self.scratch = root / "scratch"
        self.target.mkdir()
        self.scratch.mkdir()

    def apply(self, patch: str | bytes, *, check_only: bool = False, allow_escaping_links: bool = False) -> Applied:
        file = self.root / "patch"
        file.write_bytes(patch.encode() if isinstance(patch, str) else patch)
        return apply_to_host(
            file,
            self.target,
            scratch=self.scratch,
            check_only=check_only,
            allow_escaping_links=allow_escaping_links,
        )

    def refuses(self, patch: str, error: type[SandlotError] = UnsafePath) -> SandlotError:
        before = everything(self.root)
        with pytest.raises(error) as caught:
            self.apply(patch)
        after = everything(self.root)
        after.pop("patch", None)
        before.pop("patch", None)
        assert after == before
        return caught.value


def everything(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Each path below, with what would show that it was touched."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            times = 0 if stat.S_ISDIR(info.st_mode) else info.st_mtime_ns
            found[os.path.relpath(path, root)] = (info.st_mode, info.st_ino, info.st_size, times)
    return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def added(path: str, text: str = "x", mode: str = "100644") -> str:
    """A patch that makes one file (or symlink) without a newline at its end."""
    head = f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n"
    return f"{head}@@ -0,0 +1 @@\n+{text}\n\\ No newline at end of file\n"


def deleted(path: str, line: str) -> str:
    """A patch that deletes a file of one line."""
    head = f"diff --git a/{path} b/{path}\ndeleted file mode 100644\n--- a/{path}\n+++ /dev/null\n"
    return f"{head}@@ -1 +0,0 @@\n-{line}\n"


MODIFY = """\
diff --git a/file b/file
--- a/file
+++ b/file
@@ -1,3 +1,3 @@
 one
-two
+TWO
 three
"""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees=stacks(least=2))
def test_what_compare_prints_brings_the_host_to_the_workspaces_state(trees: list[Folder]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        (root / "scratch").mkdir()
        stack = [build(root / f"l{number}", tree) for number, tree in enumerate(trees)]
        result = compare(stack[:-1], stack, patch_to=root / "patch", scratch=root / "scratch")
        materialize(stack[:-1], root / "target")
        for folder, _, _ in os.walk(os.fsencode(root / "target"), topdown=False):
            if not os.listdir(folder):
                os.rmdir(folder)
        (root / "target").mkdir(exist_ok=True)
        before = everything(root / "target")
        if result.files:
            apply = partial(
                apply_to_host, root / "patch", root / "target", scratch=root / "scratch", allow_escaping_links=True
            )
            checked = apply(check_only=True)
            assert everything(root / "target") == before
            assert apply() == checked
        assert without_folders(state_of_tree(root / "target")) == without_folders(state_of_view(stack))
        assert os.listdir(root / "scratch") == []
    finally:
        remove_tree(root)


def test_a_changed_file_keeps_its_mode_and_the_index_is_not_touched(host: Host) -> None:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(host.root)}
    subprocess.run(["git", "init", "-q"], cwd=host.target, env=env, check=True)
    (host.target / "file").write_text("one\ntwo\nthree\n")
    (host.target / "file").chmod(0o640)
    subprocess.run(["git", "add", "."], cwd=host.target, env=env, check=True)
    before = {path: seen for path, seen in everything(host.target).items() if path.startswith(".git")}
    assert host.apply(MODIFY).files == ("file",)
    assert (host.target / "file").read_text() == "one\nTWO\nthree\n"
    assert stat.S_IMODE((host.target / "file").stat().st_mode) == 0o640
    assert {path: seen for path, seen in everything(host.target).items() if path.startswith(".git")} == before
    assert sorted(os.listdir(host.target)) == [".git", "file"]


def test_the_targets_attributes_filters_and_hooks_do_not_run(host: Host) -> None:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(host.root)}
    subprocess.run(["git", "init", "-q"], cwd=host.target, env=env, check=True)
    marker = host.root / "ran"
    with open(host.target / ".git" / "config", "a") as config:
        config.write(
            f'[filter "evil"]\n\tsmudge = touch {marker}; cat\n\tclean = touch {marker}; cat\n\trequired = true\n'
        )
    (host.target / ".gitattributes").write_text("* filter=evil text eol=crlf ident working-tree-encoding=UTF-16\n")
    (host.target / "file").write_text("one\ntwo\nthree\n")
    host.apply(MODIFY + added("new", "$Id$"))
    assert not marker.exists()
    assert (host.target / "file").read_bytes() == b"one\nTWO\nthree\n"
    assert (host.target / "new").read_bytes() == b"$Id$"


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "sub/../../outside",
        "/etc/sandlot-test",
        ".git/hooks/post-checkout",
        "sub/.git/config",
        ".GIT/config",
        "git~1/config",
        ".git./x",
        "./x",
        "sub//x",
    ],
)
def test_paths_that_leave_the_folder_or_enter_git_are_refused(host: Host, path: str) -> None:
    refused = host.refuses(added("fine") + added(path))
    assert refused.details


def test_a_rename_to_an_unsafe_name_is_refused(host: Host) -> None:
    (host.target / "file").write_text("x")
    head = "diff --git a/file b/x\nsimilarity index 100%\nrename from file\n"
    host.refuses(head + "rename to ../outside\n")
    host.refuses(head + 'rename to ".git\\057config"\n')


def test_nothing_is_written_through_a_symlink_of_the_host(host: Host) -> None:
    (host.root / "elsewhere").mkdir()
    (host.target / "link").symlink_to("../elsewhere")
    refused = host.refuses(added("link/new"))
    assert refused.details == ("link/new: link is a symlink",)


def test_nothing_is_written_through_a_symlink_the_patch_makes(host: Host) -> None:
    (host.root / "elsewhere").mkdir()
    host.refuses(added("link", "../elsewhere", "120000") + added("link/new"), PatchRejected)
    (host.target / "sub").mkdir()
    host.refuses(added("link", "sub", "120000") + added("link/new"), PatchRejected)


def test_submodules_and_odd_modes_are_refused(host: Host) -> None:
    head = "diff --git a/sub b/sub\nnew file mode 160000\nindex 0000000..1234567\n--- /dev/null\n+++ b/sub\n"
    refused = host.refuses(head + "@@ -0,0 +1 @@\n+Subproject commit 1234567\n", PatchRejected)
    assert refused.details == ("sub: a submodule",)
    host.refuses(added("dev", "x", "020000"), PatchRejected)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "up/../../../x", "away/x"])
def test_links_that_lead_out_are_refused_unless_allowed(host: Host, target: str) -> None:
    (host.target / "away").symlink_to("/etc")
    (host.target / "deep" / "up").mkdir(parents=True)
    patch = added("deep/link", f"../{target}" if target == "away/x" else target, "120000")
    refused = host.refuses(patch)
    assert "deep/link -> " in refused.details[0]
    host.apply(patch, allow_escaping_links=True)
    assert (host.target / "deep" / "link").is_symlink()


def test_links_that_stay_inside_are_fine(host: Host) -> None:
    host.apply(added("deep/link", "../file", "120000"))
    assert os.readlink(host.target / "deep" / "link") == "../file"


def test_a_conflict_has_one_line_for_each_hunk_and_file(host: Host) -> None:
    text = "".join(f"{number}\n" for number in range(30))
    (host.target / "file").write_text(text.replace("5\n", "five\n").replace("25\n", "twenty\n"))
    (host.target / "taken").write_text("mine")
    patch = (
        "diff --git a/file b/file\n--- a/file\n+++ b/file\n"
        "@@ -5,3 +5,3 @@\n 4\n-5\n+V\n 6\n"
        "@@ -12,3 +12,3 @@\n 11\n-12\n+XII\n 13\n"
        "@@ -25,3 +25,3 @@\n 24\n-25\n+XXV\n 26\n"
    )
    refused = host.refuses(
        patch + added("taken") + "diff --git a/no b/no\n--- a/no\n+++ b/no\n@@ -1 +1 @@\n-x\n+y\n", PatchRejected
    )
    hunks = [detail for detail in refused.details if detail.startswith("file:")]
    assert hunks == ["file:5: the hunk does not fit", "file:25: the hunk does not fit"]
    assert any(detail.startswith("taken:") for detail in refused.details)
    assert any(detail.startswith("no:") for detail in refused.details)


def test_control_codes_of_a_hostile_name_do_not_reach_the_terminal(host: Host) -> None:
    refused = host.refuses(
        'diff --git "a/../\\033[2J" "b/../\\033[2J"\nnew file mode 100644\n--- /dev/null\n+++ "b/../\\033[2J"\n'
        "@@ -0,0 +1 @@\n+x\n"
    )
    assert all(text.isprintable() for text in refused.details)


@pytest.mark.parametrize("at", ["_take_away", "_replace", "_put", "_drop_empty_parents", "_make_parents"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_at_any_step_leads_back(
    host: Host, at: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.target / "old").mkdir(mode=0o750)
    (host.target / "old" / "gone").write_text("bye\n")
    (host.target / "file").write_text("one\ntwo\nthree\n")
    (host.target / "zlast").write_text("one\ntwo\nthree\n")
    patch = deleted("old/gone", "bye") + MODIFY + added("made/new") + added("old2") + MODIFY.replace("/file", "/zlast")
    real = getattr(Installation, at)
    before = everything(host.target)

    def broken(self: Installation, *arguments: object) -> None:
        real(self, *arguments)
        raise error

    monkeypatch.setattr(Installation, at, broken)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else FileRefused):
        host.apply(patch)
    assert everything(host.target) == before
    monkeypatch.undo()
    assert len(host.apply(patch).files) == 5
    assert not (host.target / "old").exists()


def test_a_file_that_changes_on_the_host_meanwhile_is_left_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.target / "file").write_text("one\ntwo\nthree\n")
    real = Installation.run

    def late(self: Installation, changes: list[object]) -> None:
        (host.target / "file").write_text("saved by the user's editor\n")
        real(self, changes)  # type: ignore[arg-type] # only passed on

    monkeypatch.setattr(Installation, "run", late)
    with pytest.raises(PatchRejected) as caught:
        host.apply(MODIFY + added("new"))
    assert caught.value.details == ("file: changed on the host meanwhile",)
    assert (host.target / "file").read_text() == "saved by the user's editor\n"
    assert os.listdir(host.target) == ["file"]


def test_a_folder_with_files_of_the_users_own_is_not_replaced_by_a_file(host: Host) -> None:
    (host.target / "dir").mkdir()
    (host.target / "dir" / "known").write_text("x\n")
    (host.target / "dir" / "own").write_text("mine")
    patch = deleted("dir/known", "x")
    refused = host.refuses(patch + added("dir"), PatchRejected)
    assert refused.details == ("dir: exists on the host",)
    (host.target / "dir" / "own").unlink()
    host.apply(patch + added("dir"))
    assert (host.target / "dir").read_text() == "x"


def test_an_empty_patch_a_missing_patch_and_a_missing_target_are_said(host: Host) -> None:
    host.refuses("nothing in here\n", PatchRejected)
    with pytest.raises(PathNotFound):
        apply_to_host(host.root / "no", host.target, scratch=host.scratch)
    (host.root / "patch").write_text(added("x"))
    with pytest.raises(PathNotFound):
        apply_to_host(host.root / "patch", host.root / "no", scratch=host.scratch)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_target_that_cannot_be_written_is_an_error(host: Host) -> None:
    host.target.chmod(0o555)
    with pytest.raises(FileRefused, match="Permission denied"):
        host.apply(added("new"))


def test_a_copied_file_is_not_itself_changed(host: Host) -> None:
    (host.target / "file").write_text("x\n")
    before = everything(host.target)
    patch = "diff --git a/file b/twin\nsimilarity index 100%\ncopy from file\ncopy to twin\n"
    assert host.apply(patch).files == ("twin",)
    assert everything(host.target)["file"] == before["file"]


def test_plain_diff_output_is_understood(host: Host) -> None:
    (host.target / "file").write_text("one\ntwo\nthree\n")
    host.apply(MODIFY.partition("\n")[2].replace("a/file", "a/file\t2024-01-01 00:00:00"))
    assert (host.target / "file").read_text() == "one\nTWO\nthree\n"


def test_a_hunk_that_looks_like_headers_names_no_paths(host: Host) -> None:
    file = host.root / "patch"
    file.write_text("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- ../bad\n-+++ ../bad\n+-- ../worse\n++++ ../worse\n")
    assert [one.paths for one in read_patch(file)] == [{b"x"}]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30), st.sampled_from([b"@@ -1,3 +1,3 @@", b"--- a/x", b"+++ b/x", b"diff --git a/x b/x"])
        )
    )
)
def test_any_bytes_are_read_to_their_end(lines: list[bytes]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\n".join(lines))
        file.flush()
        read_patch(Path(file.name))
