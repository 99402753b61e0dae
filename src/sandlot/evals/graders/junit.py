"""Reading JUnit XML that a hostile test run may have written."""

from __future__ import annotations

from dataclasses import dataclass
from xml.parsers import expat

__all__ = ["JunitProblem", "Report", "read_junit"]

MAX_BYTES = 64 << 20
MAX_CASES = 200_000
MAX_DEPTH = 64


class JunitProblem(Exception):
    """The report is no JUnit XML that we read."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of each test, by ``classname::name``."""

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    """Failures and errors."""
    skipped: tuple[str, ...]

    @property
    def total(self) -> int:
        """Of all that was reported."""
        return len(self.passed) + len(self.failed) + len(self.skipped)


def read_junit(text: str) -> Report:
    """Raises JunitProblem.

    expat itself is used, with a refusal of any document type: without one there are no entities to expand or to fetch
    (CWE-776, CWE-611). Depth and number of cases are bounded; no tree is built, and texts are not kept.
    """
    if len(text) > MAX_BYTES:
        raise JunitProblem(f"it is larger than {MAX_BYTES >> 20} MiB")
    reader = _Reader()
    # As UTF-8 whatever the declaration says: it was decoded already.
    parser = expat.ParserCreate("UTF-8")
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.EntityDeclHandler = reader.entity
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise JunitProblem(f"it is not XML: {error}") from None
    return reader.report()


class _Reader:
    def __init__(self) -> None:
        self._depth = 0
        self._roots: list[str] = []
        self._case: str | None = None
        self._state = "passed"
        self._found: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
        self._count = 0

    def doctype(self, *_: object) -> None:
        raise JunitProblem("it has a document type, which JUnit XML has not")

    def entity(self, *_: object) -> None:
        raise JunitProblem("it declares an entity")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise JunitProblem("it is nested too deeply")
        if self._depth == 1:
            self._roots.append(name)
        if name == "testcase":
            self._count += 1
            if self._case is not None or self._count > MAX_CASES:
                raise JunitProblem("test cases within test cases, or too many of them")
            classname = attributes.get("classname", "")
            self._case = f"{classname}::{attributes.get('name', '')}" if classname else attributes.get("name", "")
            self._state = "passed"
        elif self._case is not None and name in ("failure", "error"):
            self._state = "failed"
        elif self._case is not None and name == "skipped" and self._state == "passed":
            self._state = "skipped"

    def end(self, name: str) -> None:
        self._depth -= 1
        if name == "testcase" and self._case is not None:
            self._found[self._state].append(self._case)
            self._case = None

    def report(self) -> Report:
        if self._roots not in (["testsuites"], ["testsuite"]):
            raise JunitProblem("its root is neither testsuites nor testsuite")
        return Report(*(tuple(self._found[state]) for state in ("passed", "failed", "skipped")))
