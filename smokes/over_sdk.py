"""A story's hands through the Python SDK.

The SDK has no modes: what a mode pins (committed files only, network off, a least isolation) is given as arguments
here, and what it refuses is asked of the same tools that the server shows.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sandlot import Sandlot, SandlotError, Workspace
from sandlot.evals import real
from sandlot.evals.compare import compare
from sandlot.evals.manifest import new_id
from sandlot.evals.options import RunOptions
from sandlot.evals.report import Run
from sandlot.evals.runs import find_run, runs_folder
from sandlot.evals.session import Session, begin, plan_run
from sandlot.mcpserver.tools import find_tool, tools_of
from sandlot.modes import StartupMode, surface
from sandlot.operations.described import WorkspaceInfo
from sandlot.operations.serviced import ServiceResult
from smokes.hands import EvalsSeen, Hands, Ran, Seen, ServiceSeen, isolated
from smokes.scene import CANARY, Scene
from smokes.story import fail

__all__ = ["SdkHands"]

_SHELL_PATIENCE_S = 30.0


class SdkHands:
    """Hands on a ``Sandlot``."""

    via = "sdk"
    confined = False

    def __init__(self, scene: Scene, mode: StartupMode, runtime: str, sandlot: Sandlot) -> None:
        self._scene, self._mode, self._runtime, self._sandlot = scene, mode, runtime, sandlot
        self._tools = tools_of(surface(mode))

    @classmethod
    @contextmanager
    def open(cls, scene: Scene, mode: StartupMode, runtime: str) -> Iterator[Hands]:
        """Hands until the end of the block; workspaces go on."""
        before = os.environ.get("SMOKE_CANARY")
        os.environ["SMOKE_CANARY"] = CANARY  # this process is the host's side here
        try:
            with Sandlot(scene.state) as sandlot:
                yield cls(scene, mode, runtime, sandlot)
        finally:
            if before is None:
                del os.environ["SMOKE_CANARY"]

    @contextmanager
    def another(self) -> Iterator[Hands]:
        with SdkHands.open(self._scene, self._mode, self._runtime) as hands:
            yield hands

    def refused(self, tool: str, /, **arguments: Any) -> str:
        try:
            find_tool(self._tools, surface(self._mode), tool).request(arguments)
        except SandlotError as error:
            return str(error)
        return fail(f"expected: {self._mode} refuses {tool}", arguments)

    def create(
        self, name: str, *, labels: Mapping[str, str] | None = None, source: str | None = None, ref: str | None = None
    ) -> Seen:
        pinned = find_tool(self._tools, surface(self._mode), "workspace_create").pinned
        place = self._scene.project / (source or "")
        made = self._sandlot.create(place, name=name, labels=labels, ref=ref, runtime=self._runtime, **pinned)
        return isolated(_seen(made.info), self._runtime)

    def list(self, **labels: str) -> Sequence[Seen]:
        return [_seen(info) for info in self._sandlot.list(labels=labels)]

    def update(self, workspace: str, *, name: str | None = None, labels: Mapping[str, str] | None = None) -> None:
        self._find(workspace).update(name=name, labels=labels)

    def status(self, workspace: str) -> Seen:
        return _seen(self._find(workspace).info)

    def delete(self, workspace: str) -> None:
        self._find(workspace).delete()

    def exec(self, workspace: str, command: str) -> Ran:
        done = self._find(workspace).exec(command)
        return Ran(done.exit_status, done.stdout.text + done.stderr.text)

    def files(self, workspace: str, path: str = ".") -> Sequence[str]:
        return [entry.path for entry in self._find(workspace).files.list(path).entries]

    def read(self, workspace: str, path: str) -> str:
        return self._find(workspace).files.read(path).content

    def search(self, workspace: str, pattern: str) -> Sequence[str]:
        return sorted({match.path for match in self._find(workspace).files.search(pattern).matches})

    def patch(self, workspace: str, patch: str) -> None:
        self._find(workspace).patch(patch)

    def diff(self, workspace: str, *, to: str = "") -> str:
        return self._find(workspace).diff(to=to or "baseline").patch

    def reset(self, workspace: str, to: str = "") -> None:
        self._find(workspace).reset(to or "baseline")

    def summary(self, workspace: str) -> str:
        return self._find(workspace).summary().text

    def export(self, workspace: str, path: str, destination: str) -> None:
        self._find(workspace).export(path, destination)

    def history(self, workspace: str) -> str:
        return "\n".join(shlex.join(each.argv) for each in self._find(workspace).logs().commands)

    def snapshot(self, workspace: str, name: str) -> None:
        self._find(workspace).snapshots.create(name)

    def service_start(self, workspace: str, name: str, command: str, *, ready_http: str) -> ServiceSeen:
        return _service(self._find(workspace).services.start(name, command, ready_http=ready_http))

    def service_status(self, workspace: str, name: str) -> ServiceSeen:
        return _service(self._find(workspace).services.status(name))

    def service_logs(self, workspace: str, name: str) -> str:
        found = self._find(workspace).services.logs(name)
        return found.stdout + found.stderr

    def service_stop(self, workspace: str, name: str) -> ServiceSeen:
        return _service(self._find(workspace).services.stop(name))

    def shell_open(self, workspace: str, name: str) -> None:
        self._find(workspace).shells.open(name=name)

    def shell_run(self, workspace: str, name: str, line: str, until: str) -> str:
        shell = self._find(workspace).shells.get(name)
        cursor = shell.write(line, enter=True).cursor
        text, deadline = "", time.monotonic() + _SHELL_PATIENCE_S
        while until not in text:
            if time.monotonic() > deadline:
                fail(f"expected: the shell prints {until!r}", text)
            part = shell.read(cursor, plain=True, wait=5)
            text, cursor = text + part.text, part.next_cursor
        return text

    def shell_close(self, workspace: str, name: str) -> None:
        self._find(workspace).shells.get(name).close()

    def eval_run(self, path: str) -> EvalsSeen:
        plan = plan_run(RunOptions(paths=(str(self._scene.project / path),)), real.load, real.targets_near)
        run_id = new_id()
        folder = begin(plan, runs_folder(self._scene.project, make=True) / run_id, run_id)
        with folder.lock():
            Session(folder, plan, real.RealMachinery(self._sandlot, run_id)).run()
        counts = Run.read(folder).numbers
        return EvalsSeen(run_id, counts.passed, counts.total)

    def eval_answer(self, run: str, test: str) -> str:
        (result,) = (each for each in self._run(run).results.values() if each.trial.test == test)
        return result.answer.text if result.answer else ""

    def eval_regressed(self, before: str, after: str) -> Sequence[str]:
        found = compare(self._run(before).tests, self._run(after).tests)
        return [f"{each.suite}/{each.test}" for each in found.regressed]

    def _run(self, run: str) -> Run:
        return Run.read(find_run(run, self._scene.project))

    def _find(self, workspace: str) -> Workspace:
        return self._sandlot.get(workspace)


def _seen(info: WorkspaceInfo) -> Seen:
    return Seen(info.id, info.name or "", info.labels, info.state, info.runtime, info.isolation.value)


def _service(found: ServiceResult) -> ServiceSeen:
    return ServiceSeen(found.service.state, f"{found.service.reason}\n{found.stdout.text}{found.stderr.text}")
