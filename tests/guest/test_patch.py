"""patch_apply: what it accepts, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandlot.guest.tools import ToolError, git, swap
from sandlot.guest.tools.patch_canonical import quote
from sandlot.guest.tools.patch_text import unquote
from tests.guest.calling import Answer, call, picture, refusal

ENV = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}
Tree = dict[bytes, tuple[str, int, bytes]]


def run(folder: Path, *command: str, ok: tuple[int, ...] = (0,)) -> bytes:
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, check=False)
    assert done.returncode in ok, done.stderr
    return done.stdout


def apply(root: Path, patch: bytes | str, strip: int = -1, check: int = 0) -> Answer:
    return call("patch_apply", root, strip, check, content=patch.encode() if isinstance(patch, str) else patch)


def rejected(root: Path, patch: bytes | str, strip: int = -1) -> ToolError:
    before = picture(root)
    error = refusal("patch_apply", root, strip, 0, content=patch.encode() if isinstance(patch, str) else patch)
    assert picture(root) == before
    return error


def fill(root: Path, files: dict[str, bytes | str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)


LINES = "".join(f"line {n}\n" for n in range(1, 31))


def edited(*changes: tuple[int, str]) -> str:
    text = LINES
    for number, new in changes:
        text = text.replace(f"line {number}\n", new, 1)
    return text


class Repo:
    """A repository with a first commit of some files; ``old`` is a plain copy of them to patch."""

    def __init__(self, base: Path, files: dict[str, bytes | str]) -> None:
        self.path = base / "repo"
        self.old = base / "old"
        self.path.mkdir()
        fill(self.path, files)
        run(self.path, "git", "init", "-q")
        self.commit()
        shutil.copytree(self.path, self.old, symlinks=True, ignore=shutil.ignore_patterns(".git"))

    def commit(self) -> None:
        run(self.path, "git", "add", "-A")
        run(self.path, "git", "commit", "-q", "--allow-empty", "-m", "a change\n\n--- not a patch\n\n@@ nor this")

    def diff(self, *options: str) -> bytes:
        run(self.path, "git", "add", "-A")
        return run(self.path, "git", "diff", "--cached", "--binary", *options)

    def equal(self) -> bool:
        return files_of(self.old) == files_of(self.path)


def files_of(root: Path) -> Tree:
    return {
        path: (kind, mode & 0o100, content)
        for path, (kind, mode, content) in picture(root).items()
        if kind != "d" and not path.startswith(b".git/")
    }


# -- what it accepts


def test_a_git_diff_of_every_kind_of_change_is_applied_and_reported(tmp_path: Path) -> None:
    repo = Repo(
        tmp_path,
        {
            "edit.py": LINES,
            "gone/deep/file": "x\n",
            "run.sh": "#!/bin/sh\n",
            "old name": LINES,
            "copied": LINES + "only here\n",
            "bin": bytes(range(256)) * 20,
            "end": "no newline",
            "becomes a link": "text\n",
            "empty": "",
        },
    )
    new = repo.path
    fill(
        new,
        {
            "edit.py": edited((3, "three\n"), (20, "")),
            'new/ü \t"\\.txt': "new\n",
            "bin": bytes(range(255, -1, -1)) * 20,
            "bin2": b"\0\1\2",
            "end": "now with one\n",
            "copy": LINES + "only here\nand one more\n",
            "nothing": "",
        },
    )
    shutil.rmtree(new / "gone")
    (new / "empty").unlink()
    (new / "run.sh").chmod(0o755)
    (new / "sub").mkdir()
    (new / "old name").rename(new / "sub" / "new name")
    (new / "becomes a link").unlink()
    (new / "becomes a link").symlink_to("edit.py")
    answer = apply(repo.old, repo.diff("-M", "-C", "--find-copies-harder"))
    assert repo.equal()
    assert answer.result[0] == b"exact"
    items = {item[1]: (item[0], item[2], int(item[3]), int(item[4])) for item in answer.items}
    assert items[b"edit.py"] == (b"M", b"", 1, 2)
    assert items[b"gone/deep/file"] == (b"D", b"", 0, 1)
    assert items[b"sub/new name"] == (b"R", b"old name", 0, 0)
    assert items[b"copy"] == (b"C", b"copied", 1, 0)
    assert items[b"bin"] == (b"M", b"", -1, -1)
    assert items[b"becomes a link"][0] == b"T"
    assert items[b"run.sh"] == (b"M", b"", 0, 0)
    assert items['new/ü \t"\\.txt'.encode()] == (b"A", b"", 1, 0)
    assert int(answer.result[1]) == len(items)
    assert not (repo.old / "gone").exists()
    assert answer.items == sorted(answer.items, key=lambda item: item[1].split(b"/"))


def test_a_mailbox_of_several_commits_is_applied_in_turn(tmp_path: Path) -> None:
    repo = Repo(tmp_path, {"f": LINES, "g": LINES})
    for step in range(1, 4):
        fill(repo.path, {"f": edited(*((n, f"changed {n}\n") for n in range(1, step + 1)), (9, "-- \n"))})
        if step == 2:
            (repo.path / "g").rename(repo.path / "h")
        if step == 3:
            fill(repo.path, {"h": edited((5, "")), "i": "1\n\f\n-- \n2.39\n"})
        repo.commit()
    mails = run(repo.path, "git", "format-patch", "--stdout", "--cover-letter", "-3")
    answer = apply(repo.old, mails)
    assert repo.equal()
    assert [(item[0], item[1], item[2]) for item in answer.items] == [
        (b"M", b"f", b""),
        (b"R", b"h", b"g"),
        (b"A", b"i", b""),
    ]


def test_a_mailbox_whose_last_mail_fails_changes_nothing(tmp_path: Path) -> None:
    repo = Repo(tmp_path, {"f": LINES})
    fill(repo.path, {"f": edited((1, "one\n"))})
    repo.commit()
    fill(repo.path, {"f": edited((1, "one\n"), (20, "twenty\n"))})
    repo.commit()
    mails = run(repo.path, "git", "format-patch", "--stdout", "-2").replace(b"line 19", b"line nineteen")
    mails = mails.replace(b"line 21", b"another").replace(b"-line 20", b"-line zwanzig")
    error = rejected(repo.old, mails)
    assert error.details == ["patch 2: f hunk 1 (line 17): context does not match"]


@pytest.mark.parametrize("options", [("-u",), ("-ru",), ("-ruN",), ("-ruNp", "-U1"), ("-ruN", "-U0")])
def test_a_plain_diff_is_applied_whatever_its_prefixes(tmp_path: Path, options: tuple[str, ...]) -> None:
    for name in ("old", "new"):
        fill(tmp_path / name, {"src/f c": LINES, "src/same": "same", "gone": "gone\n"})
    fill(tmp_path / "new", {"src/f c": edited((4, "four\nmore\n"), (30, "thirty"))})
    if "N" in options[0]:
        (tmp_path / "new" / "gone").unlink()
        fill(tmp_path / "new", {"add/ed": "added\n"})
    patch = run(tmp_path, "diff", "-r", *options, "old", "new", ok=(1,))
    apply(tmp_path / "old", patch)
    assert files_of(tmp_path / "old") == files_of(tmp_path / "new")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a/src/f", "b/src/f"),
        ("src/f", "src/f"),
        ("./src/f", "./src/f"),
        ("x/y/src/f", "z/y/src/f"),
        ("src/f.orig", "src/f"),
        ("src/f", "src/f.new"),
        ("../orig/src/f", "src/f"),
        ("i/src/f", "w/src/f"),
    ],
)
def test_the_number_of_components_to_strip_is_found_out(tmp_path: Path, old: str, new: str) -> None:
    fill(tmp_path, {"src/f": "one\n", "f": "one\n"})
    apply(tmp_path, f"--- {old}\t2024-01-01 10:00:00.000000000 +0100\n+++ {new}\n@@ -1 +1 @@\n-one\n+two\n")
    assert (tmp_path / "src/f").read_text() == "two\n"
    assert (tmp_path / "f").read_text() == "one\n"


def test_a_given_strip_is_used_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path, {"f": "one\n", "src/f": "one\n"})
    patch = "--- a/src/f\n+++ b/src/f\n@@ -1 +1 @@\n-one\n+two\n"
    apply(tmp_path, patch, strip=2)
    assert ((tmp_path / "f").read_text(), (tmp_path / "src/f").read_text()) == ("two\n", "one\n")
    assert rejected(tmp_path, patch, strip=0).details == ["b/src/f: no such file"]


def test_a_git_diff_without_prefixes_is_applied(tmp_path: Path) -> None:
    repo = Repo(tmp_path, {"a/b/f": LINES, "x y": LINES})
    fill(repo.path, {"a/b/f": edited((2, "two\n")), "x y": edited((3, "three\n")), "b/new file": ""})
    (repo.path / "x y").chmod(0o755)
    apply(repo.old, repo.diff("--no-prefix"))
    assert repo.equal()


PATCH = """\
--- a/f
+++ b/f
@@ -2,5 +2,5 @@ heading
 line 2
 line 3
