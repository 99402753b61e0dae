"""The JSON Schema that ships is the one that the models give, and judges as they do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from sandlot.evals import schema
from sandlot.evals.graders import TYPES
from sandlot.evals.spec_graders import GRADERS
from tests.evals.suites.conftest import TEST, Suites
from tests.evals.suites.test_suite_file import FULL

VALIDATOR = Draft202012Validator(json.loads(schema.shipped()))


def judged(text: str) -> bool:
    return bool(VALIDATOR.is_valid(YAML(typ="safe", pure=True).load(text)))


def test_the_schema_in_the_package_is_made_from_the_models() -> None:
    assert schema.shipped() == schema.text(), "python -m sandlot.evals.schema writes it anew"
    Draft202012Validator.check_schema(schema.made())


def test_the_command_prints_it(suites: Suites) -> None:
    ran = suites.run("schema")
    assert (ran.returncode, ran.stdout) == (0, schema.shipped())


@pytest.mark.parametrize("text", [TEST, FULL, "tests: ./x.yaml\n", "tests: ['file://a.yaml']\n"])
def test_it_accepts_suites(text: str) -> None:
    assert judged(text)


@pytest.mark.parametrize(
    "text",
    [f"workspace: {{mode: bogus}}\n{TEST}", f"workspace: {{pool: true}}\n{TEST}", f"nmae: x\n{TEST}",
     "tests: [{input: x}]\n", "tests: [{id: a, assert: [{type: conains}]}]\n",
     "tests: [{id: a, assert: [{type: contains, value: 3}]}]\n"],
)  # fmt: skip
def test_it_refuses_what_the_models_refuse(suites: Suites, text: str) -> None:
    assert not judged(text)
    suites.refused(text)


def test_every_grader_that_can_be_written_exists_and_the_other_way_round() -> None:
    older = {"code-judge", "llm-judge"}
    assert set(GRADERS) == set(TYPES) - older


def test_every_workspace_and_hook_field_is_in_the_reference() -> None:
    reference = Path(__file__).parents[3].joinpath("docs/reference/eval-suites.md").read_text()
    for model in ("SuiteModel", "TestModel", "WorkspaceModel", "HookModel", "RepoModel", "ExecutionModel"):
        found = schema.made() if model == "SuiteModel" else schema.made()["$defs"][model]
        fields = [name for name, about in found["properties"].items() if not about.get("deprecated")]
        missing = [name for name in fields if f"`{name}`" not in reference]
        assert not missing, (model, missing)
