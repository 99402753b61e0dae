"""A recorded run in the place of a live one: the same answers, calls and edits, for nothing.

``transcript`` is a JSON or JSONL file with an object for each test (``test`` or ``test_id``, and what a ``cli`` target
may answer, and ``patch``), or a folder of ``TEST-ID.json``. With ``stream: claude-code`` (or another agent) it is a
folder of ``TEST-ID.jsonl`` files as that agent prints them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from sandlot.evals.cases import TargetSpec
from sandlot.evals.fields import Fields
from sandlot.evals.outcomes import TargetAnswer
from sandlot.evals.targets.answers import answer_of
from sandlot.evals.targets.common import Job, Kind, fields_of
from sandlot.evals.targets.needs import TargetNeeds

__all__ = ["ReplayTarget"]

STREAMS = {
    "claude-code": "claude_code.ClaudeCode",
    "codex": "codex.Codex",
    "copilot-cli": "copilot_cli.CopilotCli",
    "gemini-cli": "gemini_cli.GeminiCli",
    "opencode": "opencode.OpenCode",
}
MAX_BYTES = 64 << 20


class ReplayTarget(Kind):
    """Answers as it was recorded. A test that was not recorded is an error."""

    name = "replay"

    def check(self, spec: TargetSpec) -> TargetNeeds:
        _read(spec)
        return TargetNeeds()

    def run(self, job: Job) -> TargetAnswer:
        fields, path, stream = _read(job.spec)
        if stream:
            return _streamed(os.path.join(path, f"{_file_name(job.case.id)}.jsonl"), stream)
        record = _record(path, job.case.id, fields)
        if record is None:
            return TargetAnswer("", 0, error=f"{path} has no record of the test '{job.case.id}'")
        patch = record.get("patch")
        if isinstance(patch, str) and patch and job.workspace is not None:
            job.workspace.patch(patch)
        return answer_of(record, duration_ms=0, log=str(record.get("log") or ""))


def _read(spec: TargetSpec) -> tuple[Fields, str, str]:
    fields = fields_of(spec)
    path = os.path.join(spec.folder, os.path.expanduser(fields.text("transcript")))
    stream = fields.choice("stream", ("", *STREAMS), "")
    fields.done()
    if not os.path.exists(path):
        raise fields.wrong(f"the transcript {path} does not exist")
    if stream and not os.path.isdir(path):
        raise fields.wrong("with 'stream', 'transcript' is a folder of TEST-ID.jsonl files")
    return fields, path, stream


def _file_name(test: str) -> str:
    return test.replace("/", "_")


def _record(path: str, test: str, fields: Fields) -> Mapping[str, Any] | None:
    if os.path.isdir(path):
        path = os.path.join(path, f"{_file_name(test)}.json")
        if not os.path.exists(path):
            return None
    with open(path, encoding="utf-8") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise fields.wrong(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    try:
        found = (
            [json.loads(line) for line in text.splitlines() if line.strip()] if path.endswith("l") else json.loads(text)
        )
    except (ValueError, RecursionError) as error:
        raise fields.wrong(f"{path} is not JSON: {error}") from None
    if isinstance(found, Mapping):
        if "text" in found or "output" in found:
            return found
        inner = found.get(test)
        return inner if isinstance(inner, Mapping) else None
    for each in found if isinstance(found, list) else []:
        if isinstance(each, Mapping) and test in (each.get("test"), each.get("test_id"), each.get("id")):
            return {**each, "text": each.get("text", each.get("answer"))}
    return None


def _streamed(path: str, kind: str) -> TargetAnswer:
    module, _, name = STREAMS[kind].rpartition(".")
    stream = getattr(import_module(f"sandlot.evals.targets.agents.{module}"), name)().stream()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                stream.feed(line.rstrip("\n"))
    except FileNotFoundError:
        return TargetAnswer("", 0, error=f"there is no record {path}")
    answer: TargetAnswer = stream.answer(0, "", "", False)
    return answer
