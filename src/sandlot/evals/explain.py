"""What a run would do and why: its workspace plans, with where each value came from, and its trials."""

from __future__ import annotations

from typing import Any

from sandlot.evals.cases import WorkspacePlan
from sandlot.evals.gitclient import shown_url
from sandlot.evals.manifest import plan_digest
from sandlot.evals.session import RunPlan
from sandlot.evals.trial_records import plain

__all__ = ["explain"]


def explain(plan: RunPlan) -> dict[str, Any]:
    """``workspaces``: for each suite and plan its settings; ``trials``: their keys in the order of dispatch."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    tests: dict[tuple[str, str], set[str]] = {}
    digests: dict[int, str] = {}
    for job in plan.jobs:
        if id(job.test) not in digests:
            digests[id(job.test)] = plan_digest(job.test)
        key = (job.suite.name, digests[id(job.test)])
        tests.setdefault(key, set()).add(job.test.id)
        if key not in found:
            found[key] = {"suite": job.suite.name, "settings": settings(job.test.workspace)}
    return {
        "workspaces": [{**entry, "tests": len(tests[key])} for key, entry in found.items()],
        "trials": [job.trial.key for job in plan.jobs],
        "workers": plan.workers,
    }


def settings(plan: WorkspacePlan) -> list[dict[str, Any]]:
    """Name, value and origin of each setting that has a value."""
    values: dict[str, Any] = {"mode": plan.mode.value, "path": plan.path, "template": plan.template}
    values |= {"environment": plan.environment, "runtime": plan.runtime, "min_isolation": plan.min_isolation}
    for repo in plan.repos:
        values[f"repos.{repo.path}"] = f"{shown_url(repo.url)}@{repo.ref or 'HEAD'}" + (
            f"~{repo.ancestor}" if repo.ancestor else ""
        )
    for name, hook in plan.hooks.items():
        values[f"hooks.{name.value}"] = plain(list(hook.command))
    if not plan.hooks_enabled:
        values["hooks.enabled"] = False
    return [
        {"name": name, "value": value, "from": plan.provenance.get(name) or plan.provenance.get(name.split(".")[0], "")}
        for name, value in values.items()
        if value is not None
    ]
