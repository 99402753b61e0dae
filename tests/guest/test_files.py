"""The file tools: list, read, write, move, delete."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.guest.tools import TOOLS, ToolError, copying, get
from sandlot.guest.tools.globs import matcher
from tests.guest.calling import Answer, call, call_reading, picture, refusal

DEEP = 2200  # 2 bytes a level: the path is longer than PATH_MAX


def listed(
    root: Path, path: str = ".", depth: int = 0, glob: str = "", limit: int = 1000, cursor: bytes = b""
) -> Answer:
    return call("file_list", root, path, depth, glob, 1, 1, limit, cursor)


def write(
    root: Path, path: str | bytes, content: bytes, mode: str = "", parents: int = 1, overwrite: int = 1
) -> Answer:
    return call("file_write", root, path, mode, parents, overwrite, content=content)


def make_deep(root: Path, levels: int = DEEP) -> bytes:
    """A path of many levels with a file at its end; its relative path."""
    folder = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    return b"d/" * levels + b"end"


# -- the registry


def test_every_tool_in_the_registry_can_be_imported_and_says_its_contract() -> None:
    for name in TOOLS:
        assert "Result:" in (get(name).__doc__ or ""), name


def test_an_unknown_tool_and_missing_or_malformed_arguments_are_refused(tmp_path: Path) -> None:
    assert refusal("nothing").code == "invalid_argument"
    assert refusal("file_delete", tmp_path).code == "invalid_argument"
    assert refusal("file_delete", tmp_path, "x", 2).code == "invalid_argument"
    assert refusal("file_delete", tmp_path, b"a\0b", 0).code == "invalid_argument"
    assert refusal("file_list", tmp_path, ".", -1, "", 1, 1, 10, "").code == "invalid_argument"
    assert refusal("file_write", tmp_path, "x", "9", 0, 1, content=b"").code == "invalid_argument"
    assert refusal("file_write", tmp_path, "x", "", 0, 1).code == "invalid_argument"


# -- file_list


def test_a_listing_says_kind_size_mode_time_and_target(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"12345")
    (tmp_path / "run").chmod(0o750)
    os.utime(tmp_path / "run", ns=(1, 1_700_000_000_123_456_789))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "gone").symlink_to("/nowhere/at all")
    os.mkfifo(tmp_path / "pipe")
    items = {item[0]: item[1:] for item in listed(tmp_path).items}
    assert items[b"run"] == [b"f", b"5", b"0750", b"1700000000123456789", b""]
    assert items[b"sub/gone"][0] == b"l"
    assert items[b"sub/gone"][4] == b"/nowhere/at all"
    assert items[b"sub"][0] == b"d"
    assert items[b"pipe"][0] == b"o"


def test_a_listing_is_ordered_by_components_and_its_pages_join_up(tmp_path: Path) -> None:
    for path in ("a/b", "a/c/d", "a.b", "a-", "b/.git/config", "b/z", b"\xff\n".decode("latin-1")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    whole = listed(tmp_path).names
    assert whole == sorted(whole, key=lambda path: path.split(b"/"))
    for size in (1, 2, 3):
        pages: list[bytes] = []
        cursor = b""
        while True:
            page = listed(tmp_path, limit=size, cursor=cursor)
            pages += page.names
            assert int(page.result[2]) == len(page.items) <= size
            if page.result[0] == b"0":
                break
            cursor = page.result[1]
        assert pages == whole


def test_a_cursor_whose_entry_is_gone_goes_on_behind_it(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"")
    assert listed(tmp_path, cursor=b"b/q").names == [b"c", b"c/x"]
    assert listed(tmp_path, cursor=b"a/x/gone").names == [b"c", b"c/x"]
    assert listed(tmp_path, cursor=b"a").names == [b"a/x", b"c", b"c/x"]


def test_depth_hidden_and_git_flags_leave_entries_out(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / ".git" / "hooks").mkdir(parents=True)
    (tmp_path / ".env").write_bytes(b"")
    assert listed(tmp_path, depth=1).names == [b".env", b".git", b"a"]
    assert listed(tmp_path, depth=2).names == [b".env", b".git", b".git/hooks", b"a", b"a/b"]
    assert call("file_list", tmp_path, "", 0, "", 0, 0, 10, "").names == [b"a", b"a/b"]
    assert call("file_list", tmp_path, "", 0, "", 1, 0, 10, "").names == [b".env", b"a", b"a/b"]


def test_a_listing_never_follows_a_symlink_below_its_start(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "up").symlink_to("..")
    assert listed(tmp_path).names == [b"loop", b"up"]


def test_listing_a_file_gives_that_file_and_a_missing_path_says_so(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"xy")
    assert listed(tmp_path, "f").items[0][:3] == [b"", b"f", b"2"]
    assert refusal("file_list", tmp_path, "no/such", 0, "", 1, 1, 9, "").code == "path_not_found"
    assert refusal("file_list", tmp_path, "f/x", 0, "", 1, 1, 9, "").code == "path_not_found"


def test_a_path_deeper_than_path_max_is_listed_read_moved_and_deleted_with_few_descriptors(tmp_path: Path) -> None:
    end = make_deep(tmp_path)
    names = call("file_list", tmp_path, "", 0, "end", 1, 1, 10, "").names
    assert names == [end]
    assert len(end) > os.pathconf("/", "PC_PATH_MAX")
    page = listed(tmp_path, limit=10, cursor=b"d/" * (DEEP - 1) + b"d")
    assert page.names == [end]
    write(tmp_path, end, b"at the end")
    assert call_reading("file_read", tmp_path, end, "bytes", 0, 0, 0).content == b"at the end"
    call("file_move", tmp_path, end, b"d/" * DEEP + b"new/end", 0)
    assert call("file_delete", tmp_path, "d", 1).numbers == [1, DEEP + 1]
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_read_is_counted_and_the_rest_is_listed(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    real = os.open

    def refusing(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"closed":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, dir_fd=dir_fd)

    with pytest.MonkeyPatch.context() as patch:  # root may read everything, so the kernel's answer is played
        patch.setattr(os, "open", refusing)
        answer = listed(tmp_path)
    assert answer.names == [b"closed", b"open"]
    assert answer.result[3] == b"1"


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("*.py", "a/b.py", True),
        ("*.py", "a/b.pyc", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/x/a.py", False),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/x/y/a.py", True),
        ("**/test_?.py", "x/test_1.py", True),
        ("src/**", "src/x/y", True),
        ("src/**", "src", False),
        ("*.{ts,tsx}", "x.tsx", True),
        ("*.{ts,tsx}", "x.tsxx", False),
        ("[!a]x", "bx", True),
        ("[!a]x", "ax", False),
        ("[a-c]", "b", True),
        ("[", "[", True),
        ("!*.py", "a.py", False),
        ("!*.py", "a.c", True),
        (r"\*", "*", True),
        (r"\*", "x", False),
        ("?", "é", True),
        ("a?", "a/", False),
        ("a[!b]c", "a/c", False),
        ("*", "line\nbreak", True),
    ],
)
def test_globs_match_as_documented(glob: str, path: str, expected: bool) -> None:
    test = matcher(glob.encode())
    assert test is not None
    assert test(path.encode()) is expected


@given(st.binary(max_size=40))
def test_any_glob_compiles_or_is_refused_and_never_crashes(glob: bytes) -> None:
    with contextlib.suppress(ToolError):
        test = matcher(glob)
        assert test is None or test(b"a/b") in (True, False)


# -- file_read


def test_a_byte_range_of_a_huge_sparse_file_is_sent_and_described(tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"middle")
    answer = call_reading("file_read", tmp_path, "big", "bytes", (1 << 39) - 2, 10, 0)
    assert answer.content == b"\0\0middle\0\0"
    assert answer.numbers[:7] == [1 << 40, (1 << 39) - 2, 10, -1, 0, 0, 0]
    assert call_reading("file_read", tmp_path, "big", "bytes", (1 << 40) - 1, 0, 0).numbers[6] == 1


def test_a_line_behind_a_huge_hole_is_found(tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as file:
        file.write(b"one\n")
        file.seek(1 << 40)
        file.write(b"\nthree\nfour")
    answer = call_reading("file_read", tmp_path, "big", "lines", 3, 1, 0)
    assert answer.content == b"three\n"
    assert answer.numbers[1:7] == [(1 << 40) + 1, 6, -1, 3, 3, 0]


def test_a_line_range_reads_no_further_than_it_must(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a\nb\n" + b"x" * 10_000_000)
    with pytest.MonkeyPatch.context() as patch:
        read: list[int] = []
        real = os.pread

        def counted(file: int, size: int, offset: int) -> bytes:
            read.append(size)
            return real(file, size, offset)

        patch.setattr(os, "pread", counted)
        assert call_reading("file_read", tmp_path, "f", "lines", 2, 1, 0).content == b"b\n"
    assert sum(read) < 1_000_000


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([b"", b"x", b"long line " * 9000, b"\r", b"\0"]), max_size=6),
    st.booleans(),
    st.integers(1, 8),
    st.integers(0, 5),
)
def test_line_ranges_agree_with_splitting_at_newlines(lines: list[bytes], ended: bool, start: int, count: int) -> None:
    content = b"\n".join(lines) + (b"\n" if lines and ended else b"")
    expected = content.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    kept = [line + b"\n" for line in expected]
    if kept and not content.endswith(b"\n"):
        kept[-1] = kept[-1][:-1]
    wanted = kept[start - 1 : start - 1 + count if count else None]
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "f").write_bytes(content)
        answer = call_reading("file_read", folder, "f", "lines", start, count, 0)
    assert answer.content == b"".join(wanted)
    size, offset, sent, total, first, last, eof = answer.numbers[:7]
    at_end = start - 1 + len(wanted) >= len(kept)
    assert (size, sent, first, eof) == (len(content), len(answer.content), start, at_end)
    assert total == (len(kept) if at_end else -1)
    assert last == start - 1 + len(wanted)
    assert content[offset : offset + sent] == answer.content


def test_the_limit_cuts_a_line_and_the_offset_lets_the_reader_go_on(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"first\nsecond\n")
    answer = call_reading("file_read", tmp_path, "f", "lines", 2, 1, 3)
    assert answer.content == b"sec"
    assert answer.numbers[1:7] == [6, 3, -1, 2, 2, 0]
    assert call_reading("file_read", tmp_path, "f", "bytes", 9, 0, 0).content == b"ond\n"


def test_a_file_whose_size_is_unknown_is_read_to_its_end() -> None:
    answer = call_reading("file_read", "/", "/proc/self/status", "bytes", 0, 0, 0)
    assert answer.content.startswith(b"Name:")
    assert answer.numbers[6] == 1


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder"])
def test_reading_or_writing_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    read, write_end = os.pipe()
    with pytest.raises(ToolError, match=kind if kind != "fifo" else "FIFO") as caught:
        get("file_read")([os.fsencode(tmp_path), b"it", b"bytes", b"0", b"0", b"0"], write_end, lambda _: None)
    os.close(read)
    os.close(write_end)
    assert caught.value.code == "file_refused"
    assert refusal("file_write", tmp_path, "it", "", 0, 1, content=b"x").code == "file_refused"


def test_a_reader_that_goes_away_ends_the_read_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1_000_000)
    read, write_end = os.pipe()
    os.close(read)
    with pytest.raises(ToolError, match="sent"):
        get("file_read")([os.fsencode(tmp_path), b"f", b"bytes", b"0", b"0", b"0"], write_end, lambda _: None)
    os.close(write_end)


def test_messages_carry_no_control_characters(tmp_path: Path) -> None:
    error = refusal("file_delete", tmp_path, b"\x1b[31m\xff\n", 0)
    assert error.message.isprintable()
    assert "\\x1b[31m\\xff\\n" in error.message


# -- file_write


def test_a_new_file_gets_its_content_parents_and_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        answer = write(tmp_path, "a/b/c.txt", b"hello")
    finally:
        os.umask(before)
    assert answer.result == [b"5", b"1", os.fsencode(tmp_path.resolve() / "a/b/c.txt")]
    assert (tmp_path / "a/b/c.txt").read_bytes() == b"hello"
    assert (tmp_path / "a/b/c.txt").stat().st_mode & 0o7777 == 0o644


def test_a_replaced_file_keeps_its_mode_unless_another_is_given(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_bytes(b"old")
    script.chmod(0o751)
    assert write(tmp_path, "run.sh", b"new").result[1] == b"0"
    assert script.stat().st_mode & 0o7777 == 0o751
    write(tmp_path, "run.sh", b"new", mode="0600")
    assert script.stat().st_mode & 0o7777 == 0o600


def test_writing_through_a_symlink_changes_the_file_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("real/new.txt")  # leads to nothing yet
    answer = write(tmp_path, "one", b"x")
    assert answer.result == [b"1", b"1", os.fsencode(tmp_path.resolve() / "real/new.txt")]
    assert (tmp_path / "one").is_symlink()
    assert (tmp_path / "real/new.txt").read_bytes() == b"x"
    (tmp_path / "loop").symlink_to("loop")
    assert refusal("file_write", tmp_path, "loop", "", 0, 1, content=b"").code == "file_refused"


def test_create_only_refuses_an_existing_file_and_missing_parents_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "f", b"1")
    assert "already exists" in refusal("file_write", tmp_path, "f", "", 0, 0, content=b"2").message
    assert refusal("file_write", tmp_path, "no/f", "", 0, 1, content=b"2").code == "path_not_found"
    assert write(tmp_path, "g", b"3", overwrite=0).result[1] == b"1"
    assert picture(tmp_path)[b"f"][2] == b"1"


@pytest.mark.parametrize("nameless", [True, False])
def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, nameless: bool) -> None:
    (tmp_path / "f").write_bytes(b"old")
    before = picture(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        if not nameless:
            patch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # opening "." to write is then refused with EISDIR

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fchmod", full)
        assert refusal("file_write", tmp_path, "f", "", 0, 1, content=b"new").code == "file_refused"
        assert refusal("file_write", tmp_path, "x/y/z", "", 1, 1, content=b"new").code == "file_refused"
    assert picture(tmp_path) == before
    with pytest.MonkeyPatch.context() as patch:
        if not nameless:
            patch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
        write(tmp_path, "f", b"new")
        write(tmp_path, "g", b"new", overwrite=0)
    assert sorted(os.listdir(tmp_path)) == ["f", "g"]
    assert (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.parametrize("nameless", [True, False])
def test_a_write_ended_by_sigterm_leaves_nothing_behind(tmp_path: Path, nameless: bool) -> None:
    code = f"""
