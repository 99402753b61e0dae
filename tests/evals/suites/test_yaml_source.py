"""YAML as it is read: places, the core schema, and nothing that surprises or never ends."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandlot.errors import SuiteInvalid
from sandlot.evals.yaml_source import Document, read_json_lines, read_yaml


def read(tmp_path: Path, text: str | bytes, **environ: str) -> Document:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path, environ)


def test_every_value_knows_where_it_is_written(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  - x\n  - {c: true}\n")
    assert document.value == {"a": 1, "b": ["x", {"c": True}]}
    place = document.place("b", 1, "c")
    assert (place.line, place.column) == (4, 6)
    assert document.place("b", 1, "missing") == document.place("b", 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("2026-01-01", "2026-01-01"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("true", True), ("False", False), ("~", None), ("", None), ("0x1F", 31), ("0o17", 15), ("017", 17), ("-3", -3),
        ("1.5", 1.5), ("1e3", 1000.0), ("'1'", "1"), ("!!str 1", "1"), ("=", "="), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_plain_words_are_what_yaml_1_2_says(tmp_path: Path, text: str, value: object) -> None:
    assert read(tmp_path, f"v: {text}\n").value == {"v": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", "x.yaml:2:1: no valid YAML"),
        ("a: 1\na: 2\n", "x.yaml:2:1: 'a' is written twice"),
        ("a: !!python/object/apply:os.system [id]\n", "x.yaml:1:4: the tag"),
        ("a: !thing x\n", "x.yaml:1:4: the tag"),
        ("a: 1\n---\nb: 2\n", "no valid YAML"),
        ("? [a]\n: b\n", "a key must be text"),
        ('a: "\\0"\n', "a NUL character"),
        ("a: " + "9" * 5000 + "\n", "too large"),
        ("a: &x [*x]\n", "nested too deeply"),
        ("[" * 5000, "x.yaml"),
        (b"a: \xff\n", "x.yaml:1:1: not UTF-8"),
        ("a: -.inf\n", "x.yaml:1:4: -.inf is no number"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(SuiteInvalid) as caught:
        read(tmp_path, text)
    assert message in caught.value.message


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(SuiteInvalid, match="too many values"):
        read(tmp_path, "\n".join(lines))


def test_variables_are_filled_in_and_missing_ones_are_remembered(tmp_path: Path) -> None:
    document = read(tmp_path, "a: ${{ NAME }}/${{OTHER}}\nb: '${{ 1x }} $NAME {{NAME}}'\n", NAME="x: [y]")
    assert document.value == {"a": "x: [y]/", "b": "${{ 1x }} $NAME {{NAME}}"}
    assert document.unset == ("OTHER",)


def test_json_lines_say_which_line_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "a"}\n\n{"id": }\n')
    with pytest.raises(SuiteInvalid, match=r"x\.jsonl:3:8: no valid JSON"):
        list(read_json_lines(path, {}))
    path.write_text('{"id": "a", "id": "b"}\n')
    with pytest.raises(SuiteInvalid, match="'id' is written twice"):
        list(read_json_lines(path, {}))
    path.write_text('{"id": "\\u0000"}\n')
    with pytest.raises(SuiteInvalid, match="a NUL character"):
        list(read_json_lines(path, {}))
    path.write_text('{"id": NaN}\n')
    with pytest.raises(SuiteInvalid, match="NaN is no JSON"):
        list(read_json_lines(path, {}))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="abc: -[]{}&*!|>'\"#%@`\n\t0.~?,é\x00", max_size=60))
def test_whatever_is_in_a_file_is_read_or_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    with contextlib.suppress(SuiteInvalid):
        read(tmp_path, text)
