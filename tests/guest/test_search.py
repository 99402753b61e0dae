"""file_search."""

from __future__ import annotations

import os
import random
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.guest.tools import matching
from sandlot.guest.tools.matching import clip
from tests.guest.calling import Answer, call, refusal


def search(
    root: Path | str,
    pattern: str | bytes,
    path: str = ".",
    *,
    syntax: str = "regex",
    case: int = 0,
    glob: str = "",
    everything: int = 0,
    context: int = 0,
    limit: int = 1000,
    line: int = 200,
) -> Answer:
    return call("file_search", root, path, pattern, syntax, case, glob, everything, context, limit, line)


def found(answer: Answer) -> list[tuple[bytes, int, int, bytes]]:
    """(path, line, column, text) of the matches."""
    return [(item[0], int(item[1]), int(item[2]), item[4]) for item in answer.items if item[3] == b"match"]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_matches_come_by_path_and_line_with_their_column(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.py").write_bytes(b"one\n  two = 2\nthree")
    (tmp_path / "a.txt").write_bytes(b"two\r\ntwo two\n")
    answer = search(tmp_path, "tw[o]")
    assert found(answer) == [
        (b"a.txt", 1, 1, b"two"),
        (b"a.txt", 2, 1, b"two two"),
        (b"b/x.py", 2, 3, b"  two = 2"),
    ]
    assert answer.numbers == [2, 3, 0, 0, 0]
    assert search(tmp_path, "three$", "b/x.py").items == [[b"", b"3", b"1", b"match", b"three", b"0", b"5"]]


def test_a_literal_is_not_a_pattern_and_case_can_be_ignored_beyond_ascii(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a.b\naxb\nCAFÉ\n")
    assert [line for _, line, _, _ in found(search(tmp_path, "a.b", syntax="literal"))] == [1]
    assert [line for _, line, _, _ in found(search(tmp_path, "a.b"))] == [1, 2]
    assert found(search(tmp_path, "café", case=1)) == [(b"f", 3, 1, "CAFÉ".encode())]
    assert found(search(tmp_path, "caf.$", case=1)) == [(b"f", 3, 1, "CAFÉ".encode())]


def test_binary_files_git_folders_symlinks_and_special_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_bytes(b"needle")
    (tmp_path / "binary").write_bytes(b"needle\n\0")
    (tmp_path / "late").write_bytes(b"needle\n" * 20000 + b"\0needle\n")
    (tmp_path / "link").symlink_to("text")
    (tmp_path / "out").symlink_to("/")
    (tmp_path / "text").write_bytes(b"needle")
    os.mkfifo(tmp_path / "fifo")
    answer = search(tmp_path, "needle", limit=100_000)
    assert {path for path, _, _, _ in found(answer)} == {b"late", b"text"}
    assert answer.numbers == [1, 20001, 0, 2, 0]
    assert refusal("file_search", tmp_path, "fifo", "x", "regex", 0, "", 0, 0, 9, 99).code == "file_refused"


def test_what_git_ignores_is_skipped_unless_asked_for_and_tracked_files_never_are(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    for path in ("build/x/deep.txt", "a.log", "src/b.log", "src/kept.log", "src/new.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("needle\n")
    git(tmp_path, "add", "-f", "src/kept.log")
    assert [path for path, *_ in found(search(tmp_path, "needle"))] == [b"src/kept.log", b"src/new.txt"]
    assert [path for path, *_ in found(search(tmp_path, "needle", "src"))] == [b"kept.log", b"new.txt"]
    assert len(found(search(tmp_path, "needle", everything=1))) == 5
    assert [path for path, *_ in found(search(tmp_path, "needle", "build"))] == [b"x/deep.txt"]


def test_a_program_named_in_the_repository_is_not_run(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "core.fsmonitor", f"touch {tmp_path}/ran; false")
    (tmp_path / "f").write_text("needle\n")
    assert len(found(search(tmp_path, "needle"))) == 1
    assert not (tmp_path / "ran").exists()


def test_without_git_everything_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "a.log").write_text("needle\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert len(found(search(tmp_path, "needle"))) == 1


def test_a_glob_chooses_files(tmp_path: Path) -> None:
    for name in ("a.py", "b.c", "sub/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("needle\n")
    assert [path for path, *_ in found(search(tmp_path, "needle", glob="*.py"))] == [b"a.py", b"sub/c.py"]
    assert [path for path, *_ in found(search(tmp_path, "needle", glob="!sub/**"))] == [b"a.py", b"b.c"]


def test_the_limit_stops_the_search_and_says_that_there_is_more(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x\ny\nx\ny\nx\n")
    answer = search(tmp_path, "x", limit=2, context=1)
    assert [(item[1], item[3]) for item in answer.items] == [
        (b"1", b"match"),
        (b"2", b"context"),
        (b"3", b"match"),
        (b"4", b"context"),
    ]
    assert answer.numbers[1:3] == [2, 1]
    assert search(tmp_path, "x", limit=3).numbers[1:3] == [3, 0]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [("a(b", "position 1"), ("[z-a]", "position 1"), ("", "empty"), ("a\nb", "line break"), ("x{99999999999}", "")],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_the_place(tmp_path: Path, pattern: str, says: str) -> None:
    error = refusal("file_search", tmp_path, ".", pattern, "regex", 0, "", 0, 0, 9, 99)
    assert error.code == "invalid_argument"
    assert says in error.message


def test_a_line_of_many_megabytes_is_searched_in_bounded_pieces(tmp_path: Path) -> None:
    at = 7 * 1024 * 1024 + 17
    with open(tmp_path / "f", "wb") as file:
        file.write(b"before\n" + b"-" * at + b"needle" + b"+" * 5_000_000 + b"\nafter\nneedle\n")
    largest = 0
    real = matching.pieces

    def watched(descriptor: int) -> object:
        nonlocal largest
        for piece in real(descriptor):
            largest = max(largest, len(piece[0]))
            yield piece

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "pieces", watched)
        answer = search(tmp_path, "ne+dle", context=1, line=100)
    assert largest < 3 * 1024 * 1024
    kinds = [(int(item[1]), item[3], len(item[4])) for item in answer.items]
    assert kinds == [
        (1, b"context", 6),
        (2, b"match", 100),
        (3, b"context", 5),
        (4, b"match", 6),
    ]
    number, column, _, text, offset, length = (answer.items[1][i] for i in (1, 2, 3, 4, 5, 6))
    assert int(column) == at + 1
    assert text[int(column) - 1 - int(offset) :][: int(length)] == b"needle"
    assert number == b"2"


def test_a_match_across_two_pieces_of_a_long_line_is_found_and_anchors_stay_at_its_ends(tmp_path: Path) -> None:
    for shift in (-3, 0, 3):
        at = matching.FIRST + 2 * matching.BLOCK + shift
        (tmp_path / "f").write_bytes(b"-" * at + b"needle" + b"-" * 2_000_000)
        assert [column for _, _, column, _ in found(search(tmp_path, "needle"))] == [at + 1]
    assert found(search(tmp_path, "^needle")) == []
    assert found(search(tmp_path, "e$|-$"))[0][2] == at + 6 + 2_000_000


def reference(content: bytes, pattern: str, context: int) -> list[tuple[int, bytes, bytes]]:
    """What a line-by-line search finds: (number, kind, text)."""
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
    hits = {i for i, line in enumerate(lines) if re.search(pattern, line.decode("utf-8", "surrogateescape"))}
    near = {j for i in hits for j in range(i - context, i + context + 1) if 0 <= j < len(lines)}
    return [(i + 1, b"match" if i in hits else b"context", lines[i]) for i in sorted(near)]


PATTERNS = ["a", "b$", "^$", "^a", r"a\s*b", r"\s+", "(?<!a)b", r"b\Z", r"\Aa", "[^a]+b", "x*", r"\bb\b", "é", "."]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"a b", b"\xc3\xa9", b"\xff", b" ", b"ba\rb"]), max_size=30),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.sampled_from(PATTERNS),
    st.integers(0, 3),
    st.integers(1, 12),
)
def test_the_search_agrees_with_a_line_by_line_one(
    lines: list[bytes], end: bytes, ended: bool, pattern: str, context: int, block: int
) -> None:
    content = end.join(lines) + (end if ended and lines else b"")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "FIRST", block)
        patch.setattr(matching, "BLOCK", block)
        Path(folder, "f").write_bytes(content)
        answer = search(folder, pattern, context=context)
    got = [(int(item[1]), item[3], item[4]) for item in answer.items]
    assert got == reference(content, pattern, context)


@given(st.text(max_size=60), st.integers(0, 80), st.integers(16, 40))
def test_a_clipped_line_is_whole_characters_of_the_line(text: str, around: int, most: int) -> None:
    line = text.encode("utf-8", "surrogatepass") if text.isascii() else text.encode("utf-8", "ignore")
    shown, at = clip(line, min(around, len(line)), most)
    assert len(shown) <= most
    assert line[at : at + len(shown)] == shown
    shown.decode("utf-8")


def test_a_big_random_tree_gives_what_grep_gives(tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(60):
        folder = tmp_path / f"d{number % 7}"
        folder.mkdir(exist_ok=True)
        words = [chance.choice(["alpha", "beta", "gamma\n", "delta ", "\n"]) for _ in range(2000)]
        (folder / f"f{number}").write_text("".join(words))
    expected = subprocess.run(
        ["grep", "-rnE", "beta.*gamma$", "."], cwd=tmp_path, capture_output=True, check=True
    ).stdout.splitlines()
    got = [
        b"./%s:%d:%s" % (path, line, text)
        for path, line, _, text in found(search(tmp_path, "beta.*gamma$", limit=100_000, line=65536))
    ]
    assert sorted(got) == sorted(expected)
