"""Tests that share a workspace plan share its preparation: made for the first trial, closed after the last."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sandlot.errors import HookFailed, SandlotError
from sandlot.evals.cases import TargetSpec, WorkspaceMode, WorkspacePlan
from sandlot.evals.machinery import Machinery, Prepared
from sandlot.evals.outcomes import Stage
from sandlot.workspaces.cancellation import Cancellation, Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Group", "NotPrepared"]


class NotPrepared(Exception):
    """The preparation failed; every trial of the group ends as an error, with this reason."""

    def __init__(self, reason: str, stage: Stage) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stage = stage


class Group:
    """One suite's tests with one plan."""

    def __init__(
        self,
        plan: WorkspacePlan,
        target: TargetSpec,
        machinery: Machinery,
        ready: Callable[[Prepared], None],
    ) -> None:
        """``target``: any of those that share it. ``ready`` hears of the preparation once it is made."""
        self.plan = plan
        self.target = target
        self.cancellation = Cancellation()
        """Of what is done for all its trials: preparing, hooks."""
        self.waiting = 0
        """Trials that have not been dispatched."""
        self.running = 0
        self.warnings: tuple[str, ...] = ()
        self._machinery = machinery
        self._ready = ready
        self._lock = threading.Lock()
        self._manager: AbstractContextManager[Prepared] | None = None
        self._prepared: Prepared | None = None
        self._failure: NotPrepared | None = None

    @property
    def at_once(self) -> int | None:
        """How many of its trials may run at the same time; None: any number.

        A static workspace is the user's own folder: two trials in it at once would see each other.
        """
        return 1 if self.plan.mode is WorkspaceMode.STATIC else None

    def enter(self) -> Prepared:
        """The preparation, made by the first who asks; the others wait for it. Raises NotPrepared."""
        with self._lock:
            self.cancellation.check()
            if self._failure:
                raise self._failure
            if self._prepared is None:
                manager = self._machinery.prepare(self.plan, self.target, self.cancellation)
                try:
                    self._prepared = manager.__enter__()
                except SandlotError as error:
                    stage = Stage.HOOK if isinstance(error, HookFailed) else Stage.SETUP
                    self._failure = NotPrepared("\n".join((error.message, *error.details)), stage)
                    raise self._failure from error
                except Exception as error:  # a bug, or the machine: no task's failure, nor the run's end
                    self._failure = NotPrepared(f"unexpected {type(error).__name__}: {error}", Stage.SETUP)
                    raise self._failure from error
                self._manager = manager
                self._ready(self._prepared)
            return self._prepared

    def close(self) -> None:
        """Run after_all and let the base go; its failure is a warning of the run, for the trials are over."""
        with self._lock:
            manager, prepared, self._manager, self._prepared = self._manager, self._prepared, None, None
            if manager is None or prepared is None:
                return
            try:
                manager.__exit__(None, None, None)
            except SandlotError as error:
                self.warnings = (*self.warnings, error.message)
            except Cancelled:
                self.warnings = (*self.warnings, "after_all was cut short")
            except Exception as error:  # as above
                self.warnings = (*self.warnings, f"after the trials: unexpected {type(error).__name__}: {error}")
            self.warnings = (*self.warnings, *prepared.warnings)
