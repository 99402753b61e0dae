"""What reaches a terminal: nothing from inside can move its cursor, rename its window or fill its clipboard."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.cli.terminal import ByteWriter, shown
from sandlot.sdk import Workspace
from tests.cli.conftest import Terminal
from tests.conftest import clean_environment

ATTACK = r"printf '\033]0;owned\007\033]52;c;ZXZpbA==\007\033[2J\033[31mred\033[0m \233 \302\2332J bell\007 del\177\n'"


class Tty(io.TextIOWrapper):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def written(pieces: list[bytes]) -> bytes:
    stream = Tty(io.BytesIO())
    writer = ByteWriter(stream)
    for piece in pieces:
        writer.write(piece)
    writer.finish()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue()


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\x1b", b"[", b"31", b";1", b"m", b"\xc2", b"\x9b"])))
def test_nothing_but_colours_gets_through_however_it_is_cut(pieces: list[bytes]) -> None:
    out = written(pieces)
    assert out == written([b"".join(pieces)])
    rest = re.sub(rb"\x1b\[[0-9;]*m", b"", out)
    assert b"\x1b" not in rest
    assert not any(byte < 32 and byte not in b"\b\t\n\r" for byte in rest)
    assert b"\x7f" not in rest
    assert not any(b"\xc2" + bytes([byte]) in rest for byte in range(0x80, 0xA0))


def test_colours_and_text_of_any_language_pass_unchanged() -> None:
    for text in ("plain\ttext\r\n", "\x1b[1;31mred\x1b[0m\n", "zażółć 日本語 🙂 ©\n"):
        assert written([bytes([byte]) for byte in text.encode()]) == text.encode()


def test_what_is_held_back_is_not_lost() -> None:
    assert written([b"a\x1b"]) == b"a^["
    assert written([b"a\x1b[12"]) == b"a^[[12"
    assert written([b"\x1b[" + b"1" * 100, b"m"]) == b"^[[" + b"1" * 100 + b"m"


def test_one_line_stays_one_line() -> None:
    assert shown("a\nb\x1b[2J\udcff\u202e") == "a\\nb\\x1b[2J\\udcff\\u202e"
    assert shown("żółw 日本") == "żółw 日本"


def test_output_of_a_command_is_made_safe_on_a_terminal(terminal: Terminal, workspace: Workspace) -> None:
    status, out = terminal(["workspace", "exec", workspace.id, "-c", ATTACK])
    assert status == 0
    assert out.count(b"\x1b") == 2
    assert b"\x1b[31mred\x1b[0m" in out
    assert b"^[]0;owned^G" in out
    assert b"\x07" not in out


@pytest.mark.parametrize(
    "words",
    [["logs", "ID", "1"], ["file", "read", "ID", "evil"], ["diff", "ID"], ["file", "search", "ID", "owned"]],
    ids=" ".join,
)
def test_so_is_everything_else_that_comes_from_inside(
    terminal: Terminal, workspace: Workspace, words: list[str]
) -> None:
    workspace.exec(f"{ATTACK} | tee evil")
    status, out = terminal(["workspace", *[workspace.id if word == "ID" else word for word in words]])
    assert status == 0
    assert b"owned" in out
    assert b"\x1b]" not in out
    assert b"\x1b[2J" not in out
    assert b"\x07" not in out


def test_names_from_inside_are_shown_on_one_line(terminal: Terminal, workspace: Workspace) -> None:
    workspace.files.write("a\n\x1b[2Jb", "x")
    workspace.exec(["echo", "\x1b]0;owned\x07"])
    for line in ("file list ID", "diff ID", "summary ID", "logs ID", "status ID", "diff ID --stat"):
        words = line.split()
        status, out = terminal(["workspace", *(workspace.id if word == "ID" else word for word in words)])
        assert status == 0, out
        assert b"\x1b[2J" not in out
        assert b"\x1b]0" not in out
        assert b"\x07" not in out


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_tables_fit_narrow_and_wide_terminals(terminal: Terminal, workspace: Workspace, columns: int) -> None:
    workspace.update(labels={"note": "a[b]c [bold]markup[/bold] " + "long " * 20})
    status, out = terminal(["workspace", "list"], columns=columns)
    assert status == 0
    lines = re.sub(rb"\x1b\[[0-9;]*m", b"", out).decode().splitlines()
    assert max(map(len, lines)) <= columns
    assert "".join("".join(lines).split()).count("[/bold]") <= 1
    assert workspace.id[:5] in "".join(lines)


def test_progress_is_drawn_on_a_terminal_and_nowhere_else(terminal: Terminal, state_dir: Path) -> None:
    code = (
        "from sandlot.cli import progress\n"
        "progress.PATIENCE_S = -1\n"
        "with progress.ProgressLine() as line:\n"
        "    for done in range(4): line('copying', done, 4)\n"
    )
    _, out = terminal([], code=code)
    assert b"copying" in out
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(state_dir), capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_phase_that_says_nothing_more_is_drawn_and_gone_before_the_command_speaks(terminal: Terminal) -> None:
    code = (
        "import time\n"
        "from sandlot.cli import progress\n"
        "progress.PATIENCE_S = 0.01\n"
        "with progress.ProgressLine() as line:\n"
        "    line('packing', 0, 0)\n"
        "    end = time.monotonic() + 60\n"
        "    while line._drawn is None and time.monotonic() < end: time.sleep(0.01)\n"
        "    line('', 0, 0)\n"
        "    print('the command', flush=True)\n"
        "    line('packing', 0, 0)\n"
        "    print('the end', flush=True)\n"
    )
    _, out = terminal([], code=code)
    before, _, after = out.partition(b"the command")
    assert b"packing" in before
    assert after.replace(b"\r", b"") == b"\nthe end\n"


def test_a_terminal_is_no_content(terminal: Terminal, workspace: Workspace) -> None:
    status, out = terminal(["workspace", "file", "write", workspace.id, "a"])
    assert status == 2
    assert b"hint: use --text, --from-file, or pipe it in" in out


def test_what_is_typed_reaches_a_command_that_asks_for_it(terminal: Terminal, workspace: Workspace) -> None:
    status, out = terminal(["workspace", "exec", workspace.id, "-i", "--", "head", "-n", "1"], keys=b"typed\n")
    assert status == 0
    assert out.count(b"typed\n") == 2  # once echoed by the terminal, once by the command
