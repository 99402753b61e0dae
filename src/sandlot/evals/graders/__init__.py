"""Graders: what scores an answer. One file for each family; ``grade`` runs any of them, ``check_grader`` reads one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from sandlot.errors import SandlotError, UsageError
from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.subject import Changed, Grader, GraderFailed, Grading, NothingToJudge, Subject
from sandlot.evals.outcomes import Verdict
from sandlot.evals.scoring import first_missed
from sandlot.evals.targets.cleaning import clean, clean_text

__all__ = [
    "TYPES",
    "Changed",
    "Grader",
    "Grading",
    "Reader",
    "Subject",
    "check_grader",
    "grade",
    "grade_all",
    "read_grader",
]

Reader = Callable[[GraderSpec], Grader]

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
    "tests": "test_runs.Tests",
    "token-usage": "measures.Measures",
    "tool-trajectory": "trajectory.ToolTrajectory",
}
"""Where each type is; loaded when it is used."""


MOST_FOUND = 100
"""Hits, and misses, that are kept of a verdict."""
MOST_CHARACTERS = 4000
"""Of each of them; of the reasoning ten times that. They may quote what a target said, however long."""


MOST_DETAILS = 256 << 10
"""Characters of the details as JSON: every report reads them again."""


def check_grader(spec: GraderSpec) -> None:
    """Raises UsageError for a type or a field that is wrong; reads no key and runs nothing."""
    read_grader(spec)


def grade_all(specs: Sequence[GraderSpec], subject: Subject, read: Reader | None = None) -> tuple[Verdict, ...]:
    """What each of several graders says, in their order; Cancelled is raised.

    Those that ask a model come last. When a required one has found too little by then they are not asked: nothing that
    they could say would change the outcome, and nobody should need their key. ``read``: what makes a grader of a spec.
    """
    found: dict[int, Verdict] = {}
    models: list[int] = []
    for at, spec in enumerate(specs):
        grader = _read(spec, read or read_grader)
        if isinstance(grader, Verdict):
            found[at] = grader
        elif grader.asks_a_model:
            models.append(at)
        else:
            found[at] = grade(spec, subject, read)
    for at in models:
        low = first_missed(found.values())
        found[at] = (
            _verdict(specs[at], 0.0, False, reasoning=f"not asked: '{low.name}' is required, and failed", skipped=True)
            if low
            else grade(specs[at], subject, read)
        )
    return tuple(found[at] for at in range(len(specs)))


def grade(spec: GraderSpec, subject: Subject, read: Reader | None = None) -> Verdict:
    """What one grader says. Its own failure is in the verdict's ``error``; Cancelled is raised."""
    grader = _read(spec, read or read_grader)
    if isinstance(grader, Verdict):
        return grader
    if subject.cancellation is not None:
        subject.cancellation.check()
    try:
        found = grader.find(subject)
    except NothingToJudge as nothing:
        return _verdict(spec, 0.0, False, reasoning=str(nothing), skipped=True)
    except SandlotError as error:
        return _verdict(spec, 0.0, False, error=_sentence(error))
    except (GraderFailed, OSError) as error:
        return _verdict(spec, 0.0, False, error=str(error) or type(error).__name__)
    score = min(1.0, max(0.0, found.score))
    hits, misses = found.hits, found.misses
    if spec.negate:
        score, hits, misses = 1.0 - score, misses, hits
    least = grader.pass_score if spec.required is None else spec.required
    return Verdict(
        spec.name, spec.type, score, score >= least, spec.weight, spec.required, _kept(hits), _kept(misses),
        clean_text(found.reasoning[: 10 * MOST_CHARACTERS]), _details(found.details),
    )  # fmt: skip


def _read(spec: GraderSpec, read: Reader) -> Grader | Verdict:
    """The grader, or the verdict of one that cannot be made."""
    try:
        return read(spec)
    except SandlotError as error:
        return _verdict(spec, 0.0, False, error=_sentence(error))


def _sentence(error: SandlotError) -> str:
    return error.message + (f" ({error.hint})" if error.hint else "")


def _details(found: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = clean(found)
    if len(json.dumps(kept, default=str)) > MOST_DETAILS:
        return {"left_out": f"more than {MOST_DETAILS >> 10} KiB"}
    return kept


def _kept(found: Sequence[str]) -> tuple[str, ...]:
    kept = [clean_text(each[:MOST_CHARACTERS]) for each in found[:MOST_FOUND]]
    return (*kept, f"and {len(found) - MOST_FOUND} more") if len(found) > MOST_FOUND else tuple(kept)


def _verdict(
    spec: GraderSpec, score: float, passed: bool, *, reasoning: str = "", error: str = "", skipped: bool = False
) -> Verdict:
    return Verdict(
        spec.name, spec.type, score, passed, spec.weight, spec.required, reasoning=clean_text(reasoning),
        error=clean_text(error[:MOST_CHARACTERS]), skipped=skipped,
    )  # fmt: skip


def read_grader(spec: GraderSpec) -> Grader:
    """Of its fields, and of files beside the suite that they name. Raises UsageError."""
    if spec.type not in TYPES:
        near = difflib.get_close_matches(spec.type, TYPES, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(TYPES)}"
        raise UsageError(f"{spec.place}: grader '{spec.name}': unknown type '{spec.type}'", hint=hint)
    module, _, name = TYPES[spec.type].rpartition(".")
    kind: type[Grader] = getattr(import_module(f"{__name__}.{module}"), name)
    fields = Fields(spec.config, f"grader '{spec.name}'", spec.place)
    try:
        grader = kind.read(spec, fields)
    except (OSError, UnicodeDecodeError) as error:  # of a file that they name
        raise fields.wrong(f"a file of it cannot be read: {error}") from None
    fields.done()
    return grader
