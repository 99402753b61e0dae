"""task.toml of a Harbor task: its fields, typed, and what of them makes a task one that is not run here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Place
from sandlot.evals.yaml_source import shown_path

__all__ = ["Task", "read_task"]

_KNOWN = {
    "": "schema_version version task metadata agent verifier environment solution artifacts steps "
    "multi_step_reward_strategy source",
    "task": "name version description authors keywords",
    "agent": "timeout_sec user network_mode allowed_hosts",
    "verifier": "timeout_sec env user environment_mode environment collect network_mode allowed_hosts",
    "environment": "build_timeout_sec docker_image os cpus memory_mb storage_mb gpus gpu_types workdir env skills_dir "
    "healthcheck mcp_servers network_mode allowed_hosts memory storage allow_internet",
    "solution": "env",
}
"""Fields of versions 1.0 to 1.4. ``metadata`` is free."""
_REFUSED = (
    ("", "steps", "tasks of several steps are not run"),
    ("environment", "mcp_servers", "tasks with MCP servers of their own are not run"),
    ("environment", "healthcheck", "tasks whose environment is a service are not run"),
    ("environment", "skills_dir", "tasks with skills of their own are not run"),
    ("environment", "gpus", "tasks that need GPUs are not run"),
    ("environment", "allowed_hosts", "tasks that name hosts to reach are not run: a target's file says what it may"),
    ("agent", "allowed_hosts", "tasks that name hosts to reach are not run: a target's file says what it may"),
    ("agent", "user", "agents as another user are not run"),
    ("verifier", "environment", "tests in an image of their own are not run"),
    ("verifier", "collect", "tests that collect from other services are not run"),
    ("verifier", "user", "tests as another user are not run"),
    ("verifier", "allowed_hosts", "tests have no network"),
)


@dataclass(frozen=True, slots=True)
class Task:
    """What task.toml says. Every reader raises SuiteInvalid for a value of the wrong kind."""

    place: Place
    written: Mapping[str, Any]

    def wrong(self, problem: str, hint: str = "") -> SuiteInvalid:
        """The error to raise for something written here."""
        return SuiteInvalid(f"{self.place}: {problem}", hint=hint)

    def table(self, name: str) -> dict[str, Any]:
        """A table; empty when it is missing. An empty name: the file itself."""
        found = self.written.get(name, {}) if name else self.written
        if not isinstance(found, dict):
            raise self.wrong(f"{name} is not a table")
        return found

    def text(self, table: str, key: str) -> str:
        """A text; empty when it is missing."""
        found = self.table(table).get(key, "")
        if not isinstance(found, str):
            raise self.wrong(f"{table}.{key} is not a text")
        return found

    def texts(self, table: str, key: str) -> tuple[str, ...]:
        """A list of texts; empty when it is missing."""
        found = self.table(table).get(key, [])
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise self.wrong(f"{table}.{key} is not a list of texts")
        return tuple(found)

    def words(self, table: str, key: str) -> dict[str, str]:
        """A table of texts and numbers, as texts."""
        found = self.table(table).get(key, {})
        if not isinstance(found, dict) or not all(isinstance(each, str | int | float) for each in found.values()):
            raise self.wrong(f"{table}.{key} is not a table of texts")
        return {name: str(value) for name, value in found.items()}

    def seconds(self, table: str, key: str) -> float | None:
        """A number of seconds above 0, or None."""
        found = self.table(table).get(key)
        if found is None:
            return None
        number = isinstance(found, int | float) and not isinstance(found, bool)
        if not number or not math.isfinite(found) or found <= 0:
            raise self.wrong(f"{table}.{key} is no number of seconds above 0")
        return float(found)


def read_task(place: Place, folder: Path, written: Mapping[str, Any]) -> Task:
    """Raises SuiteInvalid for everything that would make a trial here something else than the task."""
    task = Task(place, written)
    for table, known in _KNOWN.items():
        for key in task.table(table):
            if key not in known.split():
                name = f"{table}.{key}" if table else key
                near = difflib.get_close_matches(key, known.split(), 1)
                raise task.wrong(f"unknown field {name}", f"did you mean {near[0]}?" if near else "")
    version = written.get("schema_version", written.get("version", "1.0"))
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise task.wrong(f"version {version!r} of the format is not known", "1.0 to 1.4 are")
    for table, key, why in _REFUSED:
        if task.table(table).get(key):
            raise task.wrong(f"{table}.{key}: {why}" if table else f"{key}: {why}")
    if task.table("environment").get("os", "linux") != "linux":
        raise task.wrong("environment.os: only linux is run")
    if task.table("verifier").get("environment_mode", "shared") != "shared":
        raise task.wrong("verifier.environment_mode: tests in an image of their own are not run")
    _check_files(task, folder)
    return task


def _check_files(task: Task, folder: Path) -> None:
    for name in ("docker-compose.yaml", "docker-compose.yml"):
        if (folder / "environment" / name).exists():
            raise SuiteInvalid(f"{shown_path(folder / 'environment' / name)}: tasks of several services are not run")
    if not (folder / "environment" / "Dockerfile").is_file():
        raise task.wrong("there is no environment/Dockerfile", "images are not pulled")
    if not (folder / "tests" / "test.sh").is_file():
        raise task.wrong("there is no tests/test.sh, so nothing could grade it")
