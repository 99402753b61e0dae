"""Graders: what scores an answer. One file for each family; ``grade`` runs any of them, ``check_grader`` reads one."""

from __future__ import annotations

import difflib
from importlib import import_module

from sandlot.errors import SandlotError, UsageError
from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.subject import Changed, Grader, GraderFailed, Grading, NothingToJudge, Subject
from sandlot.evals.outcomes import Verdict
from sandlot.evals.targets.cleaning import clean, clean_text

__all__ = ["TYPES", "Changed", "Grading", "Subject", "check_grader", "grade"]

TYPES = {
    "code-grader": "code.CodeGrader",
    "code-judge": "code.CodeGrader",
    "command": "command.Command",
    "composite": "composite.Composite",
    "contains": "text.Contains",
    "contains-all": "text.Contains",
    "contains-any": "text.Contains",
    "cost": "measures.Measures",
    "ends-with": "text.EndsWith",
    "equals": "text.Equals",
    "execution-metrics": "measures.Measures",
    "field-accuracy": "structure.FieldAccuracy",
    "file-changes": "files.FileChanges",
    "file-exists": "files.FileExists",
    "icontains": "text.Contains",
    "icontains-all": "text.Contains",
    "icontains-any": "text.Contains",
    "is-json": "text.IsJson",
    "json-schema": "structure.JsonSchema",
    "latency": "measures.Measures",
    "llm-grader": "llm.LlmGrader",
    "llm-judge": "llm.LlmGrader",
    "regex": "text.Regex",
    "rubrics": "llm.LlmGrader",
    "starts-with": "text.StartsWith",
    "tests": "command.Tests",
    "token-usage": "measures.Measures",
    "tool-trajectory": "trajectory.ToolTrajectory",
}
"""Where each type is; loaded when it is used."""


def check_grader(spec: GraderSpec) -> None:
    """Raises UsageError for a type or a field that is wrong; reads no key and runs nothing."""
    _grader(spec)


def grade(spec: GraderSpec, subject: Subject) -> Verdict:
    """What one grader says. Its own failure is in the verdict's ``error``; Cancelled is raised."""
    try:
        grader = _grader(spec)
        found = grader.find(subject)
    except NothingToJudge as nothing:
        return _verdict(spec, 0.0, False, reasoning=str(nothing), skipped=True)
    except SandlotError as error:
        return _verdict(spec, 0.0, False, error=error.message + (f" ({error.hint})" if error.hint else ""))
    except (GraderFailed, OSError) as error:
        return _verdict(spec, 0.0, False, error=str(error) or type(error).__name__)
    score = min(1.0, max(0.0, found.score))
    hits, misses = found.hits, found.misses
    if spec.negate:
        score, hits, misses = 1.0 - score, misses, hits
    least = grader.pass_score if spec.required is None else spec.required
    # What was found may quote what the target said.
    return Verdict(
        spec.name, spec.type, score, score >= least, spec.weight, spec.required, tuple(map(clean_text, hits)),
        tuple(map(clean_text, misses)), clean_text(found.reasoning), clean(found.details),
    )  # fmt: skip


def _verdict(
    spec: GraderSpec, score: float, passed: bool, *, reasoning: str = "", error: str = "", skipped: bool = False
) -> Verdict:
    return Verdict(
        spec.name, spec.type, score, passed, spec.weight, spec.required, reasoning=clean_text(reasoning),
        error=clean_text(error), skipped=skipped,
    )  # fmt: skip


def _grader(spec: GraderSpec) -> Grader:
    if spec.type not in TYPES:
        near = difflib.get_close_matches(spec.type, TYPES, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(TYPES)}"
        raise UsageError(f"{spec.place}: grader '{spec.name}': unknown type '{spec.type}'", hint=hint)
    module, _, name = TYPES[spec.type].rpartition(".")
    kind: type[Grader] = getattr(import_module(f"{__name__}.{module}"), name)
    fields = Fields(spec.config, f"grader '{spec.name}'", spec.place)
    grader = kind.read(spec, fields)
    fields.done()
    return grader
