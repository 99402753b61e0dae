"""``command``: an exit code is the verdict. And what all graders that run commands have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from sandlot.errors import CommandInterrupted
from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.hidden import HiddenFiles, grading_place
from sandlot.evals.graders.subject import Finding, Grader, GraderFailed, Subject
from sandlot.evals.targets.commandline import Ran, run_inside

if TYPE_CHECKING:
    from sandlot.sdk import Workspace

__all__ = ["BROKEN", "Command", "How", "check_ran", "read_how", "read_timeout", "run_graded", "survived"]

T = TypeVar("T")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
SECRET_CHARACTERS = 8
"""Values of the host's variables as long as that are taken out of what is kept; shorter ones are words like ``1``."""
DEFAULT_S = 600.0
NOT_RUNNABLE = (125, 126, 127)
"""Exit codes of a shell that could not run the command at all: the suite's fault, not the target's."""
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
