"""The hooks of one plan, with the rules of failure: ``before`` raises, ``after`` warns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sandlot.errors import SandlotError
from sandlot.evals.cases import Hook, HookName, WorkspacePlan
from sandlot.evals.hooks import HookContext, run_hook
from sandlot.sdk import Workspace

if TYPE_CHECKING:
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["PlanHooks"]

HURRIED_S = 1.0
"""The longest an ``after`` hook may take once the run is cancelled; ctrl-C has to end within seconds."""


@dataclass(frozen=True, slots=True)
class PlanHooks:
    """Runs them; a hook that the plan does not have, or that is disabled, does nothing."""

    plan: WorkspacePlan
    run_id: str
    without: Collection[str]
    """Folders of the host that hooks are not shown."""
    cancellation: Cancellation | None

    def get(self, name: HookName) -> Hook | None:
        """The hook, if it is to run. One without a command asks for a reset at most, and every trial starts anew."""
        hook = self.plan.hooks.get(name) if self.plan.hooks_enabled else None
        return hook if hook is not None and hook.command else None

    def of_suite(self, name: HookName) -> HookContext:
        """What a hook around all tests is told."""
        return HookContext.of_suite(self.run_id, name)

    def before(self, name: HookName, context: HookContext, workspace: Workspace, output: dict[str, str]) -> bool:
        """Run it; whether there was one. Raises HookFailed, Cancelled and what a workspace may raise."""
        hook = self.get(name)
        if hook is None:
            return False
        report = run_hook(hook, context, workspace, without=self.without, cancellation=self.cancellation)
        output[name.value] = report.output
        report.check(hook)
        return True

    def after(
        self, name: HookName, context: HookContext, workspace: Workspace, output: dict[str, str], warnings: list[str]
    ) -> None:
        """Run it, whatever happened before; what goes wrong becomes a warning."""
        hook = self.get(name)
        if hook is None:
            return
        if self.cancellation is not None and self.cancellation.cancelled:  # somebody waits for us to end
            hook = replace(hook, timeout_s=min(hook.timeout_s, HURRIED_S))
        try:
            report = run_hook(hook, context, workspace, without=self.without)
            output[name.value] = report.output
            report.check(hook)
        except SandlotError as error:
            warnings.append(": ".join((error.message, *error.details[-1:])))
