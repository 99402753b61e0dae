"""``tests``: a test run that the target never saw, and its JUnit XML or its reward, are the verdict."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandlot.errors import FileRefused, PathNotFound
from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.command import BROKEN, How, check_ran, read_how, run_graded, survived
from sandlot.evals.graders.hidden import STEERING, grading_place
from sandlot.evals.graders.junit import MAX_BYTES, JunitProblem, Report, read_junit
from sandlot.evals.graders.subject import Finding, Grader, Subject
from sandlot.evals.targets.commandline import Ran

if TYPE_CHECKING:
    from sandlot.sdk import Workspace

__all__ = ["Tests"]

ANYWHERE = "{REPORT}"
SHOWN = 20
KILLED = 128
"""Exit codes above it are those of a shell whose command was ended by a signal."""


@dataclass(frozen=True, slots=True)
class Tests(Grader):
    """Runs tests that the target never saw. All must pass; with ``partial`` the share of them is the score.

    A success needs exit code 0 *and* a complete report without failures that agrees with it: a process that ends the
    runner early, or a report that was replaced behind the runner's back, is none. ``fail_to_pass`` and
    ``pass_to_pass`` name tests instead: then each of them must be reported, as passed, and never as failed.
    """

    __test__ = False

    how: How
    report: str | None
    """None: only the exit code counts."""
    reward: tuple[str, ...]
    """The first of these files that is there holds a number from 0 to 1, which is the score; in a file of JSON it is
    the value of ``reward``."""
    must_pass: tuple[str, ...]
    min_tests: int
    partial: bool

    pass_score = 1.0

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> Tests:
        how = read_how(spec, fields, STEERING)
        report = fields.optional_text("junit")
        if report is None and any("{REPORT}" in word for word in how.command):
            report = ANYWHERE
        reward = fields.texts("reward")
        must_pass = (*fields.texts("fail_to_pass"), *fields.texts("pass_to_pass"))
        least = fields.count("min_tests", least=0)
        partial = fields.flag("partial")
        if report is None and (must_pass or partial or least):
            hint = "put {REPORT} into the command: pytest --junitxml={REPORT}"
            raise fields.wrong("there is no report to read", hint)
        if reward and report is not None:
            raise fields.wrong("'junit' and 'reward' exclude each other")
        return cls(how, report, reward, must_pass, 1 if least is None else least, partial)

    def hidden_from_targets(self, *, static: bool) -> tuple[str, ...]:  # noqa: ARG002  of code-graders
        return self.how.hidden.sources

    def find(self, subject: Subject) -> Finding:
        # A name that nothing can have been prepared for.
        place = f"/tmp/sandlot-{secrets.token_hex(8)}.xml"  # noqa: S108  inside the workspace
        report = place if self.report == ANYWHERE else self.report
        command = tuple(word.replace("{REPORT}", report or place) for word in self.how.command)
        says = self.reward or ((report,) if report else ())

        def run() -> tuple[Ran, tuple[str, str] | None]:
            with grading_place(subject, self.how.hidden) as workspace:
                for path in says:
                    _no_report_yet(workspace, path)
                ran = run_graded(self.how, subject, workspace, command)
                found = ((path, _read_report(workspace, path)) for path in says)
                return ran, next(((path, text) for path, text in found if text is not None), None)

        found = survived(run)
        if found is None:
            return BROKEN
        check_ran(self.how, subject, command, found[0])
        return self._judge(*found, self.how.hidden.left_out(subject))

    def _judge(self, ran: Ran, written: tuple[str, str] | None, left_out: tuple[str, ...]) -> Finding:
        details = {"exit_code": ran.exit_status, "output": ran.log[-4000:], "not_brought_along": list(left_out[:SHOWN])}
        if self.report is None and not self.reward:
            return Finding.of(not ran.failure, "the tests' exit code is 0", **details)
        if written is None or ran.timed_out:
            why = ran.failure or "the runner ended without a report"
            return Finding(0.0, misses=("a complete test run",), reasoning=why, details=details)
        path, text = written
        if self.reward:
            if ran.exit_status > KILLED:  # whoever ended the tests may have written the reward, too
                why = f"the tests were killed: {ran.failure}"
                return Finding(0.0, misses=("a complete test run",), reasoning=why, details=details)
            return _rewarded(_reward_of(text) if path.endswith(".json") else text, details)
        try:
            report = read_junit(text)
        except JunitProblem as problem:
            return Finding(0.0, misses=("a complete test run",), reasoning=f"the report: {problem}", details=details)
        details["tests"] = {"passed": len(report.passed), "failed": len(report.failed), "skipped": len(report.skipped)}
        if self.must_pass:
            return self._named(report, details)
        return self._all(report, ran, details)

    def _named(self, report: Report, details: Mapping[str, object]) -> Finding:
        good, bad = _Names.of(report.passed), _Names.of(report.failed)
        passed = [name for name in self.must_pass if good.hold(name) and not bad.hold(name)]
        missing = tuple(name for name in self.must_pass if name not in passed)
        score = len(passed) / len(self.must_pass)
        return Finding(
            score if self.partial else float(not missing), tuple(passed[:SHOWN]), missing[:SHOWN], details=details
        )

    def _all(self, report: Report, ran: Ran, details: Mapping[str, object]) -> Finding:
        ended_well = ran.exit_status == 0
        counted = len(report.passed) + len(report.failed)
        hits, misses = report.passed[:SHOWN], report.failed[:SHOWN]
        if counted < max(1, self.min_tests):
            why = f"{counted} tests ran, at least {max(1, self.min_tests)} must"
            return Finding(0.0, hits, (*misses, "enough tests"), why, details)
        if ended_well == bool(report.failed):
            why = f"the exit code is {ran.exit_status}, but the report has {len(report.failed)} failures"
            return Finding(0.0, misses=("a report that agrees with the exit code",), reasoning=why, details=details)
        share = len(report.passed) / counted
        return Finding(share if self.partial else float(not report.failed), hits, misses, ran.failure, details)


def _reward_of(text: str) -> str:
    """The value of ``reward`` as text; empty when there is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    value = found.get("reward") if isinstance(found, dict) else None
    # Beyond a float's range is no number from 0 to 1 either.
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _rewarded(text: str, details: Mapping[str, object]) -> Finding:
    try:
        score = float(text.strip()[:40])
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        return Finding(0.0, misses=("a reward",), reasoning=f"no number from 0 to 1: {text[:40]!r}", details=details)
    said = f"reward {score:g}"
    return Finding(score, (said,) if score == 1 else (), () if score == 1 else (said,), details=details)


