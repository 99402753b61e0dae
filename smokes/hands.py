"""What a story can do to workspaces, whichever face it goes through; the answers are facts, not texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sandlot.model.isolation import IsolationLevel
from smokes.story import expect

__all__ = ["EvalsSeen", "Hands", "Ran", "Seen", "ServiceSeen", "isolated"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A workspace as an answer shows it."""

    id: str
    name: str
    labels: Mapping[str, str]
    state: str
    runtime: str
    """Empty where an answer does not say it, as lists do not; so is ``isolation``."""
    isolation: str


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    exit_code: int
    output: str
    """Standard output and standard error."""


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """A service as an answer shows it."""

    state: str
    text: str
    """Why it is in that state and what it printed last, as the answer says it."""


@dataclass(frozen=True, slots=True)
class EvalsSeen:
    """A run of evals that has ended."""

    run: str
    passed: int
    total: int


def isolated(made: Seen, runtime: str) -> Seen:
    """The same, once it is sure that it runs on the runtime that was asked for, and behind a kernel's walls at least.

    Nothing that a smoke shows may come from a weaker runtime, or from a fake.
    """
    expect(made.runtime == runtime, f"the workspace runs on {runtime}", made)
    expect(IsolationLevel(made.isolation).satisfies(IsolationLevel.KERNEL), "the workspace is isolated", made)
    return made


class Hands(Protocol):
    """One chat's, or one program's, hold on a user's workspaces. Everything raises SmokeFailed when it is refused."""

    via: str
    """``mcp`` or ``sdk``."""
    confined: bool
    """Whether host paths are confined to the project folder: a model's are, a program's are not."""

    def another(self) -> AbstractContextManager[Hands]:
        """The same user's hands in another chat, or program."""

    def refused(self, tool: str, /, **arguments: Any) -> str:
        """The text of the refusal. Raises SmokeFailed when the mode lets it through."""

    def create(
        self, name: str, *, labels: Mapping[str, str] | None = None, source: str | None = None, ref: str | None = None
    ) -> Seen:
        """``source`` is relative to the project; none: the project itself."""

    def list(self, **labels: str) -> Sequence[Seen]:
        """Latest activity first; with labels, those that have them."""

    def update(self, workspace: str, *, name: str | None = None, labels: Mapping[str, str] | None = None) -> None:
        """Rename, set labels."""

    def status(self, workspace: str) -> Seen: ...

    def delete(self, workspace: str) -> None: ...

    def exec(self, workspace: str, command: str) -> Ran:
        """``/bin/sh -c``, in /workspace."""

    def files(self, workspace: str, path: str = ".") -> Sequence[str]:
        """Paths of what is directly in a folder."""

    def read(self, workspace: str, path: str) -> str: ...

    def search(self, workspace: str, pattern: str) -> Sequence[str]:
        """Paths of the files that have a line which matches."""

    def patch(self, workspace: str, patch: str) -> None: ...

    def diff(self, workspace: str, *, to: str = "") -> str:
        """The patch against the baseline, or a snapshot."""

    def reset(self, workspace: str, to: str = "") -> None:
        """To the baseline, or a snapshot."""

    def summary(self, workspace: str) -> str: ...

    def export(self, workspace: str, path: str, destination: str) -> None:
        """``destination`` is a host path."""

    def history(self, workspace: str) -> str:
        """The commands that were run, as a text."""

    def snapshot(self, workspace: str, name: str) -> None: ...

    def service_start(self, workspace: str, name: str, command: str, *, ready_http: str) -> ServiceSeen: ...

    def service_status(self, workspace: str, name: str) -> ServiceSeen: ...

    def service_logs(self, workspace: str, name: str) -> str: ...

    def service_stop(self, workspace: str, name: str) -> ServiceSeen: ...

    def shell_open(self, workspace: str, name: str) -> None: ...

    def shell_run(self, workspace: str, name: str, line: str, until: str) -> str:
        """Type a line and read until the text is there (bounded); what was read."""

    def shell_close(self, workspace: str, name: str) -> None: ...

    def eval_run(self, path: str) -> EvalsSeen:
        """Run the suites of a folder of the project, to the end."""

    def eval_answer(self, run: str, test: str) -> str:
        """What the target answered in the one trial of a test."""

    def eval_regressed(self, before: str, after: str) -> Sequence[str]:
        """Tests, SUITE/ID, that passed in the first run and not in the second."""
