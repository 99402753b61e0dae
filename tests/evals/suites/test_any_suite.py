"""Whatever stands anywhere in a suite: it loads, or it is refused in a sentence with its place; never a traceback."""

from __future__ import annotations

import copy
import json
import textwrap
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sandlot.errors import SuiteInvalid
from tests.evals.suites.conftest import Suites
from tests.evals.suites.test_suite_file import FULL

WORKSPACE = """
    workspace:
      mode: temp
      template: .
      repos:
        - path: app
          source: {type: git, url: "https://example.org/a"}
          checkout: {ref: main, ancestor: 1}
          clone: {depth: 1, sparse: [a]}
      hooks:
        enabled: true
        before_all: {command: [a], timeout_ms: 5, cwd: .}
        after_each: {command: b, reset: fast}
"""
MORE = """
          - {type: composite, assert: [{type: is-json}], aggregator: {type: threshold, threshold: 0.5}}
          - {type: tool-trajectory, mode: in_order, expected: [{tool: a, args: any}]}
          - {type: field-accuracy, fields: [{path: a, match: date}]}
          - {type: llm-grader, rubrics: [{outcome: a, score_ranges: [{score_range: [0, 5], outcome: b}]}]}
          - {type: file-changes, only: [a]}
"""
BASE: dict[str, Any] = YAML(typ="safe", pure=True).load(
    textwrap.dedent(WORKSPACE + FULL).replace(
        "    metadata:", textwrap.indent(textwrap.dedent(MORE), " " * 6) + "    metadata:", 1
    )
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5),
    st.sampled_from(["", "..", "/", "~", "*", "file://*", "static", "host", "${{ X }}", "{{x}}", "\0"]),
    st.lists(st.one_of(st.text(max_size=2), st.integers(), st.just({})), max_size=2),
    st.dictionaries(st.sampled_from(["type", "id", "path", "role", "content", "x"]), st.text(max_size=3), max_size=2),
)  # fmt: skip


def spots(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys of everything in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(spot for key, each in inner for spot in spots(each, (*at, key)))][0 if at else 1 :]


SPOTS = spots(BASE)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SPOTS), VALUES, st.booleans())
def test_a_suite_with_anything_anywhere_loads_or_is_refused(
    suites: Suites, spot: tuple[Any, ...], value: Any, renamed: bool
) -> None:
    suite = copy.deepcopy(BASE)
    inner: Any = suite
    for key in spot[:-1]:
        inner = inner[key]
    if renamed and isinstance(inner, dict):
        inner[f"{spot[-1]}x"] = inner.pop(spot[-1])
    else:
        inner[spot[-1]] = value
    suites.write("numbers.txt", "1\n")
    try:
        suites.load(json.dumps(suite))
    except SuiteInvalid as error:
        wrong = [line for line in (error.message, *error.details) if not line.startswith("s.eval.yaml:")]
        assert not wrong
