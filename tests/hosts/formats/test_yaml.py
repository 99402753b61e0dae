"""YAML: our entry is changed, and every other byte stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.hosts.formats.base import JsonObject, Unparsable, with_value, without
from sandlot.hosts.formats.yaml import Yaml

YAML = Yaml()
ENTRY: JsonObject = {
    "name": "sandlot",
    "cmd": "/bin/sandlot",
    "args": ["mcp", "serve"],
    "envs": {},
    "enabled": True,
    "timeout": 900,
}
PATH = ("extensions", "sandlot")

HAND_WRITTEN = """\
# goose
GOOSE_MODEL: 'a'   # quoted by hand
extensions: # mine
    # the first
    developer:
        enabled: true # yes
        args:
        - a
        - "b"
    other: {type: stdio,  cmd: x}
text: |
    two
    lines
"""


def test_a_hand_edited_file_keeps_its_comments_order_and_layout() -> None:
    after = YAML.put(HAND_WRITTEN, PATH, ENTRY)
    lines = after.splitlines()
    start = lines.index("    sandlot:")
    assert lines[:start] + lines[start + 1 + len(ENTRY) :] == HAND_WRITTEN.splitlines()


def test_taking_the_entry_out_gives_the_file_back_as_it_was() -> None:
    assert YAML.drop(YAML.put(HAND_WRITTEN, PATH, ENTRY), PATH) == HAND_WRITTEN


def test_changing_one_key_of_an_entry_leaves_the_comments_in_it() -> None:
    text = "extensions:\n  sandlot:\n    # mine\n    cmd: a # why\n    args:\n    - x\n    envs: {A: b}\n"
    assert YAML.put(text, (*PATH, "cmd"), "b") == text.replace("cmd: a", "cmd: b")
    assert YAML.parse(YAML.put(text, (*PATH, "args"), ["y"])) == {
        "extensions": {"sandlot": {"cmd": "a", "args": ["y"], "envs": {"A": "b"}}}
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but this\n",
        "extensions:\n",
        "extensions: {}\n",
        "extensions: {a: {b: 1}}\n",
        "{extensions: {a: 1}, b: 2}\n",
        "{}\n",
        "a: 1",
        "a: &x {b: 1}\nc: *x\n",
        "a: 1\r\nextensions:\r\n  b:\r\n    c: 2\r\n",
        "extensions:\n  a:\n    b: |\n      text\n\n",
        "---\na: 1\n",
    ],
)
def test_the_entry_goes_in_and_out_of_every_way_to_write_the_same(text: str) -> None:
    value = YAML.parse(text)
    after = YAML.put(text, PATH, ENTRY)
    expected = with_value(value, PATH, ENTRY)
    assert YAML.parse(after) == expected
    left = YAML.parse(YAML.drop(after, PATH))
    assert left == without(expected, PATH)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("a: 1\n b: 2\n", 2, 3), ("a: [1\n", 2, 1), ("- 1\n", 1, 1), ("a: 1\na: 2\n", 2, 1), ("a: 1\n---\nb: 2\n", 2, 1)],
)
def test_a_broken_file_is_refused_with_line_and_column(text: str, line: int, column: int) -> None:
    with pytest.raises(Unparsable) as caught:
        YAML.put(text, PATH, ENTRY)
    assert (caught.value.line, caught.value.column) == (line, column)


VALUES = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "v", 'q"\\', "ü", "yes", "a: b", "# c", "- d", "/x y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b c", "on"]), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Blocks with comments and blank lines between them."""
    lines: list[str] = draw(st.lists(st.sampled_from(["# top", "", "first: 1 # one"]), max_size=3, unique=True))
    if draw(st.booleans()):
        indent = " " * draw(st.integers(1, 4))
        lines.append("extensions:" + draw(st.sampled_from(["", " # servers"])))
        for name in draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True)):
            lines += draw(st.lists(st.sampled_from(["", f"{indent}# about {name}"]), max_size=2))
            lines.append(
                indent + draw(st.sampled_from([f"{name}: {{x: 1}} # y", f"{name}:\n{indent}  x:\n{indent}  - 1"]))
            )
    lines += draw(st.lists(st.sampled_from(["last:", "  - 1", "# end", ""]), max_size=0)) + draw(
        st.sampled_from([[], ["last:", "- 1", "# end"], ["last: >", "  text", ""]])
    )
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


@given(documents(), VALUES)
def test_putting_and_dropping_change_one_value_and_lose_no_line(text: str, new: Any) -> None:
    value = YAML.parse(text)
    after = YAML.put(text, PATH, new)
    expected = with_value(value, PATH, new)
    assert YAML.parse(after) == expected
    back = YAML.drop(after, PATH)
    assert YAML.parse(back) == without(expected, PATH)
    for line in text.splitlines():
        assert line in after.splitlines()
        assert line in back.splitlines() or line.startswith("extensions:")
