"""How trials are isolated: what a suite writes under ``workspace:``, else the user's settings."""

from __future__ import annotations

from typing import Any

from sandlot.evals.cases import WorkspacePlan
from sandlot.settings import Settings

__all__ = ["isolation_of", "isolation_words"]


def isolation_words(plan: WorkspacePlan) -> dict[str, Any]:
    """For ``Sandlot.create``, which fails when as much cannot be had: no trial is isolated less than its suite says."""
    return {"runtime": plan.runtime, "min_isolation": plan.min_isolation or "none"}


def isolation_of(plan: WorkspacePlan) -> str:
    """What tells prepared bases apart: trials are forked from them, and run as they do."""
    settings = Settings.load()
    return f"{plan.runtime or settings.runtime} {plan.min_isolation or 'none'} {settings.min_isolation}"
