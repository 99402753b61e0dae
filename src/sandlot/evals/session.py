"""Starting and resuming runs: from options to an ending, through the scheduler, into the run's folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.errors import UsageError
from sandlot.evals.budget import Budget
from sandlot.evals.cases import Suite, TargetSpec
from sandlot.evals.groups import Group
from sandlot.evals.machinery import Machinery, Prepared
from sandlot.evals.manifest import (
    Manifest,
    PlannedTrial,
    digest_of,
    now,
    plan_digest,
    plan_facts,
    suite_facts,
    target_facts,
    versions,
)
from sandlot.evals.options import Budgets, RunOptions
from sandlot.evals.outcomes import Outcome, TrialResult
from sandlot.evals.run import Ending, Scheduler, Watch
from sandlot.evals.run_folder import RunFolder
from sandlot.evals.selection import Job, select, workers_of
from sandlot.evals.staging import left_out
from sandlot.evals.trial import Finished
from sandlot.evals.trial_records import plain

__all__ = ["Load", "RunPlan", "Session", "Targets", "begin", "check_apart", "plan_run", "planned", "resumed"]

Load = Callable[[RunOptions], Sequence[Suite]]
"""Suites with their workspace plans resolved."""
Targets = Callable[[Path], Mapping[str, TargetSpec]]
OF_ONE_SESSION = frozenset({"reused", "base"})
"""Facts of a preparation that the next session has anew, without a difference to any trial."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would do; nothing has been done."""

    options: RunOptions
    suites: tuple[Suite, ...]
    jobs: tuple[Job, ...]
    workers: int

    @property
    def targets(self) -> tuple[TargetSpec, ...]:
        """Those that are used, each once."""
        return tuple({id(job.target): job.target for job in self.jobs}.values())

    def manifest(self, run_id: str) -> Manifest:
        """Of a run that does it."""
        commits: dict[str, str] = {}
        used = {id(job.suite): job.suite for job in self.jobs}.values()
        return Manifest(
            id=run_id,
            created=now(),
            options=self.options,
            trials=planned(self.jobs),
            suites=tuple(suite_facts(suite, commits) for suite in used),
            targets=tuple(target_facts(self.targets)),
            plans={plan_digest(job.test): plan_facts(job.test.workspace) for job in self.jobs},
            versions=versions(),
        )


def plan_run(options: RunOptions, load: Load, targets: Targets) -> RunPlan:
    """Load, resolve, select. Raises UsageError for everything that is wrong with what was asked."""
    if options.max_regressions is not None and options.baseline is None:
        raise UsageError("--max-regressions needs a run to compare with", hint="--baseline RUN")
    suites = tuple(load(options))
    found: dict[Path, Mapping[str, TargetSpec]] = {}

    def known(folder: Path) -> Mapping[str, TargetSpec]:
        if folder not in found:
            found[folder] = targets(folder)
        return found[folder]

    jobs = tuple(select(suites, known, options))
    return RunPlan(options, suites, jobs, workers_of(suites, options))


def planned(jobs: Sequence[Job]) -> tuple[PlannedTrial, ...]:
    """As a manifest names them. One digest for all trials of a test by a target: it is the same work."""
    digests: dict[tuple[int, int], tuple[str, str]] = {}
    found = []
    for job in jobs:
        key = (id(job.test), id(job.target))
        if key not in digests:
            threshold = job.suite.execution.threshold
            digests[key] = (digest_of(job.test, job.target, threshold), plan_digest(job.test))
        found.append(PlannedTrial(job.trial, *digests[key]))
    return tuple(found)


