"""The nouns of a suite once it has been loaded and resolved: nothing here is raw any more, and nothing does I/O.

``load`` makes suites, ``resolve`` makes workspace plans; everybody else only reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "Clone",
    "Execution",
    "GraderSpec",
    "History",
    "Hook",
    "HookName",
    "Message",
    "Part",
    "Place",
    "Placement",
    "Repo",
    "ResetKind",
    "Suite",
    "TargetSpec",
    "TestCase",
    "WorkspaceMode",
    "WorkspacePlan",
]


class WorkspaceMode(StrEnum):
    """How an eval obtains its workspace."""

    POOLED = "pooled"
    TEMP = "temp"
    STATIC = "static"


class History(StrEnum):
    """How much git history a repo has inside."""

    NONE = "none"
    """The checkout's own commit only."""
    SHALLOW = "shallow"
    FULL = "full"


class Placement(StrEnum):
    """Where a hook or a target runs; ``host`` only when it is written."""

    WORKSPACE = "workspace"
    HOST = "host"


class ResetKind(StrEnum):
    """What a hook asks to be brought back."""

    NONE = "none"
    FAST = "fast"
    STRICT = "strict"


class HookName(StrEnum):
    """When a hook runs."""

    BEFORE_ALL = "before_all"
    BEFORE_EACH = "before_each"
    AFTER_EACH = "after_each"
    AFTER_ALL = "after_all"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file something is written; counted from 1, 0: unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message: text, or a file's content."""

    text: str
    file: str | None = None
    """Name of the file it came from, as the suite says it."""


@dataclass(frozen=True, slots=True)
class Message:
    """Of a test's input, or of a transcript."""

    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All of it as one text."""
        return "\n".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class GraderSpec:
    """What scores an answer. ``config`` holds the type's own fields, checked when the suite is loaded."""

    type: str
    name: str
    place: Place
    config: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    required: float | None = None
    """Least score of this grader below which the whole trial fails; None: it only counts by weight."""
    negate: bool = False
    folder: str = ""
    """Relative paths in ``config`` are relative to this folder."""


@dataclass(frozen=True, slots=True)
class Clone:
    """Options of a clone."""

    depth: int | None = None
    filter: str | None = None
    sparse: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository in a workspace."""

    path: str
    """Folder inside the workspace, below /workspace; contained."""
    url: str
    """Absolute path of a local repository, or a URL."""
    local: bool
    place: Place
    ref: str | None = None
    resolve: str = "remote"
    """Where ``ref`` is looked up first: remote, or local."""
    ancestor: int = 0
    clone: Clone = Clone()
    history: History = History.NONE


@dataclass(frozen=True, slots=True)
class Hook:
    """A command around tests."""

    name: HookName
    command: tuple[str, ...]
    """argv; a string in YAML has become ``("/bin/sh", "-c", text)``. Empty: the hook only asks for ``reset``."""
    timeout_s: float
    folder: str
    """Absolute host folder of the YAML that states it: visible read-only inside, and the default ``cwd``."""
    cwd: str
    """Absolute host folder."""
    place: Place
    reset: ResetKind = ResetKind.NONE
    placement: Placement = Placement.WORKSPACE


@dataclass(frozen=True, slots=True)
class WorkspacePlan:
    """Everything that decides where a trial runs: resolved once, passed on, never changed."""

    mode: WorkspaceMode
    path: str | None = None
    """Absolute; static only."""
    template: str | None = None
    """Absolute host folder; pooled and temp."""
    repos: tuple[Repo, ...] = ()
    hooks: Mapping[HookName, Hook] = field(default_factory=dict)
    hooks_enabled: bool = True
    environment: str | None = None
    """What is inside besides the files; None: the user's setting."""
    runtime: str | None = None
    """What isolates trials; None: the user's setting."""
    min_isolation: str | None = None
    """The least isolation level of trials."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the target's commands, where the format of a task has one; a target's own ``env`` wins."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where each value came from: ``mode`` -> ``--workspace-mode``, ``evals/a.yaml:3:5``, ``default``."""


@dataclass(frozen=True, slots=True)
class TestCase:
    """One case of a suite."""

    __test__ = False

    id: str
    place: Place
    input: tuple[Message, ...]
    criteria: str | None = None
    expected_output: Any = None
    graders: tuple[GraderSpec, ...] = ()
    """Its own, then the suite's."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    """Names; empty: the suite's."""
    timeout_s: float | None = None
    workspace: WorkspacePlan = WorkspacePlan(WorkspaceMode.POOLED)

    @property
    def prompt(self) -> str:
        """The whole input as one text, for targets that take no messages. Who spoke is said where it was not the user
        alone."""
        if all(each.role == "user" for each in self.input):
            return "\n\n".join(each.text for each in self.input)
        return "\n\n".join(f"{each.role}: {each.text}" for each in self.input)


@dataclass(frozen=True, slots=True)
class Execution:
    """How a suite wants to be run; the command line has the last word."""

    targets: tuple[str, ...] = ()
    workers: int | None = None
    trials: int = 1
    budget_usd: float | None = None
    budget_tokens: int | None = None
    budget_minutes: float | None = None
    timeout_s: float | None = None
    """Of each trial's target."""
    fail_fast: bool = False
    threshold: float = 0.8
    """Least weighted mean with which a trial passes."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One file's worth of tests."""

    name: str
    file: str
    """Absolute."""
    tests: tuple[TestCase, ...]
    description: str = ""
    tags: tuple[str, ...] = ()
    execution: Execution = Execution()
    unset: tuple[str, ...] = ()
    """Environment variables that its ``${{ NAME }}`` ask for and that are not set; nothing stands in their place."""


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """The system under test, as ``targets.yaml`` names it."""

    name: str
    kind: str
    """cli, mock, replay, claude-code, codex, opencode, gemini-cli, copilot-cli, llm."""
    config: Mapping[str, Any]
    place: Place
    folder: str
    """Relative paths in ``config`` are relative to this folder."""
    placement: Placement = Placement.WORKSPACE
    timeout_s: float | None = None