import os, sys
from sandlot.guest.tools import get
if not {nameless}: os.O_TMPFILE = os.O_DIRECTORY
get("file_write")([{os.fsencode(tmp_path)!r}, b"a/b/f", b"", b"1", b"1"], 0, lambda _: None)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"x" * 200_000)  # more than a pipe holds: it is reading once this returns
    process.stdin.flush()
    assert (tmp_path / "a/b").is_dir()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    process.stdin.close()
    assert os.listdir(tmp_path) == []


def test_names_of_any_bytes_are_written_listed_and_deleted(tmp_path: Path) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b" ", b"*", b"\\", "ü".encode()):
        write(tmp_path, name, name)
        assert name in listed(tmp_path).names
        assert call("file_delete", tmp_path, name, 0).numbers == [1, 0]
    assert os.listdir(tmp_path) == []


# -- file_move


def test_a_move_renames_makes_parents_and_keeps_symlinks_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert call("file_move", tmp_path, "link", "x/y/link2", 0).numbers == [0]
    assert os.readlink(tmp_path / "x/y/link2") == "nowhere"
    assert not os.path.lexists(tmp_path / "link")


def test_a_move_refuses_what_would_lose_or_loop(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "f").write_bytes(b"f")
    (tmp_path / "g").write_bytes(b"g")
    (tmp_path / "in").symlink_to("a/b")
    before = picture(tmp_path)
    for source, destination, overwrite in (
        ("f", "g", 0),
        ("f", "a", 1),
        ("a", "f", 1),
        ("a", "a/b/c/d", 0),
        ("a", "in/c/d", 0),
        ("a/b", "a", 1),
        (".", "x", 0),
        ("a/..", "x", 0),
        ("", "x", 0),
        (str(tmp_path.parent), "x/y", 0),
        ("f", "g/x", 0),
        ("none", "n/o/n/e", 0),
    ):
        error = refusal("file_move", tmp_path, source, destination, overwrite)
        assert error.code in ("file_refused", "path_not_found", "invalid_argument"), (source, destination)
        assert picture(tmp_path) == before, (source, destination)


