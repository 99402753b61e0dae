"""TOML: our table is changed, and every other byte stays."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.hosts.formats.base import JsonObject, Unparsable, with_value, without
from sandlot.hosts.formats.toml import Toml

TOML = Toml()
ENTRY: JsonObject = {"command": "/bin/sandlot", "args": ["mcp", "serve"], "startup_timeout_sec": 20}
PATH = ("mcp_servers", "sandlot")

HAND_WRITTEN = """\
# my codex
model = "gpt-5" # the good one

[mcp_servers.other] # theirs
command = "x"   # aligned by hand
args = [
  "a", # one
]

[projects."/a/b"]
trust_level = "trusted"
"""


def test_a_hand_edited_file_keeps_its_comments_order_and_layout() -> None:
    after = TOML.put(HAND_WRITTEN, PATH, ENTRY)
    start, end = after.index("[mcp_servers.sandlot]"), after.index("[projects")
    assert after[:start] + after[end:] == HAND_WRITTEN
    assert tomllib.loads(after[start:end]) == {"mcp_servers": {"sandlot": ENTRY}}
    assert after[:end].endswith("\n\n")


def test_taking_the_entry_out_gives_the_file_back_as_it_was() -> None:
    assert TOML.drop(TOML.put(HAND_WRITTEN, PATH, ENTRY), PATH) == HAND_WRITTEN


def test_an_entry_at_the_end_goes_without_a_trace() -> None:
    text = '[mcp_servers.other]\ncommand = "x" # theirs\n'
    assert TOML.drop(TOML.put(text, PATH, ENTRY), PATH) == text


def test_changing_one_key_of_a_table_leaves_the_comments_in_it() -> None:
    text = '[mcp_servers.sandlot]\n# mine\ncommand = "a" # why\n[mcp_servers.sandlot.env]\nA = "1"\n'
    assert TOML.put(text, (*PATH, "command"), "b") == text.replace('"a"', '"b"')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but this\n",
        'mcp_servers = { other = { command = "x" } }\n',
        'mcp_servers.other.command = "x"\n',
        '[mcp_servers.a]\ncommand = "1"\n\n[tui]\nx = 1\n\n[mcp_servers.b]\ncommand = "2"\n',
        "[[list]]\na = 1\n[[list]]\na = 2\n",
        'model = "a"\r\n\r\n[mcp_servers.b]\r\ncommand = "2"\r\n',
    ],
)
def test_the_entry_goes_in_and_out_of_every_way_to_write_the_same(text: str) -> None:
    value = TOML.parse(text)
    after = TOML.put(text, PATH, ENTRY)
    assert TOML.parse(after) == with_value(value, PATH, ENTRY)
    left = TOML.parse(TOML.drop(after, PATH))
    assert {"mcp_servers": {}, **left} == {"mcp_servers": {}, **value}
    assert all(line in after.splitlines() for line in text.splitlines() if line.startswith("#"))


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("a = 1\nb = = 2\n", 2, 5), ("[a\n", 1, 3), ('x = "', 1, 6), ("a = 1\na = 2\n", 2, 6)],
)
def test_a_broken_file_is_refused_with_line_and_column(text: str, line: int, column: int) -> None:
    with pytest.raises(Unparsable) as caught:
        TOML.put(text, PATH, ENTRY)
    assert (caught.value.line, caught.value.column) == (line, column)


NAMES = st.sampled_from(["a", "b-c", "x y", "mcp_servers"])
VALUES = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "v", 'q"\\', "ü"]),
    lambda inner: st.lists(st.integers(0, 3), max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Tables with comments and blank lines between them."""
    lines: list[str] = draw(st.lists(st.sampled_from(["# top", "", "first = 1"]), max_size=3, unique=True))
    for name in draw(
        st.lists(st.sampled_from(["mcp_servers.a", "tui", "mcp_servers.b", "z.y"]), max_size=4, unique=True)
    ):
        lines += draw(st.lists(st.sampled_from(["", f"# about {name}"]), max_size=2))
        lines += [
            f"[{name}]" + draw(st.sampled_from(["", " # here"])),
            f'command = "{name}" # x',
            "",
            "n = [1, # one",
            " 2]",
        ]
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))


@given(documents(), VALUES)
def test_putting_and_dropping_change_one_value_and_lose_no_line(text: str, new: Any) -> None:
    value = TOML.parse(text)
    after = TOML.put(text, PATH, new)
    assert TOML.parse(after) == with_value(value, PATH, new)
    back = TOML.drop(after, PATH)
    assert without(TOML.parse(back), ("mcp_servers",)) == without(value, ("mcp_servers",))
    for line in filter(None, text.splitlines()):  # blank lines at the end may go
        assert line in after.splitlines()
        assert line in back.splitlines()
