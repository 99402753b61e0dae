"""Chat completions over HTTP, asked by the host: the key is read from a variable that the targets file names."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sandlot.evals.cases import TargetSpec
from sandlot.evals.outcomes import TargetAnswer, Usage
from sandlot.evals.targets.answers import content_text, count
from sandlot.evals.targets.common import Job, Kind, fields_of
from sandlot.evals.targets.http import HttpFailed, post_json
from sandlot.evals.targets.needs import TargetNeeds

if TYPE_CHECKING:
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["LlmTarget", "complete"]

DEFAULT_URL = "https://api.openai.com/v1"
DEFAULT_S = 300.0


@dataclass(frozen=True, slots=True)
class _Model:
    url: str
    key_env: str
    body: Mapping[str, Any]
    system: str
    retries: int
    prices: tuple[float, float] | None
    """US dollars for a million tokens in, and out."""


class LlmTarget(Kind):
    """A model without tools: the test's messages go in, its answer comes out. It touches no file."""

    name = "llm"

    def check(self, spec: TargetSpec) -> TargetNeeds:
        _read(spec)
        return TargetNeeds()

    def run(self, job: Job) -> TargetAnswer:
        messages = [{"role": each.role, "content": each.text} for each in job.case.input]
        return complete(job.spec, messages, timeout_s=job.timeout_s, cancellation=job.cancellation)


def complete(
    spec: TargetSpec,
    messages: Sequence[Mapping[str, Any]],
    *,
    timeout_s: float | None = None,
    cancellation: Cancellation | None = None,
) -> TargetAnswer:
    """Ask; what fails is in the answer's ``error``, and never holds the key. Raises UsageError, Cancelled."""
    model = _read(spec)
    began = time.monotonic()
    headers = {"Content-Type": "application/json"}
    key = ""
    if model.key_env:
        key = os.environ.get(model.key_env, "")
        if not key:
            return TargetAnswer("", 0, error=f"target '{spec.name}': the variable {model.key_env} is not set")
        headers["Authorization"] = f"Bearer {key}"
    first = [{"role": "system", "content": model.system}] if model.system else []
    body = {**model.body, "messages": [*first, *messages]}
    try:
        reply = post_json(
            f"{model.url}/chat/completions", body, headers, timeout_s=timeout_s or DEFAULT_S, retries=model.retries,
            cancellation=cancellation,
        )  # fmt: skip
    except HttpFailed as failure:
        said = str(failure).replace(key, "[key]") if key else str(failure)  # some servers quote what they refuse
        return TargetAnswer("", _since(began), error=said, timed_out=failure.timed_out)
    return _answer(reply, messages, model, _since(began))


def _answer(reply: Any, asked: Sequence[Mapping[str, Any]], model: _Model, duration_ms: int) -> TargetAnswer:
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        return TargetAnswer("", duration_ms, error="the reply has no choices: this is no chat completions endpoint")
    message = choices[0].get("message")
    text = content_text(message.get("content")) if isinstance(message, Mapping) else ""
    used = reply.get("usage")
    tokens: Mapping[str, Any] = used if isinstance(used, Mapping) else {}
    given, got = count(tokens.get("prompt_tokens")), count(tokens.get("completion_tokens"))
    cost = None
    if model.prices is not None and given is not None and got is not None:
        cost = (given * model.prices[0] + got * model.prices[1]) / 1_000_000
    transcript = (*(dict(each) for each in asked), {"role": "assistant", "content": text})
    error = "" if text else f"the model gave no answer: {choices[0].get('finish_reason')}"
    return TargetAnswer(text, duration_ms, transcript, usage=Usage(given, got, cost), error=error)


def _read(spec: TargetSpec) -> _Model:
    fields = fields_of(spec)
    url = fields.text("base_url", DEFAULT_URL).rstrip("/").removesuffix("/chat/completions")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise fields.wrong("'base_url' must be an http or https URL without credentials")
    for name in ("api_key", "key"):
        if fields.has(name):
            raise fields.wrong(f"'{name}' would put a key into a file", "write api_key_env: NAME_OF_A_VARIABLE")
    body: dict[str, Any] = {"model": fields.text("model")}
    for name in ("temperature", "top_p", "max_tokens", "seed"):
        found = fields.number(name)
        if found is not None:
            body[name] = int(found) if found == int(found) and name in ("max_tokens", "seed") else found
    body.update(fields.mapping("parameters"))
    retries = fields.count("retries", most=10)
    prices = fields.inner("usd_per_million")
    given, got = prices.number("input", least=0), prices.number("output", least=0)
    prices.done()
    model = _Model(
        url, fields.text("api_key_env", "" if fields.has("base_url") else "OPENAI_API_KEY"), body,
        fields.text("system", ""), 2 if retries is None else retries,
        (given, got) if given is not None and got is not None else None,
    )  # fmt: skip
    fields.done()
    return model


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
