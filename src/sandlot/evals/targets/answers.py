"""An answer as targets write it down: plain text, or JSON with a transcript, tool calls and usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sandlot.evals.outcomes import TargetAnswer, ToolCall, Usage

__all__ = ["amount", "answer_from", "answer_of", "content_text", "count", "tool_calls", "usage_of"]


MOST = 1e15
"""A larger number of tokens, milliseconds or dollars is none."""


def answer_from(text: str, *, duration_ms: int, log: str = "") -> TargetAnswer:
    """Text as it is; a JSON object with ``text`` or ``output`` (messages) as that.

    Its ``duration_ms`` is passed over: time can be measured, and a target that would rather win might claim any.
    """
    stripped = text.strip()
    if stripped.startswith("{"):
        try:
            found = json.loads(stripped)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and ("text" in found or "output" in found or "output_messages" in found):
            return answer_of({**found, "duration_ms": None}, duration_ms=duration_ms, log=log)
    return TargetAnswer(text, duration_ms, log=log)


def answer_of(found: Mapping[str, Any], *, duration_ms: int, log: str = "") -> TargetAnswer:
    """``{text | output: [{role, content, tool_calls}], tool_calls, token_usage, cost_usd, duration_ms, error}``."""
    messages = tuple(
        dict(each) for each in _list(found.get("messages") or found.get("output") or found.get("output_messages"))
        if isinstance(each, Mapping)
    )  # fmt: skip
    calls = tool_calls(found.get("tool_calls")) or tuple(
        call for message in messages for call in tool_calls(message.get("tool_calls"))
    )
    text = found.get("text")
    if not isinstance(text, str):
        said = [content_text(each.get("content")) for each in messages if each.get("role") == "assistant"]
        text = next((each for each in reversed(said) if each), "")
    took = amount(found.get("duration_ms"))
    return TargetAnswer(
        text,
        duration_ms if took is None else round(took),
        messages=messages,
        tool_calls=calls,
        usage=usage_of(found),
        error=str(found.get("error") or ""),
        log=log,
    )


def usage_of(found: Mapping[str, Any]) -> Usage:
    """Of ``usage`` or ``token_usage``, and ``cost_usd``, here or in there."""
    inner = found.get("usage") or found.get("token_usage")
    tokens: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    return Usage(
        count(tokens.get("input_tokens", tokens.get("input"))),
        count(tokens.get("output_tokens", tokens.get("output"))),
        amount(found.get("cost_usd", tokens.get("cost_usd"))),
    )


def tool_calls(found: Any) -> tuple[ToolCall, ...]:
    """``[{name | tool, arguments | input, output, duration_ms}]``; what is none is left out."""
    calls = []
    for each in _list(found):
        if not isinstance(each, Mapping):
            continue
        name = each.get("name", each.get("tool"))
        arguments = each.get("arguments", each.get("input"))
        took = amount(each.get("duration_ms"))
        if isinstance(name, str):
            calls.append(
                ToolCall(
                    name,
                    dict(arguments) if isinstance(arguments, Mapping) else {},
                    content_text(each.get("output")),
                    None if took is None else round(took),
                )
            )
    return tuple(calls)


def content_text(content: Any) -> str:
    """The text of a message's content: a text, or a list of parts."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        parts = []
        for part in content:
            text = part.get("text", part.get("value")) if isinstance(part, Mapping) else part
            if isinstance(text, str):
                parts.append(text)
        return "\n".join(parts)
    try:
        return json.dumps(content, ensure_ascii=False)
    except RecursionError:
        return "[nested too deeply]"


def count(value: Any) -> int | None:
    """A number of tokens that a target claims, or None when it is none."""
    found = amount(value)
    return None if found is None else int(found)


def amount(value: Any) -> float | None:
    """A finite number that is not negative, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        return None  # not by math.isfinite: that fails with whole numbers beyond a float's range
    return float(value)


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
