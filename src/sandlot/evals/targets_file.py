"""``targets.yaml``: the systems under test, by name. The nearest file upward counts, and it alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandlot.evals.cases import Placement, TargetSpec
from sandlot.evals.problems import Problems, nearest
from sandlot.evals.targets import KINDS
from sandlot.evals.yaml_source import Document, read_yaml

__all__ = ["NAMES", "find_targets", "load_targets"]

NAMES = (".sandlot/targets.yaml", ".sandlot/targets.yml", ".agentv/targets.yaml", ".agentv/targets.yml", "targets.yaml")
"""In this order, in each folder upward."""
_RENAMED = {"claude": "claude-code", "claude-cli": "claude-code", "copilot": "copilot-cli", "codex-cli": "codex"}
"""Kinds as other tools call them."""
_OWN = frozenset({"name", "kind", "provider", "placement", "timeout_seconds", "timeout_s"})
_IGNORED = frozenset(
    {"judge_target", "grader_target", "provider_batching", "workers", "log_dir", "log_format", "verbose",
     "keep_temp_files", "max_retries"}
)  # fmt: skip
"""Of other tools: graders, batches, workers, logs and retries are said elsewhere here; to refuse them helps nobody."""
_REMOVED = {
    "workspace_template": "write workspace: {template: ...} in the suite",
    "workspaceTemplate": "write workspace: {template: ...} in the suite",
    "hooks": "write workspace: {hooks: ...} in the suite",
    "use_target": "write the target out",
}
MOST_PARENTS = 64


def find_targets(start: Path) -> Path | None:
    """The targets file of a folder, or None."""
    start = Path(start).absolute()
    for folder in [start, *start.parents][:MOST_PARENTS]:
        for name in NAMES:
            if (folder / name).is_file():
                return folder / name
    return None


def load_targets(start: Path, *, environ: Mapping[str, str] | None = None) -> dict[str, TargetSpec]:
    """The targets that suites in the folder ``start`` can name; empty where there is no file.

    Its kind, and that kind's own fields, are checked when a target is used: nobody needs the keys of targets that never
    run, or has to take those out that only another tool knows. Raises SuiteInvalid.
    """
    path = find_targets(start)
    if path is None:
        return {}
    problems = Problems()
    found = _Reader(read_yaml(path, os.environ if environ is None else environ), problems).targets()
    problems.raise_if_any()
    return found


class _Reader:
    def __init__(self, document: Document, problems: Problems) -> None:
        self.document = document
        self.problems = problems

    def targets(self) -> dict[str, TargetSpec]:
        value = self.document.value
        if not isinstance(value, dict) or not isinstance(value.get("targets"), list):
            self.problems.add(self.document.place("targets"), "a targets file is a mapping with a list, targets")
            return {}
        for key in value:
            if key not in ("targets", "$schema"):
                self.problems.add(self.document.place(key), f"unknown field {key}", nearest(key, ["targets"]))
        made: dict[str, TargetSpec] = {}
        for at, each in enumerate(value["targets"]):
            target = self.target(at, each)
            if target is None:
                continue
            if target.name in made:
                hint = f"first in {made[target.name].place}"
                self.problems.add(target.place, f"the target {target.name!r} is there twice", hint)
            made.setdefault(target.name, target)
        return made

    def target(self, at: int, written: Any) -> TargetSpec | None:
        place = self.document.place("targets", at)
        if not isinstance(written, dict):
            self.problems.add(place, f"targets[{at}] is not a mapping")
            return None
        name = written.get("name")
        if not isinstance(name, str) or not name.strip():
            self.problems.add(place, f"targets[{at}].name is missing", "write a text")
            return None
        for key, instead in _REMOVED.items():
            if key in written:
                self.problems.add(
                    self.document.place("targets", at, key), f"{key} is not a field of the target {name!r}", instead
                )
        kind = self.kind(at, name, written)
        placement = self.placement(at, name, written.get("placement"))
        timeout = self.timeout(at, name, written)
        config = {key: value for key, value in written.items() if key not in _OWN | _IGNORED | _REMOVED.keys()}
        return TargetSpec(name, kind, config, place, self.document.folder, placement, timeout)

    def kind(self, at: int, name: str, written: dict[str, Any]) -> str:
        key = "kind" if "kind" in written else "provider"
        place, kind = self.document.place("targets", at, key), written.get(key)
        if "kind" in written and "provider" in written:
            self.problems.add(place, f"the target {name!r} has a kind and a provider", "write kind alone")
        if kind is None:
            self.problems.add(
                place, f"the kind of the target {name!r} is missing", "known: " + ", ".join(sorted(KINDS))
            )
            return ""
        if not isinstance(kind, str):
            self.problems.add(place, f"the kind of the target {name!r} is not text")
            return ""
        return _RENAMED.get(kind, kind)

    def placement(self, at: int, name: str, written: Any) -> Placement:
        if written is None:
            return Placement.WORKSPACE
        if written in ("workspace", "host"):
            return Placement(written)
        place = self.document.place("targets", at, "placement")
        self.problems.add(place, f"the placement of the target {name!r} is not one of workspace or host")
        return Placement.WORKSPACE

    def timeout(self, at: int, name: str, written: dict[str, Any]) -> float | None:
        key = "timeout_seconds" if "timeout_seconds" in written else "timeout_s"
        value = written.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 604_800:
            place = self.document.place("targets", at, key)
            self.problems.add(place, f"{key} of the target {name!r} is no number of seconds above 0")
            return None
        return float(value)
