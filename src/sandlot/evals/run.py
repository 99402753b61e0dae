"""The scheduler: worker threads take trials in order; the calling thread watches budgets, clocks and ctrl-C."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sandlot.evals.budget import Budget
from sandlot.evals.groups import Group, NotPrepared
from sandlot.evals.machinery import Machinery, Prepared
from sandlot.evals.outcomes import Outcome, Stage, TargetAnswer, TrialResult
from sandlot.evals.selection import Job
from sandlot.evals.trial import Finished, failed_before, run_trial
from sandlot.workspaces.cancellation import Cancellation, Cancelled

__all__ = ["Ending", "Scheduler", "Watch"]

TICK_S = 0.25
"""How often clocks are looked at."""
LATE_S = 10.0
"""How much longer than its timeout a target may take before the runner ends it itself: it should have, long ago."""
INTERRUPT_S = 2.0
"""How long cancelled trials and ``after_all`` may take to end after ctrl-C; what is left is deleted from outside."""
FOR_AFTER_ALL_S = 0.5
"""The part of it that trials leave to ``after_all``, at least."""
STOP_S = 60.0
"""The same after a budget, where nobody waits at a keyboard."""


class Ending(StrEnum):
    """Why a session ended."""

    COMPLETE = "complete"
    FAIL_FAST = "fail-fast"
    BUDGET = "budget"
    INTERRUPTED = "interrupted"


@dataclass
class Watch:
    """Callbacks, all from the thread that runs the scheduler."""

    started: Callable[[Job], None] = lambda _job: None
    finished: Callable[[TrialResult], None] = lambda _result: None
    tick: Callable[[], None] = lambda: None


@dataclass
class _InFlight:
    job: Job
    cancellation: Cancellation
    deadline: float = float("inf")
    late: bool = False
    answered: bool = False


@dataclass
class Scheduler:
    """One session's work. ``run`` is called once."""

    jobs: Sequence[Job]
    machinery: Machinery
    save: Callable[[Finished], None]
    """Called from the worker threads, once for each trial that came to an end; then it has happened."""
    group_of: Callable[[Job], Group]
    workers: int = 1
    budgets: Callable[[Job], Sequence[Budget]] = lambda _job: ()
    fail_fast: bool = False
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        self.reason = ""
        """Why it ended early."""
        self._changed = threading.Condition()
        self._waiting = list(self.jobs)
        self._in_flight: dict[str, _InFlight] = {}
        self._news: list[Job | TrialResult] = []
        self._at_work = 0
        self._ending: Ending | None = None
        self._broken: BaseException | None = None
        self._groups = {id(job): self.group_of(job) for job in self.jobs}
        for group in self._groups.values():
            group.waiting += 1

    def run(self) -> Ending:
        """Run the trials. What a worker could not save (StateUnwritable) is raised here, when all have ended."""
        threads = [
            # Daemons: after ctrl-C nobody waits for one that hangs in a system call.
            threading.Thread(target=self._work, name=f"trial-{number}", daemon=True)
            for number in range(max(1, min(self.workers, len(self.jobs))))
        ]
        try:
            self._at_work = len(threads)
            for thread in threads:
                thread.start()
            self._oversee()
        except BaseException:  # ctrl-C, SIGTERM, or a watcher that failed
            with contextlib.suppress(KeyboardInterrupt):  # once more: no waiting, but what is left is deleted
                self._stop(Ending.INTERRUPTED, "interrupted", cancel=True)
                end = time.monotonic() + INTERRUPT_S
                self._await(threads, INTERRUPT_S - FOR_AFTER_ALL_S)
                self._close_groups(end - time.monotonic())
            raise
        finally:
            self._tell()
        try:
            for group in self.groups:
                group.close()
        finally:
            if self._broken is not None:
                raise self._broken
        return self._ending or Ending.COMPLETE

    @property
    def groups(self) -> list[Group]:
        """Each once."""
        return list({id(each): each for each in self._groups.values()}.values())

    def _oversee(self) -> None:
        give_up = float("inf")
        while self._at_work and time.monotonic() < give_up:
            with self._changed:
                self._changed.wait_for(lambda: self._news or not self._at_work, TICK_S)
            self._tell()
            self._look_at_clocks()
            self.watch.tick()
            if self._ending is Ending.BUDGET and give_up == float("inf"):
                give_up = time.monotonic() + STOP_S

    def _tell(self) -> None:
        with self._changed:
            news, self._news = self._news, []
        for each in news:
            if isinstance(each, Job):
                self.watch.started(each)
            else:
                self.watch.finished(each)

    def _look_at_clocks(self) -> None:
        now = time.monotonic()
        with self._changed:
            ended = self._over_budget()
            late = [flight for flight in self._in_flight.values() if now > flight.deadline and not flight.late]
            for flight in late:
                flight.late = True
            self._changed.notify_all()
        for flight in (*late, *ended):
            flight.cancellation.cancel()

    def _over_budget(self) -> list[_InFlight]:
        """With the lock held: what waits for a budget that is used up is dropped, what is in flight returned.

        A target that has answered is paid for: only time can keep it from being graded.
        """
        ended = []
        self._drop_waiting()
        for flight in self._in_flight.values():
            for budget in self.budgets(flight.job):
                if (sentence := budget.exceeded) and not (flight.answered and not budget.overdue):
                    self._end(Ending.BUDGET, sentence)
                    ended.append(flight)
        return ended

    def _drop_waiting(self) -> None:
        for budget in {id(each): each for job in self._waiting for each in self.budgets(job)}.values():
            if sentence := budget.exceeded:
                for job in [job for job in self._waiting if budget in self.budgets(job)]:
                    self._end(Ending.BUDGET, sentence)
                    self._forget(job)

    def _forget(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self._groups[id(job)].waiting -= 1

    def _end(self, ending: Ending, reason: str) -> None:
        if self._ending is None:
            self._ending, self.reason = ending, reason

    def _stop(self, ending: Ending, reason: str, *, cancel: bool) -> None:
        with self._changed:
            self._end(ending, reason)
            for job in list(self._waiting):
                self._forget(job)
            flights = list(self._in_flight.values()) if cancel else []
            self._changed.notify_all()
        for flight in flights:
            flight.cancellation.cancel()
        for group in self.groups if cancel else ():
            group.cancellation.cancel()

    def _close_groups(self, patience_s: float) -> None:
        """Within a moment, or not at all: a person waits, and ``sweep`` deletes what is left."""
        closing = [threading.Thread(target=group.close, daemon=True) for group in self.groups]
        for thread in closing:
            thread.start()
        self._await(closing, patience_s)

    @staticmethod
    def _await(threads: list[threading.Thread], patience_s: float) -> None:
        end = time.monotonic() + patience_s
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                self._one(job)
        except BaseException as error:
            self._broken = error
            self._stop(Ending.INTERRUPTED, "interrupted", cancel=True)
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            while self._waiting:
                if any(budget.exceeded for budget in self.budgets(self._waiting[0])):
                    self._drop_waiting()  # now, not when the clocks are looked at next: nothing more is to be spent
                    continue
                for job in self._waiting:
                    group = self._groups[id(job)]
                    if group.at_once is None or group.running < group.at_once:
                        self._forget(job)
                        group.running += 1
                        self._in_flight[job.trial.key] = _InFlight(job, Cancellation())
                        self._news.append(job)
                        self._changed.notify_all()
                        return job
                self._changed.wait()
            return None

    def _one(self, job: Job) -> None:
        group = self._groups[id(job)]
        flight = self._in_flight[job.trial.key]
        finished = kept = None
        try:
            with contextlib.suppress(Cancelled):
                finished = self._finish(job, group, flight)
            if finished is None and flight.late:
                finished = _late(job)
            if finished is not None:
                self.save(finished)
                kept = finished.result
        finally:
            with self._changed:
                del self._in_flight[job.trial.key]
                group.running -= 1
                last = group.waiting == 0 and group.running == 0
                if kept is not None:  # what could not be saved has not happened
                    self._news.append(kept)
                self._changed.notify_all()
            if last:
                group.close()
        if kept is not None and self.fail_fast and kept.outcome is not Outcome.PASS:
            self._stop(Ending.FAIL_FAST, f"{job.trial.key}: {kept.outcome}", cancel=False)

    def _finish(self, job: Job, group: Group, flight: _InFlight) -> Finished:
        try:
            prepared: Prepared = group.enter()
        except NotPrepared as error:
            return failed_before(job, error.reason, error.stage)
        flight.cancellation.check()

        def begins() -> None:
            flight.deadline = time.monotonic() + job.timeout_s + LATE_S

        def note(answer: TargetAnswer) -> None:
            flight.deadline = float("inf")
            with self._changed:
                flight.answered = True
                for budget in self.budgets(job):
                    budget.use(answer.usage)

        return run_trial(job, prepared, self.machinery, flight.cancellation, note, begins)


def _late(job: Job) -> Finished:
    """A target that neither answered nor ended itself in time."""
    ended = failed_before(job, f"no answer within {job.timeout_s:g} s", Stage.TARGET)
    return Finished(replace(ended.result, outcome=Outcome.TIMEOUT))
