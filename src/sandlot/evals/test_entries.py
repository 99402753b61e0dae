"""Where the tests of a suite are written: in it, in a file it names, or in many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Place
from sandlot.evals.problems import Problems
from sandlot.evals.yaml_source import Document, Keys, read_json, read_json_lines, read_yaml

__all__ = ["Entry", "entries_of"]

_FILE = "file://"


@dataclass(frozen=True, slots=True)
class Entry:
    """A test, not checked yet."""

    document: Document
    keys: Keys


def entries_of(document: Document, path: Path, environ: Mapping[str, str], problems: Problems) -> list[Entry]:
    """All tests of a suite, in order. Files that are missing or cannot be parsed go to ``problems``."""
    return list(_Reader(document, environ, problems).all(path))


@dataclass(slots=True)
class _Reader:
    document: Document
    environ: Mapping[str, str]
    problems: Problems

    def all(self, path: Path) -> Iterator[Entry]:
        place = self.document.place("tests")
        tests = self.document.value.get("tests")
        if "tests" not in self.document.value:
            beside = path.with_name(path.name.removesuffix(path.suffix).removesuffix(".eval") + ".jsonl")
            if not path.name.endswith((".eval.yaml", ".eval.yml")) or not beside.is_file():
                return
            tests = beside.name
        if isinstance(tests, str):
            yield from self.pattern(tests.removeprefix(_FILE), place)
        elif isinstance(tests, list):
            for at, each in enumerate(tests):
                if isinstance(each, str) and each.startswith(_FILE):
                    yield from self.pattern(each.removeprefix(_FILE), self.document.place("tests", at))
                else:
                    yield Entry(self.document, ("tests", at))

    def pattern(self, written: str, place: Place) -> Iterator[Entry]:
        whole = os.path.join(self.document.folder, written)
        files = (
            [whole]
            if os.path.isfile(whole)
            else sorted(each for each in glob(whole, recursive=True) if os.path.isfile(each))
        )
        if not files:
            self.problems.add(
                place, f"the file of tests {written!r} does not exist", f"looked at {os.path.normpath(whole)}"
            )
        for each in files:
            try:
                found = list(self.file(Path(os.path.normpath(each)), place))
            except SuiteInvalid as error:
                self.problems.add_error(error)
                continue
            if not found:
                self.problems.add(place, f"there are no tests in {written!r}")
            yield from found

    def file(self, path: Path, place: Place) -> Iterator[Entry]:
        if path.suffix == ".jsonl":
            for line in read_json_lines(path, self.environ):
                yield Entry(line, ())
            return
        if path.suffix not in (".yaml", ".yml", ".json"):
            self.problems.add(place, f"{path.name} is no file of tests", "write a .yaml, .json or .jsonl file")
            return
        document = (read_json if path.suffix == ".json" else read_yaml)(path, self.environ)
        value = document.value
        if isinstance(value, dict) and set(value) == {"tests"} and isinstance(value["tests"], list):
            yield from (Entry(document, ("tests", at)) for at in range(len(value["tests"])))
        elif isinstance(value, list):
            yield from (Entry(document, (at,)) for at in range(len(value)))
        else:
            yield Entry(document, ())
