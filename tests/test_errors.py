"""The tree of errors: what its docstring draws is what there is, and each has a stable code."""

from __future__ import annotations

import re

import pytest

from sandlot import errors
from sandlot.errors import SandlotError

CLASSES = [getattr(errors, name) for name in errors.__all__]
DRAWN = re.compile(r"[├└]── (\w+)")


def test_every_class_is_in_the_drawing_and_the_other_way_round() -> None:
    assert errors.__doc__ is not None
    assert sorted(["SandlotError", *DRAWN.findall(errors.__doc__)]) == sorted(errors.__all__)


def test_the_drawing_gives_the_right_codes_statuses_and_parents() -> None:
    assert errors.__doc__ is not None
    stack: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        found = DRAWN.search(line)
        if found is None:
            continue
        depth, kind = found.start(), getattr(errors, found[1])
        while stack and stack[-1][0] >= depth:
            stack.pop()
        parent = stack[-1][1] if stack else "SandlotError"
        assert kind.__bases__ == (getattr(errors, parent),), found[1]
        stack.append((depth, found[1]))
        words = line[found.end() :].split()
        if words and re.fullmatch(r"[a-z]+_[a-z_]+", words[0]):
            assert kind.code == words.pop(0)
        if words and words[0].isdigit():
            assert kind.exit_status == int(words[0])


def test_codes_are_unique_so_that_scripts_can_match_on_them() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)


def test_exit_statuses_stay_clear_of_those_of_shells_and_signals() -> None:
    assert {kind.exit_status for kind in CLASSES} <= set(range(1, 64))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_says_when_it_is_raised_and_prints_its_sentence(kind: type[SandlotError]) -> None:
    assert kind.__doc__
    error = kind("it did not work")
    assert str(error) == error.message == "it did not work"
    assert error.hint == kind.default_hint


def test_an_error_is_an_object_for_programs() -> None:
    error = errors.PatchRejected("no", hint="look", details=("a: no", "b: no"))
    expected = {"code": "patch_rejected", "message": "no", "hint": "look", "details": ["a: no", "b: no"]}
    assert error.to_json() == {"error": expected}


def test_a_hint_can_be_taken_away() -> None:
    assert errors.WorkspaceNotFound("gone", hint="").hint == ""