@dataclass(frozen=True, slots=True)
class _Names:
    """Reported tests: a report may have many, and so may the suite."""

    whole: Set[str]
    last: Set[str]

    @classmethod
    def of(cls, names: Iterable[str]) -> _Names:
        whole = frozenset(names)
        return cls(whole, frozenset(name.rpartition("::")[2] for name in whole))

    def hold(self, wanted: str) -> bool:
        """``pkg.mod::name``, ``path/to/mod.py::name`` or the name alone."""
        dotted = wanted.replace(".py::", "::").replace("/", ".")
        keys = (wanted, dotted, dotted.replace("::", ".", max(0, dotted.count("::") - 1)))
        return any(key in self.whole for key in keys) or ("::" not in wanted and wanted in self.last)


def _no_report_yet(workspace: Workspace, path: str) -> None:
    """What lies where the report goes came with the target's changes."""
    try:
        workspace.files.delete(path, recursive=True)
    except PathNotFound:
        pass


def _read_report(workspace: Workspace, path: str) -> str | None:
    """Through the agent inside, as bytes of a regular file, bounded; None when there is none that can be read."""
    try:
        read = workspace.files.read(path, offset=0, max_bytes=MAX_BYTES)
    except (PathNotFound, FileRefused):
        return None
    return read.content if read.complete else None
