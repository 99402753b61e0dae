"""What a target says, made safe to keep: text that can be encoded, numbers that are JSON, no bottomless nesting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandlot.evals.outcomes import TargetAnswer, ToolCall

__all__ = ["clean", "clean_answer", "clean_text"]

DEEPEST = 40
"""Levels that are kept of a tool's arguments: json.dumps recurses, and a target chooses how deep."""


def clean_text(text: str) -> str:
    """Lone surrogates (half a pair in JSON, bytes of a file's name) become replacement characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def clean(value: Any, depth: int = 0) -> Any:
    """JSON as it may be written again."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        if depth == DEEPEST:
            return "[nested too deeply]"
        return {clean_text(str(key)): clean(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return "[nested too deeply]" if depth == DEEPEST else [clean(each, depth + 1) for each in value]
    return value


def clean_answer(answer: TargetAnswer) -> TargetAnswer:
    """The same answer, with everything in it clean."""
    calls = tuple(
        ToolCall(clean_text(each.name), clean(each.arguments), clean_text(each.output), each.duration_ms)
        for each in answer.tool_calls
    )
    return replace(
        answer,
        text=clean_text(answer.text),
        messages=tuple(clean(each) for each in answer.messages),
        tool_calls=calls,
        error=clean_text(answer.error),
        log=clean_text(answer.log),
    )
