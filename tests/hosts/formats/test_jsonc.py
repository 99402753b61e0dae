"""JSON with comments: our member is changed, and every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.hosts.formats.base import JsonObject, Unparsable, with_value, without
from sandlot.hosts.formats.jsonc import Jsonc, comments

JSONC = Jsonc()
ENTRY: JsonObject = {"command": "/bin/sandlot", "args": ["mcp", "serve"]}
PATH = ("mcpServers", "sandlot")

HAND_WRITTEN = """\
// my settings
{
    "theme": "dark", // at night
    /* servers
       I use */
    "mcpServers": {
        // the old one
        "other": {"command": "x", "args": []}, // keep
    },
    "url": "http://a//b/*c*/" // no comment inside
}
"""


def test_a_hand_edited_file_keeps_its_comments_order_and_layout() -> None:
    after = JSONC.put(HAND_WRITTEN, PATH, ENTRY)
    start = after.index('        "sandlot"')
    end = after.index("\n    },\n", start) + 1
    assert after[:start] + after[end:] == HAND_WRITTEN
    assert json.loads("{" + after[start:end].strip().rstrip(",") + "}") == {"sandlot": ENTRY}


def test_taking_the_entry_out_gives_the_file_back_as_it_was() -> None:
    assert JSONC.drop(JSONC.put(HAND_WRITTEN, PATH, ENTRY), PATH) == HAND_WRITTEN


def test_changing_one_key_of_an_entry_leaves_the_comments_in_it() -> None:
    text = '{"mcpServers": {\n  "sandlot": {\n    // mine\n    "args": ["a"], // why\n    "env": {"A": "1"}\n  }\n}}\n'
    after = JSONC.put(text, (*PATH, "args"), ["b"])
    assert after == text.replace('["a"]', '["b"]')


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", '{\n  "k": 1\n}\n'),
        ("// open end", '// open end\n{\n  "k": 1\n}\n'),
        ("// only this\n", '// only this\n{\n  "k": 1\n}\n'),
        ("{}", '{\n  "k": 1\n}'),
        ("{\n}\n", '{\n  "k": 1\n}\n'),
        ("{ /* none */ }", '{ /* none */\n  "k": 1\n}'),
        ('{"a": 1}', '{"a": 1, "k": 1}'),
        ('{"a": 1,}', '{"a": 1, "k": 1,}'),
        ('{\n\t"a": 1\n}\n', '{\n\t"a": 1,\n\t"k": 1\n}\n'),
        ('{\n  "a": 1, // last\n}', '{\n  "a": 1, // last\n  "k": 1,\n}'),
        ('{\n  "a": 1 // last\n  // more\n}', '{\n  "a": 1, // last\n  // more\n  "k": 1\n}'),
        ('\ufeff{\r\n  "a": 1\r\n}\r\n', '\ufeff{\r\n  "a": 1,\r\n  "k": 1\r\n}\r\n'),
    ],
)
def test_a_new_member_follows_the_layout_that_is_there(text: str, after: str) -> None:
    assert JSONC.put(text, ("k",), 1) == after


def test_plain_json_stays_plain_json() -> None:
    text = json.dumps({"a": {"b": [1, 2]}, "mcpServers": {"x": {}}}, indent=2)
    after = JSONC.put(text, PATH, ENTRY)
    assert json.loads(after)["mcpServers"] == {"x": {}, "sandlot": ENTRY}
    assert json.loads(JSONC.drop(after, ("mcpServers", "x"))) == {"a": {"b": [1, 2]}, "mcpServers": {"sandlot": ENTRY}}


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{\n  "a": 1\n  "b": 2\n}', 3, 3),
        ('{"a": }', 1, 7),
        ('{"a": 1', 1, 8),
        ('{\n "a": "x\n}', 2, 9),
        ('{"a": 1} x', 1, 10),
        ("{\n/* open", 2, 1),
        ("[1]", 1, 1),
        ("{'a': 1}", 1, 2),
        ('{"a": 01}', 1, 8),
        ("{" + '"a":{' * 200, 1, 506),
    ],
)
def test_a_broken_file_is_refused_with_line_and_column(text: str, line: int, column: int) -> None:
    with pytest.raises(Unparsable) as caught:
        JSONC.put(text, PATH, ENTRY)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_what_is_no_object_on_the_way_is_refused_not_replaced() -> None:
    with pytest.raises(Unparsable, match="'mcpServers' is no object"):
        JSONC.put('{"mcpServers": []}', PATH, ENTRY)


def test_a_name_that_stands_twice_is_taken_out_twice() -> None:
    assert JSONC.parse(JSONC.drop('{"a": 1, "b": 2, "a": 3}', ("a",))) == {"b": 2}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6) | st.floats(-4, 4, width=16),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "mcpServers", "ü", 'q"']), VALUES, max_size=4)
BLANKS = st.lists(
    st.sampled_from([" ", "\n", "\n  ", "\t", "// note\n", "/* a, } */", "/* two\nlines */", '// "x": 1,\n']),
    max_size=2,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A text in a layout that nobody would choose, and what it says."""
    value = draw(OBJECTS)

    def written(part: Any) -> str:
        blank = "".join(draw(BLANKS))
        if isinstance(part, dict):
            members = [f"{json.dumps(k)}{''.join(draw(BLANKS))}:{written(v)}" for k, v in part.items()]
            comma = draw(st.sampled_from(["", ","])) if members else ""
            body = ",".join(f"{''.join(draw(BLANKS))}{each}{''.join(draw(BLANKS))}" for each in members)
            return f"{blank}{{{body}{comma}{''.join(draw(BLANKS))}}}"
        return blank + json.dumps(part)

    return written(value) + "".join(draw(BLANKS)), value


@given(documents())
def test_every_document_is_read_as_it_is_meant(document: tuple[str, dict[str, Any]]) -> None:
    assert JSONC.parse(document[0]) == document[1]


@given(documents(), VALUES)
def test_putting_changes_one_value_and_loses_no_comment(document: tuple[str, dict[str, Any]], new: Any) -> None:
    text, value = document
    if not isinstance(value.get("mcpServers", {}), dict):
        value = without(value, ("mcpServers",))
        text = JSONC.drop(text, ("mcpServers",))
    after = JSONC.put(text, PATH, new)
    assert JSONC.parse(after) == with_value(value, PATH, new)
    if "sandlot" not in value.get("mcpServers", {}):
        assert sorted(comments(after)) == sorted(comments(text))
    assert JSONC.put(after, PATH, new) == after


@given(documents(), VALUES)
def test_dropping_what_was_put_leaves_everything_else(document: tuple[str, dict[str, Any]], new: Any) -> None:
    text, value = document
    after = JSONC.drop(JSONC.put(text, ("sandlot",), new), ("sandlot",))
    assert JSONC.parse(after) == value
    assert sorted(comments(after)) == sorted(comments(text))


@given(documents(), st.sampled_from(["a", "b", "ü", 'q"']))
def test_dropping_takes_one_member(document: tuple[str, dict[str, Any]], key: str) -> None:
    text, value = document
    assert JSONC.parse(JSONC.drop(text, (key,))) == without(value, (key,))


@given(st.text(alphabet='{}[]":,/*\\ \n01ae-', max_size=30))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        value = JSONC.parse(text)
    except Unparsable as error:
        places = (error.line, error.column)
        assert min(places) >= 1
    else:
        assert JSONC.parse(JSONC.put(text, ("k",), 1)) == {**value, "k": 1}
