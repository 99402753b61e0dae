"""Which files are suites: those that are named, and in folders those that look like one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from glob import glob
from pathlib import Path

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Place
from sandlot.evals.problems import Problems
from sandlot.evals.yaml_source import read_text, shown_path

__all__ = ["Found", "Kind", "discover", "is_suite"]

MOST_ENTRIES = 200_000
"""Of a folder: who names a whole disk by mistake is told so."""
_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "venv"})
_SUITE_NAMES = (".eval.yaml", ".eval.yml")
_TESTS = re.compile(r"^[\"']?(tests|eval_cases|evalcases)[\"']?\s*:", re.MULTILINE)
"""Top-level keys; the second and third so that an older suite is refused by name, not overlooked."""


class Kind(StrEnum):
    """Formats of suites."""

    SUITE = "suite"
    SKILL = "skill"
    HARBOR = "harbor"


@dataclass(frozen=True, slots=True)
class Found:
    """A suite's file, or a task's folder."""

    path: Path
    """Absolute."""
    kind: Kind


def discover(paths: Iterable[str | Path], problems: Problems) -> list[Found]:
    """Each once, in the order they are named; those of a folder by name. What is not there goes to ``problems``."""
    found: dict[Path, Found] = {}
    for named in paths:
        text = os.fspath(named)
        expanded = (
            [text] if os.path.exists(text) or not glob(text, recursive=True) else sorted(glob(text, recursive=True))
        )
        for each in expanded:
            path = Path(os.path.abspath(each))
            below = list(_named(path, problems))
            if not below and path.is_dir():
                problems.add(Place(shown_path(path)), "there is no suite in this folder", "a suite is YAML with tests:")
            for one in below:
                found.setdefault(one.path, one)
    return list(found.values())


def is_suite(path: Path) -> bool:
    """Whether this file, or what it is a part of, is taken for a suite when its folder is looked through."""
    if path.name in ("task.toml", "instruction.md"):
        return path.with_name("task.toml").is_file() and path.with_name("instruction.md").is_file()
    if path.name == "evals.json":
        return _is_skill(path)
    return path.name.lower().endswith(_SUITE_NAMES) or (path.suffix in (".yaml", ".yml") and _has_tests(path))


def _named(path: Path, problems: Problems) -> Iterator[Found]:
    name = Place(shown_path(path))
    if path.is_dir():
        yield from _below(path, problems)
    elif not path.exists():
        problems.add(name, "there is no such file or folder", "name a file with a suite, or a folder to look in")
    elif path.name == "task.toml":
        yield Found(path.parent, Kind.HARBOR)
    elif path.suffix in (".yaml", ".yml"):
        yield Found(path, Kind.SUITE)
    elif path.suffix == ".jsonl":
        yield Found(_beside(path) or path, Kind.SUITE)
    elif path.suffix == ".json":
        yield Found(path, Kind.SKILL if _is_skill(path) else Kind.SUITE)
    else:
        problems.add(
            name, "this is no suite", "a suite is a .yaml, .jsonl or evals.json file, or a folder with task.toml"
        )


def _beside(path: Path) -> Path | None:
    """The suite that says the rest about a file of tests: ``x.eval.yaml`` beside ``x.jsonl``."""
    candidates = (path.with_name(path.stem + suffix) for suffix in _SUITE_NAMES)
    return next((each for each in candidates if each.is_file()), None)


def _below(folder: Path, problems: Problems) -> Iterator[Found]:
    seen = 0
    for at, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        if seen > MOST_ENTRIES:
            problems.add(Place(shown_path(folder)), f"more than {MOST_ENTRIES} files", "name the folder of the suites")
            return
        if "task.toml" in files and "instruction.md" in files:
            folders.clear()
            yield Found(Path(at), Kind.HARBOR)
            continue
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in _SKIPPED)
        for name in sorted(files):
            path = Path(at, name)
            if is_suite(path):
                yield Found(path, Kind.SKILL if name == "evals.json" else Kind.SUITE)


def _has_tests(path: Path) -> bool:
    try:
        return path.is_file() and _TESTS.search(read_text(path)) is not None
    except SuiteInvalid:
        return False


def _is_skill(path: Path) -> bool:
    try:
        value = json.loads(read_text(path))
    except (SuiteInvalid, ValueError, RecursionError):
        return path.name == "evals.json"
    return isinstance(value, dict) and "evals" in value
