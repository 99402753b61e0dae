"""What may be written in a suite: the models that check it, and that the JSON Schema is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from sandlot.evals.spec_graders import AssertModel, Rubrics
from sandlot.evals.spec_workspace import WorkspaceOrFile
from sandlot.evals.strict import LIST, MAPPING, TEXT, Strict, kind_of

__all__ = [
    "ExecutionModel",
    "InputModel",
    "MessageModel",
    "SuiteModel",
    "TestExecutionModel",
    "TestModel",
    "TestsFileModel",
]

Filled = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class PartModel(Strict):
    """A piece of a message."""

    type: Literal["text", "file"]
    value: str = Field(description="The text, or the name of a UTF-8 file, relative to this one.")


Content = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[PartModel], Tag(LIST)] | Annotated[dict[str, Any], Tag(MAPPING)],
    Discriminator(kind_of),
]


class MessageModel(Strict):
    """One message of an input."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Content


InputModel = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[MessageModel], Tag(LIST)] | Annotated[dict[str, Any], Tag(MAPPING)],
    Discriminator(kind_of),
]
"""Text, messages, one message, or any object, which is given as JSON."""


class TrialsModel(Strict):
    """How often each test is run."""

    count: int = Field(ge=1, le=10_000)
    strategy: Literal["pass_at_k", "mean", "confidence_interval"] | None = Field(
        None, description="No effect: reports give pass@k, pass^k, means and intervals side by side."
    )
    REMOVED: ClassVar[Mapping[str, str]] = {"cost_limit_usd": "write execution.budget_usd"}


_EXECUTION_ALIASES = {"assertions": "assert", "evaluators": "assert"}
_EXECUTION_REMOVED = {
    "workspace_mode": "write workspace.mode",
    "workspace_path": "write workspace.path",
    "pool_workspaces": "write workspace.mode",
    "keep_workspaces": "write a hook that copies what you want to keep",
    "pool_slots": "leave it out: trials never wait for a slot",
    "cache_path": "leave it out: an answer of another run is no trial",
}


_OF_SUITES = (
    "workers", "trials", "budget_usd", "budget_tokens", "budget_minutes", "fail_fast", "threshold"
)  # fmt: skip


class TestExecutionModel(Strict):
    """How one test wants to be run."""

    __test__ = False

    target: Filled | None = None
    targets: list[Filled] | None = Field(None, min_length=1)
    assert_: AssertModel | None = Field(None, alias="assert")
    skip_defaults: bool = Field(False, description="Neither the suite's input nor its graders.")
    timeout_seconds: int | float | None = Field(None, gt=0, le=604_800)
    cache: Literal[False] | None = Field(None, description="An answer of another run is no trial.")
    ALIASES: ClassVar[Mapping[str, str]] = {**_EXECUTION_ALIASES, "timeout_s": "timeout_seconds"}
    REMOVED: ClassVar[Mapping[str, str]] = {
        **_EXECUTION_REMOVED,
        **dict.fromkeys(_OF_SUITES, "write it in the suite's execution, it is not for one test"),
    }


class ExecutionModel(Strict):
    """How a suite wants to be run; the command line has the last word."""

    target: Filled | None = None
    targets: list[Filled] | None = Field(None, min_length=1)
    assert_: AssertModel | None = Field(None, alias="assert")
    workers: int | None = Field(None, ge=1, le=1024)
    trials: int | TrialsModel | None = None
    budget_usd: int | float | None = Field(None, ge=0)
    budget_tokens: int | None = Field(None, ge=0)
    budget_minutes: int | float | None = Field(None, gt=0)
    timeout_seconds: int | float | None = Field(None, gt=0, le=604_800, description="Of each trial's target.")
    fail_fast: bool = Field(False, description="No more trials once one has not passed.")
    fail_on_error: Literal[False] | None = None
    threshold: int | float = Field(0.8, ge=0, le=1, description="Least weighted mean of scores that passes.")
    cache: Literal[False] | None = Field(None, description="An answer of another run is no trial.")
    ALIASES: ClassVar[Mapping[str, str]] = {
        **_EXECUTION_ALIASES, "timeout_s": "timeout_seconds", "total_budget_usd": "budget_usd"
    }  # fmt: skip
    REMOVED: ClassVar[Mapping[str, str]] = {
        **_EXECUTION_REMOVED, "skip_defaults": "write it in the execution of a test"
    }  # fmt: skip


_CONVERSATION = "tests of several turns are not run; write the turns before the last one as input messages"


class TestModel(Strict):
    """One case."""

    __test__ = False

    id: Name
    input: InputModel | None = None
    input_files: list[Filled] = Field([], description="Files given in front of the input.")
    criteria: str | None = Field(None, description="What a good answer is; graded by an LLM where nothing else is.")
    expected_output: Any = None
    assert_: AssertModel | None = Field(None, alias="assert", description="What scores the answer.")
    rubrics: Rubrics | None = Field(None, description="Older spelling of an llm-grader.")
    execution: TestExecutionModel | None = None
    workspace: WorkspaceOrFile | None = Field(None, description="For this test alone; the rest is the suite's.")
    metadata: dict[str, Any] = {}
    tags: str | list[Name] = []
    description: str | None = None
    note: str | None = None
    conversation_id: str | None = None
    dataset: str | None = None
    ALIASES: ClassVar[Mapping[str, str]] = {"assertions": "assert", "evaluators": "assert", "suite": "dataset"}
    REMOVED: ClassVar[Mapping[str, str]] = {
        "expected_outcome": "write criteria",
        "outcome": "write criteria",
        "input_messages": "write input",
        "expected_messages": "write expected_output",
        "mode": _CONVERSATION,
        "turns": _CONVERSATION,
        "depends_on": "leave it out: every test starts clean and alone",
        "on_dependency_failure": "leave it out: every test starts clean and alone",
        "evalcases": "write tests",
        "run": "write execution",
    }


class RequiresModel(Strict):
    """What another tool wants; ignored."""

    agentv: str | None = None
    sandlot: str | None = None


class TestsFileModel(Strict):
    """A file with tests alone, or one test."""

    __test__ = False

    tests: list[Any]


class SuiteModel(Strict):
    """A suite of evals."""

    name: Name | None = None
    description: str = ""
    version: Any = None
    author: Any = None
    license: str | None = None
    requires: RequiresModel | None = None
    schema_: str | None = Field(None, alias="$schema")
    tags: str | list[Name] = []
    metadata: dict[str, Any] = {}
    dataset: str | None = None
    target: Filled | None = Field(None, description="Same as execution.target.")
    input: InputModel | None = Field(None, description="In front of every test's own.")
    tests: str | list[Any] | None = Field(
        None, description="Tests, or the name of a YAML or JSONL file with them; `file://` and a pattern inside a list."
    )
    assert_: AssertModel | None = Field(None, alias="assert", description="Behind every test's own.")
    execution: ExecutionModel | None = None
    workspace: WorkspaceOrFile | None = None
    ALIASES: ClassVar[Mapping[str, str]] = {"assertions": "assert", "evaluators": "assert", "suite": "dataset"}
    REMOVED: ClassVar[Mapping[str, str]] = {
        "eval_cases": "write tests",
        "evalcases": "write tests",
        "cases": "write tests",
        "workspace_template": "write workspace: {template: ...}",
        "turns": _CONVERSATION,
    }
