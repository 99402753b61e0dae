"""Which runtime isolates a new workspace: the one that was asked for, or the cheapest that isolates enough.

Nothing is ever lowered: when what was demanded cannot be had, the answer is an error with the reason for each runtime.
"""

from __future__ import annotations

from sandlot.errors import IsolationUnavailable
from sandlot.model.isolation import IsolationLevel, RuntimeChoice
from sandlot.runtimes.base import ProbeReport
from sandlot.workspaces.context import Context

__all__ = ["chosen_runtime"]


def chosen_runtime(
    context: Context, asked: str | None = None, least: IsolationLevel = IsolationLevel.NONE
) -> tuple[str, ProbeReport]:
    """The runtime's name, and what works with it here.

    ``asked`` None is the user's setting; ``auto`` the cheapest that reaches ``least``. The user's own least level holds
    for everything. Raises IsolationUnavailable, UsageError for a runtime that there is not.
    """
    asked = asked or context.settings.runtime
    least = max(least, IsolationLevel(context.settings.min_isolation), key=lambda level: level.rank)
    if asked != RuntimeChoice.AUTO:
        report = context.runtime(asked).probe()
        reason = _reason(asked, report, least)
        if reason is not None:
            raise reason
        return asked, report
    reasons = []
    for name in context.runtime_names:
        report = context.runtime(name).probe()
        reason = _reason(name, report, least)
        if reason is None:
            return name, report
        reasons.append(f"{name}: {reason.message}")
    raise IsolationUnavailable(
        f"no runtime here isolates at level {least}" if least.rank else "no runtime works here",
        hint="sandlot doctor",
        details=tuple(reasons),
    )


def _reason(name: str, report: ProbeReport, least: IsolationLevel) -> IsolationUnavailable | None:
    """Why this one will not do."""
    if not report.available:
        return report.refusal(name)
    if not report.isolation.satisfies(least):
        return IsolationUnavailable(
            f"runtime {name} isolates at level {report.isolation}, {least} was demanded",
            hint="--runtime auto takes the cheapest that reaches it; sandlot doctor says what there is",
        )
    return None