-line 4
+four
 line 5
 line 6
"""


def test_text_around_a_patch_and_a_lost_last_newline_do_not_matter(tmp_path: Path) -> None:
    fill(tmp_path, {"f": LINES})
    assert apply(tmp_path, f"Here it is:\n```diff\n{PATCH}```\nHope it helps.").result[0] == b"exact"
    fill(tmp_path, {"f": LINES})
    assert apply(tmp_path, PATCH[:-1]).result[0] == b"exact"
    assert (tmp_path / "f").read_text() == edited((4, "four\n"))


@pytest.mark.parametrize("header", ["-2,4 +2,4", "-2,9 +2,9", "-2 +2", "-2,5 +2,7", "-3,5 +3,3"])
def test_wrong_counts_are_repaired(tmp_path: Path, header: str) -> None:
    fill(tmp_path, {"f": LINES})
    for after in ("", "-- \n2.39.5\n", "\ndiff --git a/f b/f\nold mode 100644\nnew mode 100755\n", "some text\n"):
        fill(tmp_path, {"f": LINES})
        answer = apply(tmp_path, PATCH.replace("-2,5 +2,5", header) + after)
        assert answer.result[0] == b"recount"
        assert (tmp_path / "f").read_text() == edited((4, "four\n"))


def test_blank_context_that_lost_its_space_or_the_end_of_the_text_is_understood(tmp_path: Path) -> None:
    text = "a\n\nb\n\n\nc\n\n"
    fill(tmp_path, {"f": text})
    patch = "--- a/f\n+++ b/f\n@@ -1,5 +1,5 @@\n a\n\n-b\n+B\n\n\n"
    apply(tmp_path, patch)
    assert (tmp_path / "f").read_text() == text.replace("b", "B")
    fill(tmp_path, {"f": text})
    assert apply(tmp_path, patch.rstrip()).result[0] == b"recount"
    assert (tmp_path / "f").read_text() == text.replace("b", "B")


def test_context_that_lost_its_leading_space_is_understood_when_the_counts_say_so(tmp_path: Path) -> None:
    fill(tmp_path, {"f": LINES})
    answer = apply(tmp_path, PATCH.replace(" line", "line"))
    assert answer.result[0] == b"recount"
    assert (tmp_path / "f").read_text() == edited((4, "four\n"))


@pytest.mark.parametrize("file_end", ["\n", "\r\n"])
@pytest.mark.parametrize("patch_end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_endings_of_the_file_win(tmp_path: Path, file_end: str, patch_end: str, last: bool) -> None:
    old, new = LINES, edited((4, "four\n"), (30, "thirty\n"))
    if not last:
        old, new = old[:-1], new[:-1]
    fill(tmp_path, {"old/f": old, "new/f": new})
    patch = run(tmp_path, "diff", "-u", "old/f", "new/f", ok=(1,)).decode().replace("\n", patch_end)
    (tmp_path / "f").write_bytes(old.replace("\n", file_end).encode())
    apply(tmp_path, patch + f"--- /dev/null{patch_end}+++ b/new file{patch_end}@@ -0,0 +1 @@{patch_end}+new{patch_end}")
    assert (tmp_path / "f").read_bytes() == new.replace("\n", file_end).encode()
    assert (tmp_path / "new file").read_bytes() == b"new\n"


def test_offsets_white_space_and_distant_context_are_forgiven_and_named(tmp_path: Path) -> None:
    fill(tmp_path, {"f": "top\n" * 7 + LINES})
    assert apply(tmp_path, PATCH).result[0] == b"exact"
    assert "four" in (tmp_path / "f").read_text()
    fill(tmp_path, {"f": LINES.replace("line 3", "line   3")})
    assert apply(tmp_path, PATCH).result[0] == b"white-space"
    assert "line   3\nfour" in (tmp_path / "f").read_text()
    fill(tmp_path, {"f": LINES.replace("line 2\n", "LINE 2\n").replace("line 6\n", "LINE 6\n")})
    assert apply(tmp_path, PATCH).result[0] == b"reduced-context"
    assert "LINE 2\nline 3\nfour\nline 5\nLINE 6\n" in (tmp_path / "f").read_text()


def test_a_diff_without_context_goes_where_it_says(tmp_path: Path) -> None:
    repo = Repo(tmp_path, {"f": LINES})
    fill(repo.path, {"f": edited((4, "line 4\ninserted\n"), (9, ""), (15, "fifteen\n"))})
    assert apply(repo.old, repo.diff("-U0")).result[0] == b"zero-context"
    assert repo.equal()


def test_files_keep_their_permission_bits(tmp_path: Path) -> None:
    fill(tmp_path, {"f": LINES, "g": "g\n"})
    (tmp_path / "f").chmod(0o640)
    (tmp_path / "g").chmod(0o604)
    apply(
        tmp_path, PATCH + "diff --git a/g b/sub/h\nold mode 100644\nnew mode 100755\nrename from g\nrename to sub/h\n"
    )
    assert (tmp_path / "f").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "sub/h").stat().st_mode & 0o7777 == 0o705


def test_check_only_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, {"f": LINES})
    before = picture(tmp_path)
    checked = apply(tmp_path, PATCH, check=1)
    assert picture(tmp_path) == before
    applied = apply(tmp_path, PATCH)
    assert (applied.items, applied.result) == (checked.items, checked.result)


def test_a_file_becomes_a_folder_and_a_folder_a_file(tmp_path: Path) -> None:
    repo = Repo(tmp_path, {"a": LINES, "b/c/d": LINES, "b/e": "e\n"})
    (repo.path / "a").unlink()
    shutil.rmtree(repo.path / "b")
    fill(repo.path, {"a/x": LINES, "b": "now a file\n"})
    apply(repo.old, repo.diff("--no-renames"))
    assert repo.equal()


def test_a_folder_with_other_files_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    fill(tmp_path, {"d/listed": "x\n", "d/other": "mine\n"})
    patch = (
        "diff --git a/d/listed b/d/listed\ndeleted file mode 100644\n--- a/d/listed\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        "diff --git a/d b/d\nnew file mode 100644\n--- /dev/null\n+++ b/d\n@@ -0,0 +1 @@\n+file\n"
    )
    assert rejected(tmp_path, patch).details == ["d: a folder of that name is in the way"]


def test_the_workspaces_git_settings_attributes_and_index_play_no_part(tmp_path: Path) -> None:
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "git", "config", "core.autocrlf", "true")
    run(tmp_path, "git", "config", "apply.whitespace", "fix")
    run(tmp_path, "git", "config", "filter.evil.smudge", f"touch {tmp_path}/ran; cat")
    fill(tmp_path, {"f": LINES, ".gitattributes": "* text eol=crlf filter=evil working-tree-encoding=UTF-16\n"})
    attributes = (
        "--- a/.gitattributes\n+++ b/.gitattributes\n@@ -1 +1,2 @@\n"
        " * text eol=crlf filter=evil working-tree-encoding=UTF-16\n+*.x text\n"
    )
    patch = attributes + PATCH.replace("+four", "+four  ")
    index = (tmp_path / ".git").stat().st_mtime_ns
    apply(tmp_path, patch)
    assert (tmp_path / "f").read_bytes() == edited((4, "four  \n")).encode()
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / ".git").stat().st_mtime_ns == index


# -- what it refuses


def test_every_hunk_and_file_that_fails_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {"src/a.py": LINES, "there": "x\n", "done": "two\n", "f": "f\n"})
    os.mkfifo(tmp_path / "fifo")
    patch = (
        "--- a/src/a.py\n+++ b/src/a.py\n@@ -1,3 +1,3 @@\n line 1\n-line 2\n+two\n line 3\n"
        "@@ -10,3 +10,3 @@\n line ten\n-line zehn\n+10\n line elf\n"
        "@@ -20,3 +20,3 @@\n line zwanzig\n-line 99\n+10\n line 98\n"
        "--- a/none.py\n+++ b/none.py\n@@ -1 +1 @@\n-x\n+y\n"
        "--- /dev/null\n+++ b/there\n@@ -0,0 +1 @@\n+new\n"
        "--- a/done\n+++ b/done\n@@ -1 +1 @@\n-one\n+two\n"
        "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-f\n+F\n"
    )
    error = rejected(tmp_path, patch)
    assert error.code == "patch_rejected"
    assert error.details == [
        "src/a.py hunk 2 (line 10): context does not match",
        "src/a.py hunk 3 (line 20): context does not match",
        "none.py: no such file",
        "there: already exists",
        "done: already applied",
    ]
    assert rejected(tmp_path, "--- a/fifo\n+++ b/fifo\n@@ -1 +1 @@\n-x\n+y\n").details == ["fifo: is a FIFO"]


def test_a_patch_is_not_applied_a_second_time(tmp_path: Path) -> None:
    fill(tmp_path, {"f": LINES})
    patch = "--- a/f\n+++ b/f\n@@ -3,4 +3,5 @@\n line 3\n line 4\n+inserted\n line 5\n line 6\n"
    apply(tmp_path, patch)
    assert rejected(tmp_path, patch).details == ["f: already applied"]


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "//etc/x",
        ".git/hooks/post-checkout",
        "sub/.git/config",
        ".GIT/config",
        "a//../x",
        "link/x",
        "link/../x",
        "deep/link/x",
    ],
)
@pytest.mark.parametrize("form", ["git", "git-quoted", "plain", "no-prefix", "rename", "delete", "mode"])
def test_no_path_leads_out_of_the_tree(tmp_path: Path, path: str, form: str) -> None:
    root = tmp_path / "root"
    outside = tmp_path / "outside"
    fill(root, {"f": "f\n", "deep/f": "f\n"})
    fill(outside, {"x": "one\n"})
    fill(tmp_path, {"x": "one\n"})
    (root / "link").symlink_to("../outside")
    (root / "deep/link").symlink_to(outside)
    head = f"diff --git a/{path} b/{path}\n"
    forms = {
        "git": f"{head}new file mode 100755\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+bad\n",
        "git-quoted": f'diff --git "a/{path}" "b/{path}"\n--- "a/{path}"\n+++ "b/{path}"\n@@ -1 +1 @@\n-one\n+bad\n',
        "plain": f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-one\n+bad\n",
        "no-prefix": f"--- {path}\n+++ {path}\n@@ -1 +1 @@\n-one\n+bad\n",
        "rename": f"diff --git a/f b/{path}\nsimilarity index 100%\nrename from f\nrename to {path}\n",
        "delete": f"{head}deleted file mode 100644\n--- a/{path}\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n",
        "mode": f"{head}old mode 100644\nnew mode 100755\n",
    }
    before = picture(tmp_path)
    for strip in (-1, 0 if form == "no-prefix" else 1):
        with pytest.raises(ToolError) as caught:
            apply(root, forms[form], strip=strip)
        assert caught.value.code in ("unsafe_path", "patch_rejected")
        if form != "no-prefix" or strip == 0:
            assert caught.value.code == "unsafe_path", caught.value.details
        assert picture(tmp_path) == before


def test_a_symlink_made_by_the_patch_is_not_written_through(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill(root, {"f": "f\n"})
    (tmp_path / "outside").mkdir()
    link = (
        "diff --git a/to b/to\nnew file mode 120000\n--- /dev/null\n+++ b/to\n@@ -0,0 +1 @@\n+../outside\n"
        "\\ No newline at end of file\n"
    )
    inside = "diff --git a/to/x b/to/x\nnew file mode 100644\n--- /dev/null\n+++ b/to/x\n@@ -0,0 +1 @@\n+bad\n"
    mail = "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\nSubject: x\n\n---\n"
    rejected(root, link + inside)
    rejected(root, mail + link + mail + inside)
    assert os.listdir(tmp_path / "outside") == []
    assert apply(root, link).items == [[b"A", b"to", b"", b"1", b"0"]]
    assert os.readlink(root / "to") == "../outside"


def test_submodules_and_binary_changes_without_content_are_rejected(tmp_path: Path) -> None:
    fill(tmp_path, {"bin": b"\0", "sub/f": ""})
    submodule = (
        "diff --git a/sub b/sub\nindex 1234567..89abcde 160000\n--- a/sub\n+++ b/sub\n"
        "@@ -1 +1 @@\n-Subproject commit 1\n+Subproject commit 2\n"
    )
    assert "submodule" in rejected(tmp_path, submodule).details[0]
    for line in (
        "diff --git a/bin b/bin\nindex 123..456 100644\nBinary files a/bin and b/bin differ\n",
        "Binary files old/bin and new/bin differ\n",
    ):
        assert "binary" in rejected(tmp_path, line).details[0]


@pytest.mark.parametrize("patch", ["", "\n", "hello\n", "--- a\n+++ b\n", "diff --git a/f b/f\nindex 1..2\n", "\0\xff"])
def test_a_text_without_a_patch_is_an_invalid_argument(tmp_path: Path, patch: str) -> None:
    assert rejected(tmp_path, patch).code == "invalid_argument"


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ("@@ -1 +1 @@\n-a\n+b\n", "line 1: this hunk does not say which file"),
        ("--- a/f\n+++ b/f\n@@ -1 +x @@\n-a\n+b\n", "line 3: this hunk header is malformed"),
        ("--- a/f\n+++ b/f\n@@ -1 +1 @@\n a\n", "line 3: this hunk adds and removes nothing"),
        ("diff --cc f\n", "line 1: this is the combined diff"),
    ],
)
def test_a_malformed_patch_is_rejected_with_its_line(tmp_path: Path, patch: str, says: str) -> None:
    assert rejected(tmp_path, patch).details[0].startswith(says)


def test_without_git_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"f": LINES})
    monkeypatch.setenv("PATH", str(tmp_path))
    error = rejected(tmp_path, PATCH)
    assert (error.code, error.message) == ("file_refused", "git is not available inside the workspace")


def test_a_file_changed_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"f": LINES})
    real = git.run

    def late(*arguments: object) -> tuple[int, bytes]:
        (tmp_path / "f").write_text("written by somebody else\n")
        return real(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(git, "run", late)
    error = refusal("patch_apply", tmp_path, -1, 0, content=PATCH.encode())
    assert error.details == ["f: was changed while the patch was applied"]
    assert {path: entry[2] for path, entry in picture(tmp_path).items()} == {b"f": b"written by somebody else\n"}


def test_a_failure_half_way_puts_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = Repo(tmp_path, {"a": "a\n", "b": "b\n", "gone/x": LINES, "z": "z\n"})
    shutil.rmtree(repo.path / "gone")
    fill(repo.path, {"a": "A\n", "b": "B\n", "new/n": "n\n", "z": "Z\n"})
    real = swap.Swap.put

    def failing(self: swap.Swap, number: bytes, path: bytes) -> None:
        if path == b"z":
            raise OSError(28, "No space left on device")
        real(self, number, path)

    monkeypatch.setattr(swap.Swap, "put", failing)
    assert rejected(repo.old, repo.diff()).code == "file_refused"


@pytest.mark.parametrize("step", range(0, 40, 3))
def test_sigterm_at_any_moment_leaves_the_old_tree_or_the_new_one(tmp_path: Path, step: int) -> None:
    fill(tmp_path / "t", {"f": LINES, "g/h": "g\n"})
    patch = PATCH + "--- a/g/h\n+++ /dev/null\n@@ -1 +0,0 @@\n-g\n--- /dev/null\n+++ b/n/n\n@@ -0,0 +1 @@\n+n\n"
    (tmp_path / "patch").write_text(patch)
    code = f"""
