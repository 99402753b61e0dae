"""``code-grader`` (also ``code-judge``): a program of the suite's that reads JSON and prints its verdict as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandlot.evals.cases import GraderSpec, Placement
from sandlot.evals.fields import Fields
from sandlot.evals.graders.command import NOT_RUNNABLE, QUIET, read_timeout
from sandlot.evals.graders.hidden import HiddenFiles, grading_place, shown
from sandlot.evals.graders.subject import Finding, Grader, GraderFailed, Subject
from sandlot.evals.targets.commandline import Ran, run_inside, run_on_host

__all__ = ["CodeGrader", "verdict_of"]

PATCH_BYTES = 8 << 20
"""Most of the diff that a grader gets on its standard input; the files themselves are in its workspace."""


@dataclass(frozen=True, slots=True)
class CodeGrader(Grader):
    """Runs in a workspace made of the target's changes, with a copy of its suite's folder beside them.

    Its verdict is the *only* JSON object on its standard output, and its exit code is 0. Code of the target's that it
    starts may reach that output: what it adds makes two objects, or an exit code, and so an error, never a success.
    """

    command: tuple[str, ...]
    folder: str
    """Of the suite; a copy of it is inside while the grader runs."""
    cwd: str
    """Below ``folder``."""
    hidden: HiddenFiles
    config: Mapping[str, Any]
    timeout_s: float
    on_host: bool

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> CodeGrader:
        cwd = os.path.normpath(os.path.join(spec.folder, fields.text("cwd", "")))
        if cwd != spec.folder.rstrip("/") and not cwd.startswith(spec.folder.rstrip("/") + "/"):
            folder, cwd = cwd, ""  # a folder beside the suite's: that one is what the grader needs
        else:
            folder, cwd = spec.folder, os.path.relpath(cwd, spec.folder)
        if fields.any("target"):
            raise fields.wrong("a grader's own calls of a model are not offered", "write an llm-grader")
        placement = fields.choice("placement", tuple(Placement), Placement.WORKSPACE)
        return cls(
            fields.command("command") if fields.has("command") else fields.command("script"),
            folder,
            cwd,
            HiddenFiles.read(spec, fields, ()),
            fields.mapping("config"),
            read_timeout(fields),
            placement == Placement.HOST,
        )

    def hidden_from_targets(self, *, static: bool) -> tuple[str, ...]:
        return (*self.hidden.sources, self.folder) if static else self.hidden.sources

    def find(self, subject: Subject) -> Finding:
        given = json.dumps(_given(subject, self.config, None if self.on_host else "/workspace")).encode()
        if self.on_host:
            ran = run_on_host(
                self.command,
                cwd=os.path.join(self.folder, self.cwd),
                stdin=given,
                timeout_s=self.timeout_s,
                cancellation=subject.cancellation,
            )
        else:
            with (
                grading_place(subject, self.hidden) as workspace,
                shown(workspace, self.folder, subject.case) as inside,
            ):
                ran = run_inside(
                    workspace, self.command, cwd=os.path.join(inside, self.cwd), stdin=given, timeout_s=self.timeout_s,
                    env={**QUIET, "AGENTV_WORKSPACE_PATH": "/workspace", "SANDLOT_WORKSPACE": "/workspace"},
                    cancellation=subject.cancellation,
                )  # fmt: skip
        return _finding(ran)


def _given(subject: Subject, config: Mapping[str, Any], workspace: str | None) -> dict[str, Any]:
    """What a grader reads. The names are those that existing graders of the field expect."""
    case, answer = subject.case, subject.answer
    patch = subject.changes.patch
    asked = [{"role": each.role, "content": each.text} for each in case.input]
    return {
        "question": case.prompt,
        "criteria": case.criteria or "",
        "expected_output": case.expected_output,
        "reference_answer": case.expected_output if isinstance(case.expected_output, str) else None,
        "answer": answer.text,
        "output": list(answer.messages) or [{"role": "assistant", "content": answer.text}],
        "input": asked,
        "input_files": [part.file for each in case.input for part in each.parts if part.file],
        "trace": {"tool_calls": [_call(each) for each in answer.tool_calls]},
        "token_usage": {"input": answer.usage.input_tokens, "output": answer.usage.output_tokens},
        "cost_usd": answer.usage.cost_usd,
        "duration_ms": answer.duration_ms,
        "file_changes": patch[:PATCH_BYTES].decode("utf-8", "replace"),
        "file_changes_complete": len(patch) <= PATCH_BYTES,
        "changed_files": [{"path": _text(each.path), "status": str(each.status)} for each in subject.changes.files],
        "workspace_path": workspace,
        "metadata": dict(case.metadata),
        "config": dict(config),
    }


def _call(call: Any) -> dict[str, Any]:
    return {"tool": call.name, "name": call.name, "input": dict(call.arguments), "output": call.output}


def _text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _finding(ran: Ran) -> Finding:
    if ran.failure:
        unable = " (it could not run)" if ran.exit_status in NOT_RUNNABLE else ""
        raise GraderFailed(f"the grader failed: {ran.failure}{unable}: {ran.log.strip()[-500:]}")
    if ran.cut:
        raise GraderFailed("the grader printed too much for a verdict")
    return verdict_of(ran.stdout)


def verdict_of(text: str) -> Finding:
    """The verdict on a grader's standard output: one JSON object, and nothing else. Raises GraderFailed."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise GraderFailed(
            f"the grader did not print one JSON object and nothing else: {text.strip()[:300]!r}"
        ) from None
    if not isinstance(found, Mapping):
        raise GraderFailed("the grader's verdict is no JSON object")
    score = found.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:  # which NaN is not
        raise GraderFailed(f"the grader's score is no number from 0 to 1: {repr(score)[:100]}")
    details = found.get("details")
    return Finding(
        float(score), _texts(found.get("hits")), _texts(found.get("misses")), str(found.get("reasoning") or ""),
        dict(details) if isinstance(details, Mapping) else {},
    )  # fmt: skip


def _texts(found: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in found) if isinstance(found, list) else ()
