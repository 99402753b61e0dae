"""One trial, in the order of the spec: before_each, target, capture, graders elsewhere, after_each, gone."""

from __future__ import annotations

import dataclasses
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandlot.errors import HookFailed, SandlotError
from sandlot.evals.cases import Placement
from sandlot.evals.manifest import now
from sandlot.evals.outcomes import Outcome, Stage, TrialResult

if TYPE_CHECKING:
    from sandlot.evals.machinery import Captured, Machinery, Prepared, TrialPlace
    from sandlot.evals.outcomes import TargetAnswer
    from sandlot.evals.selection import Job
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Finished", "failed_before", "run_trial"]


@dataclass(frozen=True, slots=True)
class Finished:
    """A result, and what is kept beside it."""

    result: TrialResult
    patch: bytes = b""


class _Course:
    """How far a trial has come: what is known when it breaks off."""

    def __init__(self, job: Job) -> None:
        self.result = TrialResult(job.trial, Outcome.ERROR, None, stage=Stage.SETUP, started_at=now())
        self.patch = b""

    def set(self, **changes: object) -> None:
        self.result = dataclasses.replace(self.result, **changes)  # type: ignore[arg-type]  # fields of the result


def run_trial(
    job: Job,
    prepared: Prepared,
    machinery: Machinery,
    cancellation: Cancellation,
    note: Callable[[TargetAnswer], None] = lambda _answer: None,
    begins: Callable[[], None] = lambda: None,
) -> Finished:
    """Run it. ``begins`` hears when the target does: before that hooks ran, or others in the same static folder.
    ``note`` hears of the answer before it is graded: what it cost counts from then on.

    Whatever goes wrong around the target's work is an error with its stage, never a failure. Raises Cancelled alone.
    """
    began = time.monotonic()
    course = _Course(job)
    try:
        with prepared.trial(job.test, job.trial) as place:
            course.set(stage=Stage.TARGET)
            begins()
            _inside(job, place, machinery, cancellation, note, course)
            settled = course.result.stage
            course.set(stage=Stage.TEARDOWN)
        course.set(stage=settled)
        course.set(
            warnings=(*course.result.warnings, *place.warnings),
            hook_output={str(name): text for name, text in place.hook_output.items()},
        )
    except HookFailed as error:
        if course.result.stage is Stage.SETUP:
            course.set(stage=Stage.HOOK)
        _broke(course, "\n".join((error.message, *error.details)))
    except SandlotError as error:
        _broke(course, error.message)
    except Exception as error:  # a bug of ours, or of a grader: the run goes on, and nobody is blamed for it
        if os.environ.get("SANDLOT_DEBUG"):
            traceback.print_exception(error)
        _broke(course, f"unexpected {type(error).__name__}: {error}")
    course.set(duration_ms=round((time.monotonic() - began) * 1000))
    return Finished(course.result, course.patch)


def _inside(
    job: Job,
    place: TrialPlace,
    machinery: Machinery,
    cancellation: Cancellation,
    note: Callable[[TargetAnswer], None],
    course: _Course,
) -> None:
    # What ran on the host was not isolated, whatever its workspace is.
    on_host = job.target.placement is Placement.HOST
    course.set(isolation="none" if on_host else place.workspace.info.isolation.value)
    answer = machinery.run_target(
        job.target, job.test, place, job.trial, timeout_s=job.timeout_s, cancellation=cancellation
    )
    course.set(answer=answer)
    note(answer)
    changes = place.capture()  # also of one that failed or ran out of time: somebody will want to see how far it came
    course.patch = changes.patch
    course.set(files_changed=len(changes.files))
    if answer.timed_out:
        course.set(outcome=Outcome.TIMEOUT, reason=answer.error or f"no answer within {job.timeout_s:g} s")
        return
    if answer.error:
        course.set(reason=answer.error)
        return
    cancellation.check()
    course.set(stage=Stage.GRADER)
    _graded(job, place, machinery, cancellation, answer, changes, course)


def _graded(
    job: Job,
    place: TrialPlace,
    machinery: Machinery,
    cancellation: Cancellation,
    answer: TargetAnswer,
    changes: Captured,
    course: _Course,
) -> None:
    verdicts = machinery.grade(job.test, answer, changes, place, cancellation)
    judged = machinery.score(verdicts, job.suite.execution.threshold)
    missed = "; ".join(f"{each.name}: {(each.misses or (each.reasoning,))[0]}" for each in verdicts if not each.passed)
    course.set(
        outcome=judged.outcome,
        score=judged.score,
        verdicts=verdicts,
        stage=Stage.GRADER if judged.outcome is Outcome.ERROR else None,
        reason="; ".join(filter(None, (judged.reason, missed if judged.outcome is Outcome.FAIL else ""))),
    )


def _broke(course: _Course, message: str) -> None:
    """An exception ended the trial. One after the verdict (after_each, teardown) takes nothing of it back."""
    if course.result.stage is Stage.TEARDOWN and course.result.outcome is not Outcome.ERROR:
        stage = Stage.TARGET if course.result.outcome is Outcome.TIMEOUT else None
        course.set(stage=stage, warnings=(*course.result.warnings, f"afterwards: {message}"))
        return
    reason = course.result.reason
    course.set(outcome=Outcome.ERROR, score=None, reason=f"{reason}; {message}" if reason else message)


def failed_before(job: Job, message: str, stage: Stage) -> Finished:
    """The error of a trial whose workspace could not be prepared."""
    return Finished(TrialResult(job.trial, Outcome.ERROR, None, stage=stage, reason=message, started_at=now()))
