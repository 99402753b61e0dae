"""Values are found however they are cut into pieces and however programs commonly spell them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.errors import FileRefused
from sandlot.workspaces import redaction
from sandlot.workspaces.redaction import Masking, Redactor

VALUE = 'tök&en/+"x" 0123456789'
RAW = VALUE.encode()


@pytest.mark.parametrize(
    "spelling",
    [
        VALUE,
        quote(VALUE),
        quote(VALUE, safe="").lower(),
        quote_plus(VALUE),
        json.dumps(VALUE)[1:-1],
        json.dumps(VALUE, ensure_ascii=False)[1:-1],
        RAW.hex(),
        RAW.hex().upper(),
    ],
)
def test_common_spellings_are_blanked_out_and_lengths_stay(spelling: str) -> None:
    text = f"before {spelling} after"
    masked = Redactor([VALUE]).mask(text.encode())
    assert masked == b"before " + b"*" * len(spelling.encode()) + b" after"


@pytest.mark.parametrize("before", [b"", b"u", b"us", b"user:"])
@pytest.mark.parametrize("behind", [b"", b"x", b"xy"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_wherever_in_the_encoded_text_it_stands(before: bytes, behind: bytes, encode: object) -> None:
    assert callable(encode)
    encoded = encode(before + RAW + behind)
    masked = Redactor([VALUE]).mask(encoded)
    assert masked.count(b"*") >= len(RAW) * 4 // 3 - 2
    assert len(masked) == len(encoded)


def test_values_that_overlap_are_both_blanked_out() -> None:
    assert Redactor(["abcdefgh", "efghijkl"]).mask(b"-abcdefghijkl-") == b"-************-"


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"aabaabaa", b"aabaaxyz", b"aab", b"a", b"b", b"x", b"\n", b"aabaabaabaa"]), max_size=30),
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
def test_a_stream_in_any_pieces_gives_what_the_whole_gives(parts: list[bytes], sizes: list[int]) -> None:
    redactor = Redactor(["aabaabaa", "aabaaxyz"])
    data = b"".join(parts)
    masking = Masking(redactor)
    out, at, turn = b"", 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        out += masking.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert out + masking.flush() == redactor.mask(data)


def test_a_stream_holds_back_no_more_than_what_may_be_the_beginning_of_a_value() -> None:
    masking = Masking(Redactor(["secret-value"]))
    assert masking.feed(b"a prompt> ") == b"a prompt> "
    assert masking.feed(b"now sec") == b"now "
    assert masking.feed(b"ond.") == b"second."
    assert masking.flush() == b""


@pytest.mark.parametrize("piece", [1, 5, 16, 1 << 18])
def test_a_file_is_scrubbed_in_place_across_the_pieces_it_is_read_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(redaction, "PIECE", piece)
    file = tmp_path / "out"
    text = b"12345678secret-value90\n" * 7 + b"secret-valu"
    file.write_bytes(text)
    redactor = Redactor(["secret-value"])
    assert redactor.scrub(file)
    assert file.read_bytes() == text.replace(b"secret-value", b"*" * 12)
    assert not redactor.scrub(file)
    assert not redactor.scrub(tmp_path / "gone")


def test_a_file_is_never_scrubbed_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("secret-value")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(OSError, match="symbolic"):
        Redactor(["secret-value"]).scrub(tmp_path / "link")
    assert (tmp_path / "target").read_text() == "secret-value"


def test_a_window_shows_no_part_of_a_value_that_begins_before_or_ends_behind_it(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"--secret-value--")
    with open(file, "rb") as stream:
        shown = b"".join(Redactor(["secret-value"]).window(stream, at, at + 1) for at in range(16))
    assert shown == b"--************--"


def test_the_end_of_what_there_is_so_far_shows_no_value_that_has_only_begun(tmp_path: Path) -> None:
    redactor = Redactor(["secret-value"])
    assert redactor.mask_so_far(b"a secret-value, secr") == b"a ************, ****"
    assert redactor.mask_so_far(b"a sec") == b"a sec"  # or every prompt that ends so would be spoilt
    file = tmp_path / "out"
    file.write_bytes(b"--secret-va")
    with open(file, "rb") as stream:
        shown = b"".join(redactor.window(stream, at, at + 1) for at in range(11))
    assert shown == b"--*********"


class Word(StrEnum):
    """An enum in an answer."""

    ONE = "one"


@dataclass(frozen=True, slots=True)
class Inner:
    """A part of an answer."""

    text: str
    word: Word = Word.ONE


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer."""

    parts: tuple[Inner, ...]
    more: dict[str, list[bytes]]
    count: int = 1
    redacted: bool = False


def test_answers_are_blanked_out_to_their_leaves_and_say_so() -> None:
    redactor = Redactor(["secret-value"])
    clean = Answer((Inner("nothing"),), {"a": [b"b"]})
    assert redactor.value(clean) is clean
    shown = redactor.value(
        Answer((Inner("a secret-value"), Inner("\udcff secret-value")), {"secret-value": [b"secret-value"]})
    )
    assert shown.parts == (Inner("a ************"), Inner("\udcff ************"))
    assert shown.parts[0].word is Word.ONE
    assert shown.more == {"************": [b"************"]}
    assert shown.redacted


def test_errors_are_blanked_out_too() -> None:
    error = FileRefused("no secret-value here", hint="secret-value", details=("x secret-value",))
    Redactor(["secret-value"]).error(error)
    assert "secret-value" not in f"{error} {error.to_json()} {error.args}"
