"""From a plan to the places that trials run in, by whatever mode: the one way every run goes.

::

    with Preparation(sandlot, plan, run_id) as preparation:      # template, repos, before_all; or the base of before
        with preparation.trial(test, trial) as place:            # a fork of it; before_each has run
            answer = ...                                         # the target works in place.workspace
            changes = place.capture()
            with place.grading() as workspace: ...
                                                                 # after_each has run, everything is gone
                                                                 # after_all has run
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sandlot.errors import Conflict, SandlotError, WorkspaceBusy
from sandlot.evals import pool, staging, static, verify
from sandlot.evals.cases import Hook, HookName, TestCase, WorkspaceMode, WorkspacePlan
from sandlot.evals.gitclient import cancelled_by
from sandlot.evals.hook_files import digest_of, left_out_of
from sandlot.evals.hooks import HookContext, run_hook
from sandlot.evals.place import START, TrialPlace, discard
from sandlot.evals.repos import Resolved, contained, resolve
from sandlot.sdk import Sandlot, Workspace

if TYPE_CHECKING:
    from sandlot.evals.outcomes import Trial
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Preparation", "Surroundings"]

HURRIED_S = 1.0
"""The longest an ``after`` hook may take once the run is cancelled; ctrl-C has to end within seconds."""
TRIES = 10
"""How often to prepare a base that others prune before we hold it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a workspace has that is no part of its tree; the same for all trials of a preparation."""

    toolchains: tuple[str, ...] = ()
    """Folders of the host shown read-only inside: the agent's program."""
    network: str | None = None
    allow: tuple[str, ...] = ()
    allow_preset: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    limits: dict[str, Any] = field(default_factory=dict)
    """As ``Sandlot.create`` takes them."""

    def words(self) -> dict[str, Any]:
        """For ``Sandlot.create``."""
        return {
            "toolchains": self.toolchains, "network": self.network, "allow": self.allow,
            "allow_preset": self.allow_preset, "allow_private": self.allow_private, **self.limits,
        }  # fmt: skip