@dataclass
class Session:
    """One process's work on a run. The caller holds the folder's lock."""

    folder: RunFolder
    plan: RunPlan
    machinery: Machinery
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        self.trials = [job.trial for job in self.plan.jobs]
        self.results: dict[str, TrialResult] = self.folder.results(self.trials)
        self.warnings: list[str] = []
        self.reason = ""
        self._budgets = self._make_budgets()
        self._manifest = self.folder.manifest
        self._manifest_lock = threading.Lock()
        self._groups: dict[tuple[int, str, str], Group] = {}
        self._digests: dict[int, str] = {}
        self._levels: set[str] = set()

    @property
    def left(self) -> list[Job]:
        """Without a result; and those that ended in an error, if they are to be tried once more."""
        again = self.plan.options.retry_errors
        return [job for job in self.plan.jobs if self._open(job, again=again)]

    def _open(self, job: Job, *, again: bool) -> bool:
        result = self.results.get(job.trial.key)
        return result is None or (again and result.outcome is Outcome.ERROR)

    def run(self) -> Ending:
        """Do what is left. However it ends, that is noted, and no workspace of this run stays behind."""
        swept = self.machinery.sweep()  # of a process that was killed: the lock says that it is gone
        if swept:
            self.warnings.append(f"{swept} workspace{'s' if swept > 1 else ''} of a killed process deleted")
        facts = {"started": now(), "pid": os.getpid(), "workers": self.plan.workers, "swept": swept}
        session = self.folder.begin(facts)
        ending = Ending.INTERRUPTED
        try:
            ending = self._passes()
        finally:
            if ending is Ending.INTERRUPTED:
                self.machinery.sweep()
            facts = {"ended": now(), "ending": ending, "reason": self.reason, "isolation": sorted(self._levels)}
            session.finish({**facts, "warnings": self.warnings})
        return ending

    def _passes(self) -> Ending:
        jobs = self.left
        fresh = [job for job in jobs if job.trial.key not in self.results]
        ending = self._pass(jobs)
        again = [job for job in fresh if self.plan.options.retry_errors and self._open(job, again=True)]
        return self._pass(again) if again and ending is Ending.COMPLETE else ending

    def _pass(self, jobs: Sequence[Job]) -> Ending:
        self._groups.clear()
        scheduler = Scheduler(
            jobs,
            self.machinery,
            save=self._save,
            group_of=self._group,
            workers=self.plan.workers,
            budgets=lambda job: self._budgets.get(job.suite.file, ()),
            fail_fast=self.plan.options.fail_fast or any(job.suite.execution.fail_fast for job in jobs),
            watch=self.watch,
        )
        try:
            return scheduler.run()
        finally:
            self.reason = scheduler.reason
            self.warnings += [warning for group in scheduler.groups for warning in group.warnings]

    def _save(self, finished: Finished) -> None:
        if level := finished.result.isolation:
            self._levels.add(level)
            self._learn(lambda manifest: manifest.with_isolation(level))
        self.folder.save(finished.result, patch=finished.patch)
        self.results[finished.result.trial.key] = finished.result

    def _learn(self, change: Callable[[Manifest], Manifest]) -> None:
        """Into run.json, when it is news. Called from the worker threads."""
        with self._manifest_lock:
            changed = change(self._manifest)
            if changed is not self._manifest:
                self.folder.replace_manifest(changed)
                self._manifest = changed

    def _group(self, job: Job) -> Group:
        if id(job.test) not in self._digests:
            self._digests[id(job.test)] = plan_digest(job.test)
        digest = self._digests[id(job.test)]
        key = (id(job.suite), digest, self.machinery.surroundings(job.target))
        if key not in self._groups:

            def ready(prepared: Prepared) -> None:
                facts = {name: plain(value) for name, value in prepared.facts.items() if name not in OF_ONE_SESSION}
                found = {"plan": digest, "suite": job.suite.name, **facts}
                self._learn(lambda manifest: manifest.with_workspace(found))

            self._groups[key] = Group(job.test.workspace, job.target, self.machinery, ready)
        return self._groups[key]

    def _make_budgets(self) -> dict[str, tuple[Budget, ...]]:
        """By the file of the suite: its own, and the run's. What was used before a resume counts; time does not."""
        whole = Budget(self.plan.options.budgets)
        found: dict[str, tuple[Budget, ...]] = {}
        for suite in {id(job.suite): job.suite for job in self.plan.jobs}.values():
            execution = suite.execution
            limits = Budgets(execution.budget_usd, execution.budget_tokens, execution.budget_minutes)
            own = [Budget(limits, f"suite {suite.name}")] if limits != Budgets() else []
            found[suite.file] = tuple([*own, whole] if self.plan.options.budgets != Budgets() else own)
        for job in self.plan.jobs:
            result = self.results.get(job.trial.key)
            if result is not None and result.answer is not None:
                for budget in found[job.suite.file]:
                    budget.use(result.answer.usage)
        return found


def check_apart(plan: RunPlan, root: Path) -> None:
    """Raises UsageError when targets could write into the run's folder, or read what others answered.

    What a target does in a static workspace is brought back to the user's folder. With the run in there, a target could
    write the results of the trials that are still to come. What lies in a template is copied for every trial, but for
    the usual place of runs.
    """
    place = root.resolve()
    for template in {job.test.workspace.template for job in plan.jobs if job.test.workspace.template}:
        usual = Path(template).resolve()
        if place.is_relative_to(usual) and not any(place.is_relative_to(path) for path in left_out(os.fspath(usual))):
            hint = f"name a folder outside of {usual}: --output DIR; or leave --output out"
            raise UsageError(f"the run's folder {place} lies in the template {usual}", hint=hint)
    for path in {job.test.workspace.path for job in plan.jobs if job.test.workspace.path}:
        static = Path(path).resolve()
        if place.is_relative_to(static):
            hint = f"name a folder outside of {static}: --output DIR"
            raise UsageError(f"the run's folder {place} lies in the static workspace {static}", hint=hint)


def resumed(folder: RunFolder, changes: Callable[[RunOptions], RunOptions], load: Load, targets: Targets) -> RunPlan:
    """The plan of a run that exists, made anew and held against its manifest.

    Raises UsageError when what is left would not be what was begun: two halves of different things are no run.
    """
    manifest = folder.manifest
    plan = plan_run(manifest.options, load, targets)
    begun = {each.trial.key: each.digest for each in manifest.trials}
    today = {each.trial.key: each.digest for each in planned(plan.jobs)}
    hint = "start a new run: sandlot eval run"
    for key, digest in begun.items():
        if key not in today:
            raise UsageError(f"{key} is in the run, but its suite has it no more", hint=hint)
        if today[key] != digest:
            raise UsageError(f"{key} has changed since the run began: the test, its graders or its target", hint=hint)
    jobs = tuple(job for job in plan.jobs if job.trial.key in begun)
    check_apart(plan, folder.root)
    return RunPlan(changes(manifest.options), plan.suites, jobs, workers_of(plan.suites, changes(manifest.options)))


def begin(plan: RunPlan, root: Path, run_id: str) -> RunFolder:
    """The folder of a new run: its manifest is on disk before anything runs.

    Raises UsageError, TargetExists, StateUnwritable.
    """
    check_apart(plan, root)
    return RunFolder.create(root, plan.manifest(run_id))
