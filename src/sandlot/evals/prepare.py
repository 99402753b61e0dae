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
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sandlot.errors import Conflict, SandlotError, StateUnwritable, WorkspaceBusy
from sandlot.evals import pool, scratch, static, unpatched, verify
from sandlot.evals.base import BaseMaker, Surroundings
from sandlot.evals.cases import HookName, TestCase, WorkspaceMode, WorkspacePlan
from sandlot.evals.gitclient import cancelled_by
from sandlot.evals.hook_files import left_out_of
from sandlot.evals.hooks import HookContext
from sandlot.evals.isolation import isolation_words
from sandlot.evals.place import START, TrialPlace, discard
from sandlot.evals.plan_hooks import PlanHooks
from sandlot.evals.repos import Resolved
from sandlot.sdk import Sandlot, Workspace

if TYPE_CHECKING:
    from sandlot.evals.outcomes import Trial
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["Preparation", "Surroundings"]

TRIES = 10
"""How often to prepare a base that others prune before we hold it."""
TURN_S = 7 * 86400.0
"""How long a static trial waits for those before it: as long as they take; ctrl-C ends the wait."""


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
        """Of what shapes the tree, in mode pooled."""
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
        self._progress = progress or _silent
        self._hooks = PlanHooks(plan, run_id, left_out_of(plan), cancellation)
        self._stack = ExitStack()
        self._owner = ""
        self._base: Workspace | None = None

    @property
    def serial(self) -> bool:
        """Whether trials wait for each other: they work in the user's one folder."""
        return self.plan.mode is WorkspaceMode.STATIC

    def facts(self) -> dict[str, Any]:
        """For the run's manifest."""
        return {
            "mode": self.plan.mode.value, "path": self.plan.path, "template": self.plan.template,
            "environment": self.plan.environment, "runtime": self.plan.runtime,
            "min_isolation": self.plan.min_isolation,
            "fingerprint": self.fingerprint, "reused": self.reused, "repos": [each.facts() for each in self.repos],
            "base": self._base and self._base.id,
        }  # fmt: skip

    def __enter__(self) -> Preparation:
        """Raises HookFailed, GitFailed, PathNotFound, UsageError and what ``Sandlot.create`` raises.

        Nothing half-made is left then, and ``after_all`` has run if ``before_all`` did.
        """
        with _said(), ExitStack() as undo, cancelled_by(self._cancellation):
            undo.callback(self._stack.close)
            self._owner = self._stack.enter_context(pool.owner(self._sandlot))
            pool.sweep(self._sandlot)
            scratch.sweep()
            if self.serial:
                self._enter_static()
            else:
                maker = BaseMaker(self._sandlot, self.plan, self._hooks, self._surroundings, self._progress)
                self.repos = maker.repos
                if self.plan.mode is WorkspaceMode.POOLED:
                    self._enter_pooled(maker)
                else:
                    self._base = maker.make(self._labels("temp"), self._labels("making"), self.hook_output)
                    self._stack.callback(self._drop_temporary, self._base)
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
                stack.enter_context(self._turn())
            place = self._place(stack, trial)
            context = HookContext.of_test(self.run_id, test)
            try:
                self._before_each(stack, place, context)
                yield place
            finally:
                if self._hooks.get(HookName.AFTER_EACH) is not None:
                    with contextlib.suppress(SandlotError):  # nothing of the target may look at the hook's folder
                        place.workspace.stop()
                self._hooks.after(HookName.AFTER_EACH, context, place.workspace, place.hook_output, place.warnings)

    # -- what trials start from -------------------------------------------------------------------------------------

    def _enter_pooled(self, maker: BaseMaker) -> None:
        self.fingerprint = maker.fingerprint()
        self.reused = True
        for _ in range(TRIES):
            with ExitStack() as shared:
                shared.enter_context(self._lock(self.fingerprint, alone=False))
                found = self._untouched()
                if found is not None:
                    self._base = found
                    self._stack.push(shared.pop_all())  # nobody prunes it while we use it
                    return
            with self._lock(self.fingerprint, alone=True):
                if self._untouched() is None:  # else who was here before us has made it
                    if found := pool.find(self._sandlot, self.fingerprint):
                        found.delete()  # somebody worked in it by hand: it is no base any more
                    labels = {pool.KIND: "pool", pool.FINGERPRINT: self.fingerprint, pool.OWNER: "", pool.RUN: ""}
                    maker.make(labels, self._labels("making"), self.hook_output)
                    self.reused = False
        raise WorkspaceBusy("the prepared workspace is deleted as soon as it is made", hint="run it again")

    def _untouched(self) -> Workspace | None:
        found = pool.find(self._sandlot, self.fingerprint)
        return found if found is not None and verify.is_untouched(self._sandlot, found) else None

    def _enter_static(self) -> None:
        path = self.plan.path or ""
        with self._turn():
            if not os.path.lexists(path) and self.plan.template is None and not self.plan.repos:
                self.warnings.append(
                    f"{path} did not exist: it was made, empty, for neither template nor repos fill it"
                )
            self.repos = tuple(static.materialise_once(self.plan, self._progress))
            if self._hooks.get(HookName.BEFORE_ALL) is None:
                return
            with self._seed_static(self._labels("making")) as workspace:
                name = HookName.BEFORE_ALL
                try:
                    self._hooks.before(name, self._hooks.of_suite(name), workspace, self.hook_output)
                except BaseException:
                    self._run_after_all(workspace)
                    raise
                if unpatched.has_home(workspace):
                    self.warnings.append("what before_all left in its home is gone: a static folder is all trials get")
                if problems := static.bring_back(workspace, path):
                    raise Conflict(problems[0])

    def _seed_static(self, labels: Mapping[str, str]) -> Workspace:
        return static.seed(
            self._sandlot,
            self.plan.path or "",
            labels,
            {**self._surroundings.words(), "environment": self.plan.environment, **isolation_words(self.plan)},
        )

    # -- trials -----------------------------------------------------------------------------------------------------

    def _place(self, stack: ExitStack, trial: Trial) -> TrialPlace:
        labels = {**self._labels("trial"), "sandlot.eval.trial": trial.key[-200:]}
        workspace = self._seed_static(labels) if self.serial else self._fork(labels)
        stack.callback(self._drop, workspace)
        place = TrialPlace(workspace, "baseline", lambda: self._forked(None))
        if self.serial:
            stack.callback(self._bring_back, place, unpatched.look(workspace))
        return place

    def _fork(self, labels: Mapping[str, str], of: Workspace | None = None) -> Workspace:
        source = of or self._base
        if source is None:
            raise RuntimeError("a trial outside of its preparation")
        (made,) = source.fork(labels=labels)
        return made

    def _before_each(self, stack: ExitStack, place: TrialPlace, context: HookContext) -> None:
        """Run the hook; what it changed is what the target is given, and no part of the target's change."""
        hooked = self._hooks.before(HookName.BEFORE_EACH, context, place.workspace, place.hook_output)
        if hooked:
            place.workspace.snapshots.create(START)
        if hooked or self.serial:  # no other workspace has this state: keep one before the target begins
            kept = self._fork(self._labels("grading"), place.workspace)
            stack.callback(self._drop, kept)
            kept.stop()
            place.starts_from(START if hooked else "baseline", lambda: self._forked(kept))

    @contextmanager
    def _forked(self, of: Workspace | None) -> Iterator[Workspace]:
        workspace = self._fork(self._labels("grading"), of)
        try:
            if self._surroundings.reaches_out:
                # What the target may reach is inherited. Its code runs again here, beside the hidden tests.
                workspace.update(network="off")
            yield workspace
        finally:
            self._drop(workspace)

    def _bring_back(self, place: TrialPlace, before: unpatched.Seen | None) -> None:
        """What the trial did, to the user's folder; what cannot be is said in a warning."""
        path = self.plan.path or ""
        place.warnings += static.bring_back(place.workspace, path)
        if before is None or (self._cancellation is not None and self._cancellation.cancelled):
            return
        after = unpatched.look(place.workspace)
        if after is not None:
            unpatched.make_folders(before, after, path)
            for name in unpatched.moved_repos(before, after):
                place.warnings.append(
                    f"commits, branches, tags or stashes made in {os.path.normpath(os.path.join(path, name))} stay "
                    "outside: only what they did to the files was brought back, for your repository is not written"
                )

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

    def _drop_temporary(self, workspace: Workspace) -> None:
        self._drop(workspace)
        base = workspace.info.labels.get(pool.BASE, "")
        if self._cancellation is None or not self._cancellation.cancelled:  # it waits for creates of others
            pool.forget(self._sandlot, base)

    # -- afterwards -------------------------------------------------------------------------------------------------

    def _after_all(self) -> None:
        """In a workspace of its own: the state of the base, or the user's folder as it is now."""
        if self._hooks.get(HookName.AFTER_ALL) is None:
            return
        try:
            with ExitStack() as stack:
                if self.serial:
                    stack.enter_context(self._turn())
                labels = self._labels("making")
                workspace = self._seed_static(labels) if self.serial else self._fork(labels)
                stack.callback(self._drop, workspace)
                self._run_after_all(workspace)
                if self.serial:
                    self.warnings += static.bring_back(workspace, self.plan.path or "")
        except SandlotError as error:
            self.warnings.append(f"after_all: {error.message}")

    def _run_after_all(self, workspace: Workspace) -> None:
        name = HookName.AFTER_ALL
        self._hooks.after(name, self._hooks.of_suite(name), workspace, self.hook_output, self.warnings)

    # -- small things -----------------------------------------------------------------------------------------------

    def _labels(self, kind: str) -> Mapping[str, str]:
        return {pool.KIND: kind, pool.OWNER: self._owner, pool.RUN: self.run_id[:200]}

    def _lock(self, name: str, *, alone: bool) -> contextlib.AbstractContextManager[None]:
        return pool.lock(self._sandlot, name, alone=alone, cancellation=self._cancellation)

    def _turn(self) -> contextlib.AbstractContextManager[None]:
        """One at a time in the user's folder, whoever starts them."""
        name = static.lock_name(self.plan.path or "")
        return pool.lock(self._sandlot, name, alone=True, wait_s=TURN_S, cancellation=self._cancellation)


@contextmanager
def _said() -> Iterator[None]:
    """A full disk and a folder that nobody may write are errors of the run like any other."""
    try:
        yield
    except OSError as error:
        where = f" {os.fsdecode(error.filename)}" if error.filename else ""
        raise StateUnwritable(f"the workspace could not be prepared:{where}: {error.strerror}") from error


def _silent(_text: str) -> None:
    """Nobody wants to know how far it is."""