class Preparation:
    """What all trials of one plan share. A context manager; trials may run in several threads at once."""

    def __init__(
        self,
        sandlot: Sandlot,
        plan: WorkspacePlan,
        run_id: str,
        *,
        surroundings: Surroundings | None = None,
        cancellation: Cancellation | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.fingerprint = ""
        """Of what shapes the tree; empty for static."""
        self.reused = False
        """Whether an earlier run's base was used: then ``before_all`` has not run in this one."""
        self.repos: tuple[Resolved, ...] = ()
        """Each repo with the commit its ref meant."""
        self.warnings: list[str] = []
        self.hook_output: dict[str, str] = {}
        """Of ``before_all`` and ``after_all``."""
        self._sandlot = sandlot
        self._surroundings = surroundings or Surroundings()
        self._cancellation = cancellation
        self._progress = progress
        self._stack = ExitStack()
        self._base: Workspace | None = None
        self._template = ""
        self._without = left_out_of(plan)
        self._serial = threading.Lock()

    @property
    def serial(self) -> bool:
        """Whether trials have to wait for each other: they work in the user's one folder."""
        return self.plan.mode is WorkspaceMode.STATIC

    def facts(self) -> dict[str, Any]:
        """For the run's manifest."""
        return {
            "mode": self.plan.mode.value, "path": self.plan.path, "template": self.plan.template,
            "fingerprint": self.fingerprint, "reused": self.reused, "repos": [each.facts() for each in self.repos],
            "base": self._base.id if self._base and not self.serial else None,
        }  # fmt: skip

    def __enter__(self) -> Preparation:
        """Raises HookFailed, GitFailed, PathNotFound, UsageError and what ``Sandlot.create`` raises.

        Nothing half-made is left then, and ``after_all`` has run if ``before_all`` did.
        """
        with ExitStack() as undo, cancelled_by(self._cancellation):
            undo.callback(self._stack.close)
            pool.sweep(self._sandlot)
            staging.sweep()
            if self.plan.mode is WorkspaceMode.STATIC:
                self._enter_static()
            else:
                staging.check_template(self.plan)
                self._template = self._stamps()
                for repo in self.plan.repos:
                    contained(repo)
                self.repos = tuple(self._resolved())
                if self.plan.mode is WorkspaceMode.POOLED:
                    self._enter_pooled()
                else:
                    self._base = self._make("temp")
                    self._stack.callback(self._drop, self._base)
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._after_all()
        finally:
            self._stack.close()

    @contextmanager
    def trial(self, test: TestCase, trial: Trial) -> Iterator[TrialPlace]:
        """A clean place for one trial. Raises HookFailed when ``before_each`` fails: the trial is an error then."""
        with ExitStack() as stack:
            if self.serial:
                stack.enter_context(self._serial)
                stack.enter_context(self._lock(static.lock_name(self.plan.path or ""), alone=True))
            place = self._place(stack, trial)
            context = HookContext.of_test(self.run_id, test)
            try:
                self._before_each(stack, place, context)
                yield place
            finally:
                self._after(place.workspace, HookName.AFTER_EACH, context, place.warnings, place.hook_output)

    # -- the base ---------------------------------------------------------------------------------------------------

    def _resolved(self) -> Iterator[Resolved]:
        for repo in self.plan.repos:
            self._say(f"resolving {repo.path}")
            yield resolve(repo)

    def _tree_facts(self) -> dict[str, Any]:
        before = self._hook(HookName.BEFORE_ALL)
        return {
            "template": self._template,
            "repos": [each.facts() for each in self.repos],
            "before_all": None if before is None else {
                "command": before.command, "cwd": before.cwd, "folder": before.folder,
                "placement": before.placement.value, "files": digest_of(before, self._without),
            },
            "surroundings": asdict(self._surroundings),
        }  # fmt: skip

    def _enter_pooled(self) -> None:
        self.fingerprint = pool.fingerprint(self._tree_facts())
        self.reused = True
        for _ in range(TRIES):
            with ExitStack() as shared:
                shared.enter_context(self._lock(self.fingerprint, alone=False))
                found = pool.find(self._sandlot, self.fingerprint)
                if found is not None and verify.is_untouched(self._sandlot, found):
                    self._base = found
                    self._stack.push(shared.pop_all())  # nobody prunes it while we use it
                    return
            with self._lock(self.fingerprint, alone=True):
                found = pool.find(self._sandlot, self.fingerprint)  # who was here before us may have made it
                if found is not None and not verify.is_untouched(self._sandlot, found):
                    found.delete()  # somebody worked in it by hand: it is no base any more
                    found = None
                if found is None:
                    self._make("pool")
                    self.reused = False
        raise WorkspaceBusy("the prepared workspace is deleted as soon as it is made", hint="run it again")

    def _make(self, kind: str) -> Workspace:
        """Template, repos and ``before_all`` as one stopped workspace; it gets its label as the last step."""
        self._say("preparing the workspace")
        labels = self._labels(kind)
        with ExitStack() as undo:
            made = undo.enter_context(self._seed())
            hook = self._hook(HookName.BEFORE_ALL)
            if hook is None and not self.repos:
                undo.pop_all()
                made.stop()
                made.update(labels=labels | {pool.BYTES: str(made.info.origin.bytes)})
                return made
            if hook is not None:
                self._before_all(hook, made)
            # Forked from a stopped workspace with nothing of its own on top, a trial copies nothing.
            (sealed,) = made.fork(labels=labels | {pool.BYTES: str(verify.size_of(made))})
        sealed.stop()
        return sealed

    def _seed(self) -> Workspace:
        labels = self._labels("making")
        words = self._surroundings.words()
        if not self.repos and not staging.has_history(self.plan.template):
            made = self._sandlot.create(self.plan.template, labels=labels, **words)
        else:
            with staging.staged() as folder:
                staging.assemble(self.plan, self.repos, folder, self._progress)
                made = self._sandlot.create(folder, labels=labels, **words)
        if self._template != self._stamps():
            made.delete()
            raise Conflict(f"the template {self.plan.template} changed while it was copied", hint="run it again")
        return made

    def _stamps(self) -> str:
        return pool.stamps(self.plan.template) if self.plan.template else ""

    def _enter_static(self) -> None:
        path = self.plan.path or ""
        with self._lock(static.lock_name(path), alone=True):
            self.repos = tuple(static.materialise_once(self.plan, self._progress))
            hook = self._hook(HookName.BEFORE_ALL)
            if hook is not None:
                with self._seed_static("making") as workspace:
                    self._before_all(hook, workspace)
                    if problem := static.bring_back(workspace, path):
                        raise Conflict(problem)

    def _seed_static(self, kind: str) -> Workspace:
        return static.seed(self._sandlot, self.plan.path or "", self._labels(kind), self._surroundings.words())

    # -- trials -----------------------------------------------------------------------------------------------------

    def _place(self, stack: ExitStack, trial: Trial) -> TrialPlace:
        labels = {"sandlot.eval.trial": trial.key[-200:]}
        if self.serial:
            workspace = self._seed_static("trial")
            workspace.update(labels=labels)
        else:
            workspace = self._fork("trial", labels)
        place = TrialPlace(workspace, "baseline", self._clean)
        stack.callback(self._clear, place)
        if self.serial:
            stack.callback(self._bring_back, place)
        return place

    def _fork(self, kind: str, labels: dict[str, str] | None = None, of: Workspace | None = None) -> Workspace:
        source = of or self._base
        if source is None:
            raise RuntimeError("a trial outside of its preparation")
        (made,) = source.fork(labels=self._labels(kind) | (labels or {}))
        return made

    def _before_each(self, stack: ExitStack, place: TrialPlace, context: HookContext) -> None:
        """Run the hook; what it changed is what the target is given, and no part of the target's change."""
        hook = self._hook(HookName.BEFORE_EACH)
        if hook is not None:
            report = run_hook(hook, context, place.workspace, without=self._without, cancellation=self._cancellation)
            place.hook_output[hook.name.value] = report.output
            report.check(hook)
            place.workspace.snapshots.create(START)
        if hook is not None or self.serial:  # no other workspace has this state: keep one before the target begins
            kept = self._fork("grading", of=place.workspace)
            stack.callback(self._drop, kept)
            kept.stop()
            place.starts_from(START if hook is not None else "baseline", lambda: self._forked(kept))

    @contextmanager
    def _clean(self) -> Iterator[Workspace]:
        with self._forked(None) as workspace:
            yield workspace

    @contextmanager
    def _forked(self, of: Workspace | None) -> Iterator[Workspace]:
        workspace = self._fork("grading", of=of)
        try:
            yield workspace
        finally:
            self._drop(workspace)

    def _bring_back(self, place: TrialPlace) -> None:
        if problem := static.bring_back(place.workspace, self.plan.path or ""):
            place.warnings.append(problem)

    def _clear(self, place: TrialPlace) -> None:
        self._drop(place.workspace)

    def _drop(self, workspace: Workspace) -> None:
        """Delete, and make sure. What goes wrong is a warning of the run: no later trial stands on it."""
        problem = discard(workspace)
        if not problem:
            try:
                verify.check_gone(self._sandlot, workspace.id)
            except SandlotError as error:
                problem = error.message
        if problem:
            self.warnings.append(problem)

    # -- hooks ------------------------------------------------------------------------------------------------------

    def _hook(self, name: HookName) -> Hook | None:
        hook = self.plan.hooks.get(name) if self.plan.hooks_enabled else None
        return hook if hook is not None and hook.command else None

    def _before_all(self, hook: Hook, workspace: Workspace) -> None:
        self._say("running before_all")
        context = HookContext.of_suite(self.run_id, HookName.BEFORE_ALL)
        try:
            report = run_hook(hook, context, workspace, without=self._without, cancellation=self._cancellation)
            self.hook_output[hook.name.value] = report.output
            report.check(hook)
        except BaseException:
            self._after(workspace, HookName.AFTER_ALL, self._suite_context(), self.warnings, self.hook_output)
            raise

    def _after_all(self) -> None:
        """In a workspace of its own: the state of the base, or the user's folder as it is now."""
        if self._hook(HookName.AFTER_ALL) is None:
            return
        try:
            with ExitStack() as stack:
                if self.serial:
                    stack.enter_context(self._lock(static.lock_name(self.plan.path or ""), alone=True))
                workspace = self._seed_static("making") if self.serial else self._fork("making")
                stack.callback(self._drop, workspace)
                self._after(workspace, HookName.AFTER_ALL, self._suite_context(), self.warnings, self.hook_output)
                if self.serial and (problem := static.bring_back(workspace, self.plan.path or "")):
                    self.warnings.append(problem)
        except SandlotError as error:
            self.warnings.append(f"after_all: {error.message}")

    def _suite_context(self) -> HookContext:
        return HookContext.of_suite(self.run_id, HookName.AFTER_ALL)

    def _after(
        self, workspace: Workspace, name: HookName, context: HookContext, warnings: list[str], output: dict[str, str]
    ) -> None:
        """Run a hook that must not spoil anything: whatever goes wrong becomes a warning."""
        hook = self._hook(name)
        if hook is None:
            return
        if self._cancellation is not None and self._cancellation.cancelled:  # somebody waits for us to end
            hook = replace(hook, timeout_s=min(hook.timeout_s, HURRIED_S))
        try:
            report = run_hook(hook, context, workspace, without=self._without)
            output[name.value] = report.output
            report.check(hook)
        except SandlotError as error:
            warnings.append(": ".join((error.message, *error.details[-1:])))

    # -- small things -----------------------------------------------------------------------------------------------

    def _labels(self, kind: str) -> dict[str, str]:
        if kind == "pool":  # outlives this run
            return {pool.KIND: kind, pool.FINGERPRINT: self.fingerprint, pool.OWNER: "", pool.RUN: ""}
        return {pool.KIND: kind, pool.OWNER: pool.owner(), pool.RUN: self.run_id[:200]}

    def _lock(self, name: str, *, alone: bool) -> contextlib.AbstractContextManager[None]:
        return pool.lock(self._sandlot, name, alone=alone, cancellation=self._cancellation)

    def _say(self, text: str) -> None:
        if self._progress is not None:
            self._progress(text)
