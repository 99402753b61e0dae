"""The manifest of a run: what is to be run, with what; and what only running it tells, as soon as it is known."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandlot import process
from sandlot._version import __version__
from sandlot.errors import StateCorrupt
from sandlot.evals.cases import Suite, TargetSpec, TestCase, WorkspacePlan
from sandlot.evals.options import RunOptions
from sandlot.evals.outcomes import Trial
from sandlot.evals.project import project_of
from sandlot.evals.trial_records import plain, trial_of

__all__ = [
    "Manifest",
    "PlannedTrial",
    "commit_of",
    "digest_of",
    "hash_of",
    "new_id",
    "now",
    "plan_digest",
    "plan_facts",
    "suite_facts",
    "target_facts",
    "versions",
]

FORMAT = 1
"""Of run.json; fields are only ever added to it."""
GIT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A trial that the run is to make."""

    trial: Trial
    digest: str
    """Of everything that decides what is asked, of whom, and how it is graded."""
    plan: str
    """Digest of its workspace plan."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run is."""

    id: str
    created: str
    """UTC, ISO 8601."""
    options: RunOptions
    trials: tuple[PlannedTrial, ...]
    suites: tuple[Mapping[str, Any], ...] = ()
    """Name, file, description, tags, commit and digest of each."""
    targets: tuple[Mapping[str, Any], ...] = ()
    """Name, kind, place and digest of each. Never its configuration: that may hold a key."""
    plans: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The workspace plans as they were resolved, with where each value came from, by their digests. Of the environment
    only the names, of URLs no password."""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    merged_from: tuple[str, ...] = ()
    workspaces: tuple[Mapping[str, Any], ...] = ()
    """What plans turned out to be, each time one was prepared to something new: plan (its digest), suite, fingerprint,
    repos with their commits, base. A ref that moved between two sessions is two entries."""
    isolation: tuple[str, ...] = ()
    """Isolation levels that trials ran at; there before the first result that says so."""

    def with_workspace(self, facts: Mapping[str, Any]) -> Manifest:
        """With one more preparation, unless it is known."""
        known = facts in self.workspaces
        return self if known else dataclasses.replace(self, workspaces=(*self.workspaces, facts))

    def with_isolation(self, level: str) -> Manifest:
        """With one more level, unless it is known."""
        known = not level or level in self.isolation
        return self if known else dataclasses.replace(self, isolation=tuple(sorted({*self.isolation, level})))

    def to_json(self) -> dict[str, Any]:
        """As run.json holds it."""
        return {"format": FORMAT, **plain(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Manifest:
        """Raises StateCorrupt."""
        number = record.get("format")
        if not isinstance(number, int):
            raise StateCorrupt("run.json is no manifest of a run", hint="sandlot eval list")
        if number > FORMAT:
            raise StateCorrupt(f"run.json has format {number}, this sandlot knows {FORMAT}", hint="upgrade sandlot")
        try:
            trials = tuple(
                PlannedTrial(trial_of(each["trial"]), str(each["digest"]), str(each["plan"]))
                for each in record["trials"]
            )
            return cls(
                id=str(record["id"]),
                created=str(record["created"]),
                options=RunOptions.from_json(record["options"]),
                trials=trials,
                suites=tuple(dict(each) for each in record["suites"]),
                targets=tuple(dict(each) for each in record["targets"]),
                plans=dict(record["plans"]),
                versions=dict(record["versions"]),
                merged_from=tuple(str(each) for each in record["merged_from"]),
                workspaces=tuple(dict(each) for each in record["workspaces"]),
                isolation=tuple(str(each) for each in record["isolation"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateCorrupt(f"run.json cannot be read: {error!r}", hint="start a new run") from error


def new_id() -> str:
    """Sorts by time; distinct even when a hundred shards start in one second."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(3).hex()}"


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def versions() -> dict[str, str]:
    """Of what has a say in a result."""
    return {
        "sandlot": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }


def digest_of(test: TestCase, target: TargetSpec, threshold: float) -> str:
    """Of what a trial does. Comments, order and line numbers of the YAML do not count; a changed prompt does."""
    asked = {
        "test": _what(test),
        "target": _what(target),
        "threshold": threshold,
    }
    return hash_of(asked)


def plan_facts(plan: WorkspacePlan) -> dict[str, Any]:
    """What the manifest says about a workspace plan: all of it but what may be a secret, for reports are passed on."""
    from sandlot.evals.gitclient import shown_url

    found: dict[str, Any] = plain(plan)
    for repo in found["repos"]:
        repo["url"] = shown_url(repo["url"])
    found["env"] = sorted(plan.env)
    return found


def plan_digest(test: TestCase) -> str:
    """Of a test's workspace plan: tests with the same one stand on the same base."""
    return hash_of(_what(test.workspace))


def suite_facts(suite: Suite, commits: dict[str, str]) -> dict[str, Any]:
    """What the manifest says about a suite."""
    folder = str(Path(suite.file).parent)
    if folder not in commits:
        commits[folder] = commit_of(folder)
    return {
        "name": suite.name,
        "file": suite.file,
        "description": suite.description,
        "tags": list(suite.tags),
        "commit": commits[folder],
        "digest": _portable(suite, suite.file),
    }


def target_facts(targets: Sequence[TargetSpec]) -> list[dict[str, Any]]:
    """What the manifest says about targets."""
    return [
        {
            "name": each.name,
            "kind": each.kind,
            "place": str(each.place),
            "placement": each.placement.value,
            "digest": _portable(each, each.place.file),
        }
        for each in targets
    ]


def commit_of(folder: str) -> str:
    """The commit that a folder of the user's is checked out at; empty where there is none.

    rev-parse of the user's own repository, where suites lie: it runs no hook and reads no working tree. Never called on
    anything that a target could have written.
    """
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        answer = process.run(["git", "-C", folder, "rev-parse", "HEAD"], env=environment, timeout=GIT_TIMEOUT_S)
    except Exception:  # no git here, or one that hangs: a manifest without the commit is a manifest
        return ""
    return answer.stdout.decode("ascii", "replace").strip() if answer.returncode == 0 else ""


def _what(value: object) -> Any:
    """Without what says where something stands, instead of what it is."""
    return plain(value, frozenset({"place", "provenance"}))


def _portable(value: object, file: str) -> str:
    """The same on every machine that has the project somewhere: shards of a CI matrix have a checkout each."""
    text = json.dumps(_what(value), sort_keys=True)
    return hash_of(text.replace(json.dumps(str(project_of(Path(file).parent)))[1:-1], "."))


def hash_of(value: object) -> str:
    """Of anything that JSON has."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
