"""The parts of a shell on both sides of the wire: messages, the transcript, and what is rendered of hostile bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.errors import ProtocolError, StateUnwritable
from sandlot.guest import sink
from sandlot.guest.transcript import Transcript
from sandlot.wire import frames, messages
from sandlot.wire import shell as wire
from sandlot.workspaces import ring, screen
from sandlot.workspaces.keys import KEYS, typed
from sandlot.workspaces.redaction import Redactor


def command() -> messages.Exec:
    return messages.Exec(7, messages.DETACHED, 0, 99, b"/workspace", [b"sh", b"-i"], [b"A=b"])


def test_the_request_that_opens_a_shell_is_these_bytes() -> None:
    fields = wire.Open(command(), 24, 80).fields()
    assert fields == [b"7", b"24", b"80", b"1", b"0", b"99", b"/workspace", b"2", b"sh", b"-i", b"A=b"]
    assert frames.encode(messages.SHELL, 1, fields)[:20] == b"\x01\x0d\0\0\0\0\0\x01\0\0\0\x47\0\0\0\x017\0\0\0"
    back = wire.Open.parse(fields)
    assert (back.rows, back.columns, back.command.fields()) == (24, 80, command().fields())
    assert (wire.INPUT, wire.RESIZE, wire.SIGNAL, wire.CLOSE) == (32, 33, 34, 35)


def test_the_head_of_a_transcript_is_these_bytes() -> None:
    assert wire.HEADER.pack(wire.CAPACITY, 5, 24, 80).hex() == "0000000000110000" + "0000000000000005" + "0018" + "0050"
    assert wire.DATA == 64


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_nonsense_is_no_request(fields: list[bytes]) -> None:
    try:
        found = wire.Open.parse(fields)
    except ValueError:
        return
    assert 1 <= found.rows <= wire.MAX_ROWS
    assert 1 <= found.columns <= wire.MAX_COLUMNS


@pytest.mark.parametrize(
    "fields",
    [[], [b"1"], [b"0", b"1"], [b"1", b"0"], [b"501", b"1"], [b"1", b"1001"], [b"-1", b"1"], [b"1"] * 3, [b"", b""]],
)
def test_a_size_out_of_bounds_is_refused(fields: list[bytes]) -> None:
    with pytest.raises(ValueError):
        wire.size(fields)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, wire.BATCH), max_size=60), st.integers(0, 4 << 20), st.integers(1, 300_000))
def test_a_transcript_gives_back_what_was_added_from_wherever_it_is_kept(
    sizes: list[int], cursor: int, limit: int
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        transcript = Transcript(sink.of(ring.make(folder, 24, 80)), 24, 80)
        stream = bytearray()
        for number, size in enumerate(sizes):
            data = (b"%07d," % number * (size // 8 + 1))[:size]
            stream += data
            transcript.add(data)
        for finished in (False, True):
            if finished:
                transcript.finish()
            piece = ring.read(folder, cursor, limit)
            oldest = max(0, len(stream) - ring.KEPT)
            assert piece.total == len(stream)
            assert piece.start == max(min(cursor, len(stream)), oldest)
            assert piece.dropped == max(0, oldest - min(cursor, len(stream)))
            assert piece.data == stream[piece.start : piece.start + limit]
            tail = ring.read(folder, None, limit)
            assert tail.data == stream[max(oldest, len(stream) - limit) :]
            assert tail.dropped == 0
        assert (folder / ring.NAME).stat().st_size == wire.DATA + min(len(stream), wire.CAPACITY)


def test_a_value_that_is_cut_by_a_page_is_blanked_out_all_the_same(tmp_path: Path) -> None:
    transcript = Transcript(sink.of(ring.make(tmp_path, 24, 80)), 24, 80)
    transcript.add(b"before hunter2-hunter2 behind")
    redactor = Redactor(["hunter2-hunter2"])
    whole = b"".join(ring.read(tmp_path, at, 5, redactor).data for at in range(0, 29, 5))
    assert whole == b"before *************** behind"
    transcript.finish()


def test_a_full_disk_is_told_when_a_shell_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StateUnwritable):
        ring.make(tmp_path, 24, 80)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_transcript_is_no_way_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(wire.HEADER.pack(wire.CAPACITY, 5, 24, 80) + bytes(100))
    (tmp_path / ring.NAME).symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        ring.read(tmp_path, 0, 10)
    (tmp_path / ring.NAME).unlink()
    assert ring.head(tmp_path) is None
    (tmp_path / ring.NAME).write_bytes(b"short")
    with pytest.raises(ProtocolError):
        ring.head(tmp_path)


SEQUENCES = "\x1b[]?;0123456789hlHmrABJKLMPX@cn78#(\r\n\t\x07a"


def shown(data: bytes, rows: int = 4, columns: int = 10) -> str:
    return screen.render(data, rows, columns).text


def test_lines_wrap_scroll_and_lose_their_colours() -> None:
    assert shown(b"\x1b[1;31mred\x1b[0m\r\n") == "red"
    assert shown(b"0123456789abc") == "0123456789\nabc"
    assert shown(b"".join(b"%d\r\n" % number for number in range(9))) == "\n".join("012345678")
    assert shown(b"a\r\nb\x1b[H\x1b[2J\x1b[3Jc") == "c"
    assert shown("wide 日本 ok".encode()) == "wide 日本\nok"


def test_a_full_screen_program_leaves_what_was_there_before() -> None:
    assert shown(b"before\x1b[?1049h\x1b[H\x1b[2Jinside") == "inside"
    assert shown(b"before\x1b[?1049h\x1b[H\x1b[2Jinside\x1b[?1049l after") == "before aft\ner"


def test_the_place_of_the_cursor_is_told() -> None:
    found = screen.render(b"one\r\ntwo\x1b[1;2H", 4, 10)
    assert (found.row, found.column, found.alternate) == (0, 1, False)


@pytest.mark.parametrize(
    "attack",
    [
        b"\x1b[?6n", b"\x1b[?1;2c", b"\x1b[>4;2m", b"\x1b[?5m", b"\x1b[99999999999999@", b"\x1b[" + b"9" * 5000 + b"A",
        b"\x1b[;;;;;;;H", b"\x1b[0r", b"\x1b[5;2r", b"\x1b[?3h", b"\x1b[\xb2A", b"\x1b(%", b"\x1b#8", b"\x1b%@",
        b"\x1bP+q\x1b\\",
        b"\x1b]0;title", b"\x1b]0;title\x07", b"\x9b5n", b"\x1b[38;5;999m", b"\x1b[38;2;1m", b"\x1b[48m", b"\xff\xfe",
        b"\x1b[!p", b"\x1b[?1049h" * 50, b"\x1b[?1049l" * 50, b"\x1b7" * 1000, b"\x1b8" * 1000, b"\x0e\x0f\x00\x7f",
    ],
)  # fmt: skip
def test_an_odd_sequence_costs_at_most_its_line(attack: bytes) -> None:
    found = shown(b"first\r\n" + attack + b"\x07\x18\r\n\x1bc\x1b[Hlast")
    assert found.splitlines()[-1].endswith("last")
    assert all(char.isprintable() or char == "\n" for char in found)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | st.text(alphabet=SEQUENCES, max_size=200).map(str.encode))
def test_whatever_is_rendered_is_printable_and_bounded(data: bytes) -> None:
    found = screen.render(data, 5, 20)
    assert len(found.screen) <= 5
    assert 0 <= found.row < 5
    assert 0 <= found.column < 20
    assert all(char.isprintable() or char == "\n" for char in found.text)


@pytest.mark.parametrize(
    "bomb",
    [b"\xcc\x81", b"\xcc\x81\x1b[C\x1b[D", b"\n", b"\x1b[?1049h\x1b[?1049l", b"\x1b[L", b"\x1b[9999@", b"\x1b7"],
)
def test_a_bomb_for_the_emulator_is_bounded(bomb: bytes) -> None:
    data = b"a" + bomb * (3 * screen.RENDERED // len(bomb))
    found = screen.render(data, 24, 80)
    assert len(found.scrollback) <= screen.SCROLLBACK
    assert len(found.text) <= screen.MOST_MARKS + (screen.SCROLLBACK + 24) * 81


def test_every_key_sends_something_of_its_own() -> None:
    sent = [typed([name]) for name in KEYS]
    assert all(sent)
    assert typed(["ctrl-a", "Ctrl-Z", "ctrl-[", "ctrl-]"]) == "\x01\x1a\x1b\x1d"
    assert typed(["f1", "f5", "f12"]) == "\x1bOP\x1b[15~\x1b[24~"
