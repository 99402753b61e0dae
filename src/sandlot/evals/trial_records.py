"""The result of a trial as JSON, and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from sandlot.evals.outcomes import Outcome, Stage, TargetAnswer, Trial, TrialResult, Usage, Verdict

__all__ = ["plain", "read_result", "transcript", "trial_of", "write_result"]

FORMAT = 1
"""Of a trial's file; fields are only ever added to it."""
LONGEST_TEXT = 256 * 1024
"""Characters of an answer that a trial's file holds; all of it is in the transcript."""
APART = ("messages", "tool_calls", "log")
"""What of an answer is kept in files of its own: reports do not need it."""


def plain(value: object, leave_out: frozenset[str] = frozenset()) -> Any:
    """Dataclasses and mappings as objects, enums as their values, numbers that JSON has not as words.

    ``leave_out``: fields of dataclasses that are of no interest.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (str, int)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.name not in leave_out]
        return {name: plain(getattr(value, name), leave_out) for name in names}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each, leave_out) for key, each in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [plain(each, leave_out) for each in value]
    return str(value)


def write_result(result: TrialResult) -> dict[str, Any]:
    """What a trial's file holds."""
    record: dict[str, Any] = {"format": FORMAT, **plain(dataclasses.replace(result, answer=None))}
    if result.answer is not None:
        whole = {field.name: getattr(result.answer, field.name) for field in dataclasses.fields(result.answer)}
        answer = {name: plain(value) for name, value in whole.items() if name not in APART}
        answer["text"] = result.answer.text[:LONGEST_TEXT]
        answer["turns"] = len(result.answer.messages)
        answer["tools"] = len(result.answer.tool_calls)
        record["answer"] = answer
    return record


def read_result(record: Mapping[str, Any]) -> TrialResult:
    """The result that a trial's file holds, without what is kept apart. Raises KeyError, TypeError or ValueError."""
    if not isinstance(record.get("format"), int) or record["format"] > FORMAT:
        raise ValueError(f"format {record.get('format')!r}")
    return TrialResult(
        trial=trial_of(record["trial"]),
        outcome=Outcome(record["outcome"]),
        score=None if record["score"] is None else float(record["score"]),
        verdicts=tuple(_verdict(each) for each in record["verdicts"]),
        answer=_answer(record.get("answer")),
        stage=None if record["stage"] is None else Stage(record["stage"]),
        reason=str(record["reason"]),
        warnings=tuple(str(each) for each in record["warnings"]),
        isolation=str(record["isolation"]),
        files_changed=int(record["files_changed"]),
        started_at=str(record["started_at"]),
        duration_ms=int(record["duration_ms"]),
        hook_output={str(name): str(text) for name, text in record["hook_output"].items()},
    )


def trial_of(record: Mapping[str, Any]) -> Trial:
    """The trial that a file names. Raises KeyError, TypeError or ValueError."""
    return Trial(str(record["suite"]), str(record["test"]), str(record["target"]), int(record["number"]))


def _verdict(record: Mapping[str, Any]) -> Verdict:
    return Verdict(
        name=str(record["name"]),
        type=str(record["type"]),
        score=float(record["score"]),
        passed=bool(record["passed"]),
        weight=float(record["weight"]),
        required=None if record["required"] is None else float(record["required"]),
        hits=tuple(str(each) for each in record["hits"]),
        misses=tuple(str(each) for each in record["misses"]),
        reasoning=str(record["reasoning"]),
        details=dict(record["details"]),
        error=str(record["error"]),
        skipped=bool(record["skipped"]),
    )


def _answer(record: Mapping[str, Any] | None) -> TargetAnswer | None:
    if record is None:
        return None
    usage = record["usage"]
    return TargetAnswer(
        text=str(record["text"]),
        duration_ms=int(record["duration_ms"]),
        usage=Usage(_count(usage["input_tokens"]), _count(usage["output_tokens"]), _amount(usage["cost_usd"])),
        error=str(record["error"]),
        timed_out=bool(record["timed_out"]),
    )


def _count(value: Any) -> int | None:
    return None if value is None else int(value)


def _amount(value: Any) -> float | None:
    return None if value is None else float(value)


def transcript(answer: TargetAnswer) -> list[dict[str, Any]]:
    """A transcript's lines: messages, then calls of tools."""
    lines = [{"kind": "message", **plain(message)} for message in answer.messages]
    return lines + [{"kind": "tool_call", **plain(call)} for call in answer.tool_calls]
