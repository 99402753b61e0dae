"""``command``: an exit code is the verdict. ``tests``: a test run and its JUnit XML are."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from sandlot.errors import CommandInterrupted, FileRefused, PathNotFound
from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.hidden import STEERING, HiddenFiles, grading_place
from sandlot.evals.graders.junit import MAX_BYTES, JunitProblem, Report, read_junit
from sandlot.evals.graders.subject import Finding, Grader, GraderFailed, Subject
from sandlot.evals.targets.commandline import Ran, run_inside

if TYPE_CHECKING:
    from sandlot.sdk import Workspace

__all__ = ["Command", "How", "Tests", "read_how", "read_timeout", "run_graded"]

T = TypeVar("T")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
SECRET_CHARACTERS = 8
"""Values of the host's variables as long as that are taken out of what is kept; shorter ones are words like ``1``."""
DEFAULT_S = 600.0
ANYWHERE = "{REPORT}"
SHOWN = 20
NOT_RUNNABLE = (125, 126, 127)
"""Exit codes of a shell that could not run the command at all: the suite's fault, not the target's."""
KILLED = 128
"""Exit codes above it are those of a shell whose command was ended by a signal."""
QUIET = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "PIP_NO_INPUT": "1"}
"""Nothing of the target's can come by a home or a cache: the home in a grading workspace is a new one."""


@dataclass(frozen=True, slots=True)
class How:
    """What is run, and where."""

    command: tuple[str, ...]
    hidden: HiddenFiles
    cwd: str
    env: Mapping[str, str]
    timeout_s: float
    of_host: Mapping[str, str] = field(default_factory=dict)
    """Variables whose ``${NAME}`` and ``${NAME:-default}`` are the host's, looked up when the grader runs and not
    before: nobody needs the keys of graders that never run. Only task formats that have such variables make them."""

    def environment(self) -> dict[str, str]:
        """Raises GraderFailed for a variable that is not set."""

        def value(match: re.Match[str]) -> str:
            found = os.environ.get(match[1], match[2])
            if found is None:
                raise GraderFailed(f"the variable {match[1]} is not set")
            return found

        return {**QUIET, **self.env, **{name: _VARIABLE.sub(value, text) for name, text in self.of_host.items()}}


def read_how(spec: GraderSpec, fields: Fields, protect: tuple[str, ...]) -> How:
    """``command``, ``files``, ``protect``, ``cwd``, ``env``, ``timeout_s``. Raises UsageError."""
    cwd = fields.text("cwd", "")
    if cwd.startswith("/") or ".." in cwd.split("/"):
        raise fields.wrong("'cwd' must be a folder below the workspace")
    return How(
        fields.command(),
        HiddenFiles.read(spec, fields, protect),
        f"/workspace/{cwd}".rstrip("/"),
        fields.words("env"),
        read_timeout(fields),
        fields.words("env_of_host"),
    )


def read_timeout(fields: Fields) -> float:
    """Seconds of ``timeout_s``, ``timeout_seconds`` or ``timeout_ms``."""
    for name, factor in (("timeout_s", 1.0), ("timeout_seconds", 1.0), ("timeout_ms", 0.001)):
        found = fields.number(name, least=0.001)
        if found is not None:
            return found * factor
    return DEFAULT_S


def run_graded(how: How, subject: Subject, workspace: Workspace, command: tuple[str, ...]) -> Ran:
    """In the grading workspace, with nothing on standard input. Raises GraderFailed for a variable that is not set."""
    env = how.environment()
    ran = run_inside(
        workspace, command, env=env, cwd=how.cwd, timeout_s=how.timeout_s, cancellation=subject.cancellation,
    )  # fmt: skip
    for name in how.of_host:  # what is graded runs with it, and what it prints is kept
        if len(env[name]) >= SECRET_CHARACTERS:
            ran = replace(ran, log=ran.log.replace(env[name], f"[{name}]"))
    return ran


def check_ran(how: How, subject: Subject, command: tuple[str, ...], ran: Ran) -> None:
    """Raises GraderFailed for a command that could not run at all.

    Code of the target's that it runs can end it with the same exit code. So it is run once more without anything that
    the target did: only what cannot run there, either, is the suite's fault, and nobody's failure.
    """
    if ran.exit_status not in NOT_RUNNABLE or ran.timed_out:
        return
    with grading_place(subject, how.hidden, untouched=True) as workspace:
        again = run_graded(how, subject, workspace, command)
    if again.exit_status in NOT_RUNNABLE:
        raise GraderFailed(f"the command could not run: exit status {ran.exit_status}: {ran.log.strip()[-500:]}")


BROKEN = Finding(
    0.0, misses=("code that leaves its workspace alive",), reasoning="what was graded ended its workspace, twice"
)


def survived(run: Callable[[], T]) -> T | None:
    """What ``run`` found, or None when its workspace ended under it both times.

    Once may be the machine's fault. Code that kills everything around it must not turn its failures into errors, which
    nobody counts against it.
    """
    for _ in range(2):
        try:
            return run()
        except CommandInterrupted:
            continue
    return None


@dataclass(frozen=True, slots=True)
class Command(Grader):
    """Passes when the command exits with 0, or ``exit_code``. Running out of time is a failure: code may hang."""

    how: How
    exit_code: int

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> Command:
        return cls(read_how(spec, fields, ()), fields.count("exit_code", most=255) or 0)

    def hidden_from_targets(self, *, static: bool) -> tuple[str, ...]:  # noqa: ARG002  of code-graders
        return self.how.hidden.sources

    def find(self, subject: Subject) -> Finding:
        ran = survived(lambda: self._run(subject))
        if ran is None:
            return BROKEN
        check_ran(self.how, subject, self.how.command, ran)
        shown = " ".join(self.how.command[2:] if self.how.command[:2] == ("/bin/sh", "-c") else self.how.command)[:200]
        passed = ran.exit_status == self.exit_code and not ran.timed_out and not ran.limit
        found = Finding.of(passed, shown, exit_code=ran.exit_status, output=ran.log[-4000:])
        return Finding(found.score, found.hits, found.misses, "" if passed else ran.failure, found.details)

    def _run(self, subject: Subject) -> Ran:
        with grading_place(subject, self.how.hidden) as workspace:
            return run_graded(self.how, subject, workspace, self.how.command)


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
        passed = [name for name in self.must_pass if _times(report.passed, name) and not _times(report.failed, name)]
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


def _times(names: tuple[str, ...], wanted: str) -> int:
    """How often a test is among the reported: ``pkg.mod::name``, ``path/to/mod.py::name`` or the name alone."""
    dotted = wanted.replace(".py::", "::").replace("/", ".")
    keys = {wanted, dotted, dotted.replace("::", ".", max(0, dotted.count("::") - 1))}
    return sum(name in keys or ("::" not in wanted and name.rpartition("::")[2] == wanted) for name in names)


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
