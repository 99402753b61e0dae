"""Calls of tools: arguments checked, paths confined, the operation run, the answer made to fit.

All of this is synchronous and runs in a thread for each call; ``server`` is the asynchronous side.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from sandlot.errors import SandlotError
from sandlot.evals.requests import EVALS
from sandlot.mcpserver.answering import CAP, Answer, Asked
from sandlot.mcpserver.cleaning import cut, size_of
from sandlot.mcpserver.creating import Creating
from sandlot.mcpserver.exports import exported_safely
from sandlot.mcpserver.host_paths import host_fields
from sandlot.mcpserver.project import Project
from sandlot.mcpserver.results import FIRST_LIMITS, answer_of
from sandlot.mcpserver.tools import Tool
from sandlot.model.service import ServiceState
from sandlot.operations.operation import Caller
from sandlot.sdk import Sandlot
from sandlot.settings import seconds
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from sandlot.workspaces.commands import DEFAULT_TIMEOUT_S

__all__ = ["PATIENCE_S", "Progress", "Work"]

PATIENCE_S = 45.0
"""How long a command is waited for; hosts give up on a call after 60 s."""
LONGEST_WAIT_S = 50.0
"""How long a call waits when it is told to."""
PAGE = 1000
"""Commands of a history that are looked through at a time."""
LEAST = 64
"""Bytes, or rows, below which an answer is not made smaller by asking again."""
_LOOK_S = 0.25
_WAITS = {
    "eval_results": ("wait",),
    "shell_read": ("wait", "idle"),
    "service_stop": ("grace",),
    "workspace_logs": ("wait",),
    "workspace_run": ("timeout",),
    "workspace_wait": ("timeout",),
}
_UNLIMITED = frozenset({"workspace_run", "workspace_wait"})
"""What waits for longer than a host does when it is not told how long."""
_ONCE = frozenset({"workspace_run"})
"""What cannot be asked again for less: it has done its work."""


class Progress:
    """How far a call has come, in words; written by its thread, read by the loop."""

    def __init__(self) -> None:
        self.words = ""

    def __call__(self, phase: str, done: int, total: int) -> None:
        self.words = f"{phase}: {done} of {total}" if total else f"{phase}: {done}" if done else phase


@dataclasses.dataclass
class Work:
    """One call on its way."""

    sandlot: Sandlot
    state_folder: str
    tool: Tool
    shown: frozenset[str]
    patience_s: float
    """How long a command, or a service that gets ready, is waited for."""
    creating: Creating = Creating()
    """What the user has decided about new workspaces."""
    progress: Progress = dataclasses.field(default_factory=Progress)
    cancellation: Cancellation = dataclasses.field(default_factory=Cancellation)

    def run(self, arguments: Mapping[str, Any], project: Project) -> Answer:
        """Do it and answer. Raises SandlotError; Cancelled when it was cancelled, and undone or ended then."""
        fields = _patient(self.tool.operation, self.tool.fields(arguments))
        self.creating.decide(self.tool.operation, fields)
        if self.tool.operation in EVALS:
            from sandlot.mcpserver import evals

            return evals.answer(self, EVALS[self.tool.operation].request(**fields), project)
        with contextlib.ExitStack() as stack:
            fields, why = host_fields(self.tool.operation, fields, project, self.sandlot, self.state_folder, stack)
            self.cancellation.check()
            if self.tool.operation == "workspace_export":
                with exported_safely(fields, self.sandlot, self.state_folder):
                    answer = self._fitting(fields)
            else:
                answer = self._fitting(fields)
        chosen = f"source chosen by: {why}"
        if why and self.tool.operation == "workspace_create":
            answer = dataclasses.replace(answer, text=f"{answer.text}\n{chosen}")
        elif why and self.tool.operation == "workspace_run":  # what it printed stands last, behind its mark
            answer = dataclasses.replace(answer, text=cut(f"{chosen}\n{answer.text}", CAP))
        return answer

    def _fitting(self, fields: dict[str, Any]) -> Answer:
        """The answer, asked for in smaller parts until it fits."""
        operation = self.tool.operation
        name, limit = FIRST_LIMITS.get(operation, ("", 0))
        if name:
            limit = min(limit, fields.get(name) or limit)
            fields[name] = limit
        result = self._carry_out(fields)
        answer = answer_of(Asked(self.tool, fields, self.shown), result)
        again = self._again(fields, result)
        while size_of(answer.text) > CAP and again is not None and limit > LEAST:
            limit = max(LEAST, int(limit * CAP / size_of(answer.text) * 0.9))
            fields = {**fields, name: limit}
            answer = answer_of(Asked(self.tool, fields, self.shown), again(limit))
        return dataclasses.replace(answer, text=cut(answer.text, CAP))

    def _again(self, fields: dict[str, Any], result: Any) -> Callable[[int], Any] | None:
        """How to ask the same for less; None: not possible, or not needed."""
        operation = self.tool.operation
        if operation not in FIRST_LIMITS or operation in _ONCE:
            return None
        if operation == "workspace_exec":
            number, workspace = result.command.number, fields["workspace"]
            return lambda limit: self._call(
                "workspace_wait", workspace=workspace, number=number, timeout="0s", max_output=limit
            )
        name = FIRST_LIMITS[operation][0]
        plain = {key: value for key, value in fields.items() if key not in ("wait", "idle")}
        return lambda limit: self._call(operation, **{**plain, name: limit})

    def _call(self, operation: str, **fields: Any) -> Any:
        caller = Caller(progress=self.progress, cancellation=self.cancellation)
        return self.sandlot.call(operation, caller=caller, **fields)

    def _carry_out(self, fields: dict[str, Any]) -> Any:
        special = {
            "workspace_exec": self._exec,
            "workspace_logs": self._logs,
            "service_start": self._start_service,
        }.get(self.tool.operation)
        if special is not None:
            return special(fields)
        result = self._call(self.tool.operation, **fields)
        if self.cancellation.cancelled and self.tool.operation in ("workspace_create", "workspace_fork"):
            # Nobody will ever hear of what was made.
            made = getattr(result, "workspaces", None) or (result.workspace,)
            self.sandlot.call("workspace_delete", workspaces=tuple(each.id for each in made))
        self.cancellation.check()
        return result

    def _exec(self, fields: dict[str, Any]) -> Any:
        """Run a command; one that takes longer than we may wait goes on without us.

        It is started in the background from the beginning: only such a command survives the end of this server, as a
        handle that was given out must. Until then it is the caller's: a cancelled call ends it.
        """
        background = fields.get("background", False)
        timeout = fields.get("timeout") or (None if background else f"{DEFAULT_TIMEOUT_S:g}s")
        workspace = self.sandlot.get(fields["workspace"]).id  # a name may be changed meanwhile
        self.cancellation.check()
        # It takes milliseconds, and is not cancelled half-way: the number would be lost with which it can be ended.
        started = self.sandlot.call(
            "workspace_exec", **{**fields, "workspace": workspace, "background": True, "timeout": timeout}
        )
        number = started.command.number
        self.progress(f"command {number} runs", 0, 0)
        try:
            self.cancellation.check()
            if background:
                return started
            return self._call(
                "workspace_wait",
                workspace=workspace,
                number=number,
                timeout=f"{self.patience_s * 1000:.0f}ms",
                max_output=fields["max_output"],
            )
        except BaseException:
            with contextlib.suppress(SandlotError):
                self.sandlot.call("workspace_kill", workspace=workspace, number=number)
            raise

    def _logs(self, fields: dict[str, Any]) -> Any:
        """The output of one command; or the latest of the history, for that is what somebody wants to see of it."""
        if fields.get("number") is not None or "after" in fields or "count" in fields:
            return self._call("workspace_logs", **fields)
        result = self._call("workspace_logs", **fields, count=PAGE)
        while result.next_after is not None:
            self.cancellation.check()
            later = self._call("workspace_logs", **fields, count=PAGE, after=result.next_after)
            result = dataclasses.replace(later, commands=(*result.commands, *later.commands)[-PAGE:])
        return result

    def _start_service(self, fields: dict[str, Any]) -> Any:
        """Start a service; one that may take longer to get ready than we may wait is left to get ready."""
        limit = seconds(fields.get("ready_timeout") or "30s")
        if fields.get("no_wait") or (limit is not None and limit <= self.patience_s):
            return self._call("service_start", **fields)
        end = time.monotonic() + self.patience_s
        result = self._call("service_start", **{**fields, "no_wait": True})
        which = {"workspace": fields["workspace"], "name": fields["name"]}
        try:
            while result.service.state is ServiceState.STARTING and time.monotonic() < end:
                self.cancellation.check()
                time.sleep(_LOOK_S)
                result = self._call("service_status", **which)
        except Cancelled:
            with contextlib.suppress(SandlotError):
                self.sandlot.call("service_stop", **which)
            raise
        return result


def _patient(operation: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, with waits no longer than a host waits for us; whole lines of a file unless bytes were asked for."""
    for name in _WAITS.get(operation, ()):
        value = fields.get(name)
        if operation in _UNLIMITED and value is None:
            value = "never"
        if value is not None:
            wanted = seconds(value)
            if wanted is None or wanted > LONGEST_WAIT_S:
                fields[name] = f"{LONGEST_WAIT_S:g}s"
    if operation == "file_read" and fields.get("offset") is None and fields.get("first_line") is None:
        fields["first_line"] = 1
    return fields
