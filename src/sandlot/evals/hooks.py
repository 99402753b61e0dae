"""Running a hook: where it is told to, with its context by three ways, never longer than it may."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from sandlot import process
from sandlot.errors import HookFailed, UsageError
from sandlot.evals.cases import Hook, HookName, Placement, TestCase
from sandlot.evals.gitclient import drain
from sandlot.evals.hook_files import unpacked
from sandlot.sdk import Workspace

if TYPE_CHECKING:
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["HookContext", "HookReport", "run_hook"]

WORKSPACE = "/workspace"
KEPT_BYTES = 16 * 1024
"""Of a hook's output, for the run's records."""
LOOK_S = 0.1
"""How often to look whether a hook on the host is to be ended before its time."""
LONGEST_VARIABLE = 100_000
"""Bytes; the kernel takes no environment variable or argument above 128 KiB. Standard input has it whole."""

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class HookContext:
    """What a hook is told."""

    run_id: str
    test_id: str
    workspace_path: str = WORKSPACE
    case_input: str | None = None
    case_metadata: Mapping[str, Any] | None = None

    @classmethod
    def of_test(cls, run_id: str, test: TestCase) -> HookContext:
        """For the hooks around a test."""
        return cls(run_id, test.id, case_input=test.prompt, case_metadata=dict(test.metadata))

    @classmethod
    def of_suite(cls, run_id: str, name: HookName) -> HookContext:
        """For ``before_all`` and ``after_all``: there is no test, and the id says so."""
        return cls(run_id, f"__{name.value}__")

    def fields(self) -> dict[str, Any]:
        """As JSON on standard input has them."""
        return {
            "workspace_path": self.workspace_path, "test_id": self.test_id, "eval_run_id": self.run_id,
            "case_input": self.case_input, "case_metadata": self.case_metadata,
        }  # fmt: skip

    def texts(self) -> dict[str, str]:
        """As placeholders and variables have them: metadata is JSON, what is absent is empty."""
        metadata = "" if self.case_metadata is None else json.dumps(self.case_metadata, ensure_ascii=False, default=str)
        return {name: str(value or "") for name, value in self.fields().items()} | {"case_metadata": metadata}


@dataclass(frozen=True, slots=True)
class HookReport:
    """How a hook went."""

    name: HookName
    output: str
    """What it printed, its end if that is long."""
    problem: str = ""
    """Not empty: why it counts as failed."""

    def check(self, hook: Hook) -> None:
        """Raise HookFailed if it failed."""
        if self.problem:
            tail = tuple(line[:300] for line in self.output.strip().splitlines()[-10:])
            raise HookFailed(f"{hook.place}: {self.name.value} {self.problem}", details=tail)


def run_hook(
    hook: Hook,
    context: HookContext,
    workspace: Workspace,
    *,
    without: Collection[str] = (),
    cancellation: Cancellation | None = None,
) -> HookReport:
    """Run it to its end, or until its time is up; then its whole process tree is ended. A failure is in the report.

    ``without``: folders of the host that are not shown to it. Raises UsageError for what cannot be run at all.
    """
    texts = context.texts()
    argv = [_PLACEHOLDER.sub(lambda found: texts.get(found[1], found[0]), part) for part in hook.command]
    if any(len(os.fsencode(part)) > LONGEST_VARIABLE for part in argv):
        raise UsageError(
            f"{hook.place}: an argument of {hook.name.value} is too long with its placeholders replaced",
            hint="read the context from standard input, where it is whole",
        )
    stdin = json.dumps(context.fields(), ensure_ascii=False, default=str).encode() + b"\n"
    env = {
        f"SANDLOT_{name.upper()}": text
        for name, text in texts.items()
        if len(text.encode("utf-8", "surrogateescape")) < LONGEST_VARIABLE and "\0" not in text
    }
    if hook.placement is Placement.HOST:
        return _on_host(hook, argv, env | {"SANDLOT_WORKSPACE": workspace.id}, stdin, cancellation)
    return _inside(hook, argv, env, stdin, workspace, without, cancellation)


def _inside(
    hook: Hook, argv: list[str], env: dict[str, str], stdin: bytes, workspace: Workspace, without: Collection[str],
    cancellation: Cancellation | None,
) -> HookReport:  # fmt: skip
    with unpacked(workspace, hook, without) as folder:
        done = workspace.exec(
            argv, cwd=_cwd(hook, folder), env=env | {"SANDLOT_HOOK_FOLDER": folder}, stdin=stdin,
            timeout=hook.timeout_s, max_output=KEPT_BYTES, cancellation=cancellation,
        )  # fmt: skip
    outcome = done.command.outcome
    output = done.stdout.text + done.stderr.text
    if outcome is None or outcome.state != "exited":
        ended = "was interrupted" if outcome is None else f"was ended by {outcome.signal or outcome.state.value}"
        timed_out = outcome is not None and outcome.state == "timed_out"
        return HookReport(hook.name, output, f"took longer than {hook.timeout_s:g} s" if timed_out else ended)
    return HookReport(hook.name, output, f"exited with {outcome.exit_code}" if outcome.exit_code else "")


def _cwd(hook: Hook, folder: str) -> str:
    """The folder inside that ``cwd`` means. Raises UsageError when only the host has it."""
    if hook.cwd == WORKSPACE or hook.cwd.startswith(WORKSPACE + "/"):
        return hook.cwd
    relative = os.path.relpath(hook.cwd, hook.folder)
    if relative == os.pardir or relative.startswith(os.pardir + os.sep):
        raise UsageError(
            f"{hook.place}: cwd {hook.cwd} is not below {hook.folder}, and hooks see no other folder of the host",
            hint="move the hook's files beside the suite, or write placement: host",
        )
    return os.path.normpath(os.path.join(folder, relative))


def _on_host(
    hook: Hook, argv: list[str], env: dict[str, str], stdin: bytes, cancellation: Cancellation | None
) -> HookReport:
    """As the user who runs the eval, with their environment: the suite says so in words."""
    try:
        with process.piped(argv, env={**os.environ, **env}, cwd=hook.cwd) as running:
            kept: list[bytes] = []
            threads = [threading.Thread(target=_feed, args=(running.stdin, stdin), daemon=True)]
            threads += [
                threading.Thread(target=drain, args=(pipe, kept, KEPT_BYTES), daemon=True)
                for pipe in (running.stdout, running.stderr)
            ]
            for thread in threads:
                thread.start()
            try:
                code = _wait(running, hook.timeout_s, cancellation)
                problem = f"exited with {code}" if code else ""
            except subprocess.TimeoutExpired:
                problem = f"took longer than {hook.timeout_s:g} s"
            finally:
                with contextlib.suppress(ProcessLookupError):  # children that it left hold the pipes open
                    os.killpg(running.pid, signal.SIGKILL)
                for thread in threads:
                    thread.join(process.KILL_WAIT_S)
    except OSError as error:
        return HookReport(hook.name, "", f"could not be started: {error.strerror}")
    return HookReport(hook.name, b"".join(kept)[-KEPT_BYTES:].decode("utf-8", "replace"), problem)


def _wait(running: subprocess.Popen[bytes], timeout_s: float, cancellation: Cancellation | None) -> int:
    """Its exit status. Raises subprocess.TimeoutExpired, Cancelled."""
    if cancellation is None:
        return running.wait(timeout_s)
    end = time.monotonic() + timeout_s
    while True:
        cancellation.check()
        left = end - time.monotonic()
        try:
            return running.wait(max(0.0, min(left, LOOK_S)))
        except subprocess.TimeoutExpired:
            if left <= LOOK_S:
                raise


def _feed(pipe: IO[bytes] | None, data: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):  # a hook need not read what it is told
        if pipe is not None:
            pipe.write(data)
            pipe.close()
