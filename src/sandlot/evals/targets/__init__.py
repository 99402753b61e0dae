"""Targets: what a suite tests. One file for each kind; ``run_target`` runs any of them."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING

from sandlot.errors import SandlotError, UsageError
from sandlot.evals.cases import Placement, TargetSpec, TestCase
from sandlot.evals.outcomes import TargetAnswer
from sandlot.evals.targets.cleaning import clean_answer, clean_text
from sandlot.evals.targets.commandline import OnLine
from sandlot.evals.targets.common import Job, Kind
from sandlot.evals.targets.needs import TargetNeeds

if TYPE_CHECKING:
    from sandlot.sdk import Workspace
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["KINDS", "TargetNeeds", "check_target", "run_target"]

KINDS = {
    "claude-code": "agents.claude_code.ClaudeCode",
    "cli": "cli.CliTarget",
    "codex": "agents.codex.Codex",
    "copilot-cli": "agents.copilot_cli.CopilotCli",
    "gemini-cli": "agents.gemini_cli.GeminiCli",
    "llm": "llm.LlmTarget",
    "mock": "mock.MockTarget",
    "opencode": "agents.opencode.OpenCode",
    "replay": "replay.ReplayTarget",
}
"""Where each kind is; loaded when it is used."""
PLACELESS = ("llm", "mock", "replay")
"""Kinds that run no command; ``placement`` says nothing about them."""


def check_target(spec: TargetSpec) -> TargetNeeds:
    """What a target needs of its workspace. Raises UsageError for a kind or a field that is wrong; reads no key."""
    return _kind(spec).check(spec)


def run_target(
    spec: TargetSpec,
    case: TestCase,
    workspace: Workspace | None,
    *,
    timeout_s: float | None = None,
    cancellation: Cancellation | None = None,
    on_line: OnLine | None = None,
    attempt: int = 1,
) -> TargetAnswer:
    """Give a test to a target and wait for its answer.

    ``timeout_s``: seconds until its whole process tree is ended. ``attempt`` counts trials of a test from 1. What fails
    is told in the answer's ``error``; raises UsageError for a configuration that is wrong, and Cancelled.

    Children that left the command's process tree may live on in the workspace: stop it before anything is graded.
    """
    kind = _kind(spec)
    if workspace is None and spec.placement is not Placement.HOST and spec.kind not in PLACELESS:
        raise UsageError(f"{spec.place}: target '{spec.name}' needs a workspace", hint="or write placement: host")
    try:
        return clean_answer(kind.run(Job(spec, case, workspace, timeout_s, cancellation, on_line, attempt)))
    except UsageError:
        raise
    except (SandlotError, OSError) as error:
        return TargetAnswer("", 0, error=clean_text(f"{type(error).__name__}: {error}"))


def _kind(spec: TargetSpec) -> Kind:
    if spec.kind not in KINDS:
        near = difflib.get_close_matches(spec.kind, KINDS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(KINDS)}"
        raise UsageError(f"{spec.place}: target '{spec.name}': unknown kind '{spec.kind}'", hint=hint)
    module, _, name = KINDS[spec.kind].rpartition(".")
    kind: Kind = getattr(import_module(f"{__name__}.{module}"), name)()
    return kind
