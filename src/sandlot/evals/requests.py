"""What a chat may ask of evals, as typed requests: tools, their schemas and the host helpers are derived from these.

They are no operations, for no workspace answers them; but they are described in the same words.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sandlot.operations import catalog
from sandlot.operations.operation import Argument, Effect, Operation, argument, arguments_of

__all__ = ["EVALS", "EvalCompare", "EvalOperation", "EvalResults", "EvalRun", "load"]

MINUTES = 60
"""How long a run goes on that nobody may be looking at any more."""


@dataclass(frozen=True, slots=True)
class EvalRun:
    """Run suites of the project."""

    paths: tuple[str, ...] = argument("suites, or folders to look for them in", host_path=True)
    target: str | None = argument("instead of the suites' own targets", default=None)
    filter: str | None = argument("tests whose id, or SUITE/ID, fits this glob", default=None)
    trials: int | None = argument("trials of each test by each target", default=None, least=1, most=1000)
    minutes: int = argument("the run ends then", default=MINUTES, least=1, most=1440)


@dataclass(frozen=True, slots=True)
class EvalResults:
    """How a run went, or goes."""

    run: str = argument("its id, or latest", default="latest")
    test: str | None = argument("one test: graders, answer and patch of its trials", default=None)
    wait: str | None = argument("how long to wait for its end", default=None, kind="duration")
    offset: int = argument("where to read on", default=0, least=0)


@dataclass(frozen=True, slots=True)
class EvalCompare:
    """What changed from one run to another."""

    before: str = argument("the run to compare with")
    after: str = argument("the run to look at", default="latest")
    offset: int = argument("where to read on", default=0, least=0)


@dataclass(frozen=True, slots=True)
class EvalOperation:
    """One of them, described like an ``Operation``."""

    name: str
    command: tuple[str, ...]
    """The CLI's words for the same."""
    request: type[Any]
    effect: Effect

    def arguments(self) -> list[tuple[dataclasses.Field[Any], Argument]]:
        """The request's fields and how to present them, in order."""
        return arguments_of(self.request)


EVALS: dict[str, EvalOperation] = {
    each.name: each
    for each in (
        EvalOperation("eval_run", ("eval", "run"), EvalRun, Effect()),
        EvalOperation("eval_results", ("eval", "report"), EvalResults, Effect(read_only=True, idempotent=True)),
        EvalOperation("eval_compare", ("eval", "compare"), EvalCompare, Effect(read_only=True, idempotent=True)),
    )
}


def load(name: str) -> Operation[Any, Any] | EvalOperation:
    """What a tool of that name does, on workspaces or on evals. Raises UsageError."""
    return EVALS.get(name) or catalog.load(name)
