"""Scripted replies and file edits, by test id: for trying out suites and graders without a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from sandlot.evals.cases import TargetSpec
from sandlot.evals.fields import Fields
from sandlot.evals.outcomes import TargetAnswer
from sandlot.evals.targets.answers import answer_of
from sandlot.evals.targets.common import Job, Kind, fields_of
from sandlot.evals.targets.needs import TargetNeeds

__all__ = ["MockTarget"]


class MockTarget(Kind):
    """``response`` for every test, or ``tests: {ID: {response, files, patch, delay_ms, ...}}``."""

    name = "mock"

    def check(self, spec: TargetSpec) -> TargetNeeds:
        fields = fields_of(spec)
        for name in fields.mapping("tests"):
            inner = fields.inner("tests").inner(name)
            _check_script(inner)
            inner.done()
        _check_script(fields)
        fields.done()
        return TargetNeeds()

    def run(self, job: Job) -> TargetAnswer:
        """``{**defaults, **of the test}``."""
        config = job.spec.config
        own = (config.get("tests") or {}).get(job.case.id)
        script: Mapping[str, Any] = {**config, **(own or {})}
        began = time.monotonic()
        delay_s = float(script.get("delay_ms") or script.get("delayMs") or 0) / 1000
        if not _wait(job, min(delay_s, job.timeout_s) if job.timeout_s is not None else delay_s, delay_s):
            return TargetAnswer("", _since(began), timed_out=True, error="its time was up")
        if job.workspace is not None:
            _edit(job, script)
        reply = {
            "text": str(script.get("response") or ""),
            **{
                name: script[name]
                for name in ("messages", "tool_calls", "usage", "cost_usd", "error")
                if script.get(name)
            },
        }
        for line in reply["text"].splitlines():
            if job.on_line is not None:
                job.on_line("stdout", line)
        took = script.get("duration_ms")
        return answer_of(reply, duration_ms=_since(began) if took is None else int(took), log=reply["text"])


def _check_script(fields: Fields) -> None:
    fields.text("response", "")
    fields.number("delay_ms", least=0)
    fields.number("delayMs", least=0)
    fields.number("duration_ms", least=0)
    fields.number("cost_usd", least=0)
    fields.text("error", "")
    fields.text("patch", "")
    for name, content in fields.mapping("files").items():
        if content is not None and not isinstance(content, str):
            raise fields.wrong(f"the content of '{name}' must be a text, or null to delete it")
    fields.items("messages")
    fields.items("tool_calls")
    fields.mapping("usage")


def _wait(job: Job, wait_s: float, delay_s: float) -> bool:
    """Whether the whole delay is over before the time is up. Raises Cancelled."""
    over = threading.Event()
    if job.cancellation is None:
        over.wait(wait_s) if wait_s > 0 else None
    else:
        with job.cancellation.waking(over.set):
            over.wait(wait_s) if wait_s > 0 else None
        job.cancellation.check()
    return wait_s >= delay_s


def _edit(job: Job, script: Mapping[str, Any]) -> None:
    for name, content in (script.get("files") or {}).items():
        if content is None:
            job.place.files.delete(name, recursive=True)
        else:
            job.place.files.write(name, content)
    if script.get("patch"):
        job.place.patch(script["patch"])


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