import os, signal
from sandlot.guest.tools import get
left = {step}
for name in ("rename", "link", "mkdir", "rmdir", "unlink", "write", "chmod"):
    def wrapped(*args, real=getattr(os, name), **kwargs):
        global left
        left -= 1
        if left == -1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)
    setattr(os, name, wrapped)
get("patch_apply")([{os.fsencode(tmp_path / "t")!r}, b"-1", b"0"], 0, lambda _: None)
"""
    before = picture(tmp_path / "t")
    with open(tmp_path / "patch", "rb") as file:
        done = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, check=False)
    after = picture(tmp_path / "t")
    if after == before:
        assert done.returncode == 128 + signal.SIGTERM, done.stderr
    else:
        assert sorted(after) == [b"f", b"n", b"n/n"]
        assert after[b"f"][2] == edited((4, "four\n")).encode()


# -- properties

NAMES = st.sampled_from(
    [
        "f",
        "a b",
        "dir/f",
        "dir/sub/g",
        "b/x",
        "a/x",
        "-n",
        'quo"te',
        "back\\slash",
        "tab\there",
        "new\nline",
        "é",
        "--- x",
        "+",
    ]
)
LINE = st.sampled_from(
    ["", "x", "y", "-- ", "--- a/f", "+++ b/f", "@@ -1 +1 @@", "\f", "\r", "From here", "diff --git a/x b/x", "z "]
)
TEXT = st.builds(
    lambda lines, ended: ("\n".join(lines) + ("\n" if ended and lines else "")).encode(),
    st.lists(LINE, max_size=25),
    st.booleans(),
)
CONTENT = st.one_of(TEXT, TEXT, TEXT, st.binary(min_size=1, max_size=40).map(lambda b: b"\0" + b))
ENTRY = st.tuples(st.sampled_from(["file", "file", "file", "exec", "link"]), CONTENT)
TREE = st.dictionaries(NAMES, ENTRY, max_size=6)


def lay(root: Path, tree: dict[str, tuple[str, bytes]]) -> None:
    for name, (kind, content) in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to("t" + content.hex()[:20])
        else:
            path.write_bytes(content)
            path.chmod(0o755 if kind == "exec" else 0o644)


def pair(base: Path, old: dict[str, tuple[str, bytes]], new: dict[str, tuple[str, bytes]]) -> Repo:
    (base / "repo").mkdir()
    lay(base / "repo", old)
    repo = Repo.__new__(Repo)
    repo.path, repo.old = base / "repo", base / "old"
    run(repo.path, "git", "init", "-q")
    repo.commit()
    shutil.copytree(repo.path, repo.old, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    for entry in repo.path.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    lay(repo.path, new)
    return repo


FORMS = st.sampled_from(["diff", "no-prefix", "one-line", "mail", "no-renames", "copies"])
SLOW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def printed(repo: Repo, form: str) -> bytes:
    if form == "mail":
        repo.commit()
        return run(repo.path, "git", "format-patch", "--stdout", "--binary", "-1")
    options = {
        "no-prefix": ["--no-prefix"],
        "one-line": ["-U1"],
        "no-renames": ["--no-renames"],
        "copies": ["-C", "-C"],
    }
    return repo.diff(*options.get(form, []))


@SLOW
@given(TREE, TREE, FORMS)
def test_what_git_prints_between_two_trees_turns_one_into_the_other(
    old: dict[str, tuple[str, bytes]], new: dict[str, tuple[str, bytes]], form: str
) -> None:
    with tempfile.TemporaryDirectory() as base:
        repo = pair(Path(base), old, new)
        patch = printed(repo, form)
        if b"\ndiff --git " not in b"\n" + patch:
            return
        apply(repo.old, patch)
        assert repo.equal()


@SLOW
@given(TREE, TREE, st.integers(0, 10_000), st.binary(max_size=4), st.integers(0, 3))
def test_a_mutilated_patch_is_applied_whole_or_changes_nothing(
    old: dict[str, tuple[str, bytes]], new: dict[str, tuple[str, bytes]], at: int, noise: bytes, cut: int
) -> None:
    with tempfile.TemporaryDirectory() as base:
        repo = pair(Path(base), old, new)
        patch = repo.diff()
        at %= len(patch) + 1
        before = picture(repo.old)
        outside = set(os.listdir(base))
        try:
            apply(repo.old, patch[:at] + noise + patch[at + cut :])
        except ToolError:
            assert picture(repo.old) == before
        assert set(os.listdir(base)) == outside
        assert not [name for name in os.listdir(repo.old) if name.startswith(".sandlot")]


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name))
def test_a_quoted_name_reads_back(name: bytes) -> None:
    assert re.fullmatch(rb'"[ -~]*"', quote(name))
    assert unquote(quote(name) + b" rest") == (name, b" rest")


PLAIN = st.dictionaries(NAMES, TEXT.filter(bool), max_size=5)


@SLOW
@given(PLAIN, PLAIN, st.sampled_from([0, 1, 3]))
@example({"f": b"\n\n\n"}, {"f": b"\nx\n\n"}, 0)  # git alone would change the last line
@example({"f": b"x\nx"}, {"f": b"x\n"}, 0)  # and look for the deleted one a line too early
@example({"f": b"\n\r\n", "a b": b"\r\n"}, {"f": b"\n"}, 0)
def test_what_diff_prints_between_two_folders_turns_one_into_the_other(
    old: dict[str, bytes], new: dict[str, bytes], context: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name, tree in (("old", old), ("new", new)):
            (base / name).mkdir()
            lay(base / name, {path: ("file", content) for path, content in tree.items()})
        patch = run(base, "diff", f"-U{context}", "-raN", "old", "new", ok=(0, 1))
        if patch:
            apply(base / "old", patch)
        assert files_of(base / "old") == files_of(base / "new")