def test_a_move_replaces_a_file_when_told_and_the_same_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    (tmp_path / "g").write_bytes(b"g")
    os.link(tmp_path / "f", tmp_path / "h")
    call("file_move", tmp_path, "f", "g", 1)
    call("file_move", tmp_path, "g", "./g", 1)
    call("file_move", tmp_path, "g", "h", 1)
    assert picture(tmp_path) == {b"h": ("f", (tmp_path / "h").stat().st_mode & 0o7777, b"f")}


def furnish(folder: Path) -> None:
    """A tree with one of everything that a copy could lose."""
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "script").write_bytes(b"#!/bin/sh\n")
    (folder / "sub" / "script").chmod(0o755)
    os.link(folder / "sub" / "script", folder / "twin")
    (folder / "link").symlink_to("sub/script")
    with open(folder / "holes", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 20)
        file.write(b"data")
    os.mkfifo(folder / "fifo", 0o640)
    for path in (folder / "sub" / "script", folder / "sub" / "empty", folder / "sub"):
        os.utime(path, ns=(10**18, 10**18 + 7))
    os.utime(folder / "link", ns=(10**18, 10**18 + 9), follow_symlinks=False)
    (folder / "sub" / "empty").chmod(0o555)


def test_a_move_that_cannot_rename_copies_faithfully_and_removes_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish_root = tmp_path / "from"
    furnish_root.mkdir()
    furnish(furnish_root)
    real = os.rename

    def crossing(source: bytes, target: bytes, **where: int) -> None:
        if source == b"from":
            raise OSError(18, "Invalid cross-device link")
        real(source, target, **where)

    monkeypatch.setattr(os, "rename", crossing)
    assert call("file_move", tmp_path, "from", "to/here", 0).numbers == [1]
    monkeypatch.undo()
    copy = tmp_path / "to/here"
    assert sorted(os.listdir(tmp_path)) == ["to"]
    assert sorted(os.listdir(copy)) == ["fifo", "holes", "link", "sub", "twin"]
    assert (copy / "twin").stat().st_ino == (copy / "sub/script").stat().st_ino
    assert (copy / "sub/script").stat().st_mode & 0o7777 == 0o755
    assert (copy / "sub/empty").stat().st_mode & 0o7777 == 0o555
    assert (copy / "sub").stat().st_mtime_ns == 10**18 + 7
    assert (copy / "sub/script").stat().st_mtime_ns == 10**18 + 7
    assert (copy / "link").lstat().st_mtime_ns == 10**18 + 9
    assert (copy / "holes").stat().st_size == 1 << 40
    assert (copy / "holes").stat().st_blocks < 1 << 12
    assert (copy / "fifo").is_fifo()


def test_a_copying_move_that_fails_leaves_the_source_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from" / "sub").mkdir(parents=True)
    (tmp_path / "from" / "sub" / "f").write_bytes(b"x")
    before = picture(tmp_path)

    def crossing(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", crossing)
    monkeypatch.setattr(copying, "write_all", full)
    assert "no space" in refusal("file_move", tmp_path, "from", "to/here", 0).message
    assert picture(tmp_path) == before


# -- file_delete


def test_deleting_takes_symlinks_themselves_and_needs_recursive_for_a_full_folder(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f").write_bytes(b"")
    (tmp_path / "link").symlink_to("full")
    assert refusal("file_delete", tmp_path, "full", 0).code == "file_refused"
    assert call("file_delete", tmp_path, "link/", 1).numbers == [1, 0]
    assert (tmp_path / "full" / "f").exists()
    assert call("file_delete", tmp_path, "full", 1).numbers == [1, 1]
    (tmp_path / "empty").mkdir()
    assert call("file_delete", tmp_path, "empty", 0).numbers == [0, 1]
    assert refusal("file_delete", tmp_path, "empty", 1).code == "path_not_found"


def test_the_root_and_what_holds_it_cannot_be_deleted(tmp_path: Path) -> None:
    root = tmp_path / "a" / "root"
    root.mkdir(parents=True)
    (root / "to").symlink_to(tmp_path / "a")
    for path in (".", "..", "", "/", str(root), str(root) + "/", str(tmp_path / "a"), "x/../..", "to/root"):
        error = refusal("file_delete", root, path, 1)
        assert error.code in ("file_refused", "invalid_argument", "path_not_found"), path
        assert root.is_dir()


def test_read_only_folders_are_deleted_with_their_content(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_bytes(b"")
    (tmp_path / "a" / "b").chmod(0o555)
    (tmp_path / "a").chmod(0)
    assert call("file_delete", tmp_path, "a", 1).numbers == [1, 2]
