"""Graders of the answer's text."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any

from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.subject import Finding, Grader, GraderFailed, Subject

__all__ = ["Contains", "EndsWith", "Equals", "IsJson", "Regex", "StartsWith", "parsed_answer", "search"]

REGEX_S = 10.0
"""A pattern that takes longer on an answer is given up: an answer may be made to be slow."""
DEEPEST = 200
"""Levels of an answer in JSON: comparing, validating and printing it recurse, and a target chooses how deep."""
SHORT = 2000
"""Characters of an answer in which a simple pattern is searched for right here."""
_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
_NO_MEANING = "aguvy"
"""Flags of other languages' expressions that change nothing here."""


@dataclass(frozen=True, slots=True)
class Contains(Grader):
    """``contains``, ``icontains``, each with ``-any`` or ``-all``: all of the values unless it is ``-any``."""

    values: tuple[str, ...]
    any_of: bool
    ignore_case: bool

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> Contains:
        match = fields.choice("match", ("all", "any"), "any" if spec.type.endswith("-any") else "all")
        return cls(_values(fields), match == "any", spec.type.startswith("icontains"))

    def find(self, subject: Subject) -> Finding:
        text = _folded(subject.answer.text, self.ignore_case)
        hits = tuple(each for each in self.values if _folded(each, self.ignore_case) in text)
        misses = tuple(each for each in self.values if each not in hits)
        if self.any_of:
            return Finding(float(bool(hits)), hits, () if hits else misses)
        return Finding(len(hits) / len(self.values), hits, misses)

    pass_score = 1.0


@dataclass(frozen=True, slots=True)
class _Compared(Grader):
    values: tuple[str, ...]
    ignore_case: bool

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> _Compared:
        return cls(_values(fields), fields.flag("ignore_case"))

    def find(self, subject: Subject) -> Finding:
        text = _folded(subject.answer.text.strip(), self.ignore_case)
        passed = any(self.fits(text, _folded(each.strip(), self.ignore_case)) for each in self.values)
        return Finding.of(passed, " or ".join(self.values))

    def fits(self, text: str, value: str) -> bool:
        raise NotImplementedError


class StartsWith(_Compared):
    """``starts-with``: after trimming."""

    def fits(self, text: str, value: str) -> bool:
        return text.startswith(value)


class EndsWith(_Compared):
    """``ends-with``: after trimming."""

    def fits(self, text: str, value: str) -> bool:
        return text.endswith(value)


class Equals(_Compared):
    """``equals``: after trimming."""

    def fits(self, text: str, value: str) -> bool:
        return text == value


@dataclass(frozen=True, slots=True)
class Regex(Grader):
    """``regex``: found anywhere in the answer; ``flags`` of i, m, s, x."""

    pattern: str
    flags: int

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> Regex:
        pattern = fields.text("pattern") if fields.has("pattern") else fields.text("value")
        flags = 0
        for letter in fields.text("flags", ""):
            if letter not in _FLAGS and letter not in _NO_MEANING:
                raise fields.wrong(f"unknown flag '{letter}'", f"known: {', '.join(_FLAGS)}")
            flags |= _FLAGS.get(letter, 0)
        try:
            re.compile(pattern, flags)
        except re.error as error:
            raise fields.wrong(f"the pattern is not a regular expression: {error}") from None
        return cls(pattern, flags)

    def find(self, subject: Subject) -> Finding:
        return Finding.of(search(self.pattern, self.flags, subject.answer.text), self.pattern)


@dataclass(frozen=True, slots=True)
class IsJson(Grader):
    """``is-json``: the whole answer, or with ``fenced: true`` the one fenced block in it."""

    fenced: bool

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> IsJson:
        return cls(fields.flag("fenced"))

    def find(self, subject: Subject) -> Finding:
        try:
            parsed_answer(subject.answer.text, self.fenced)
        except ValueError as error:
            return Finding(0.0, misses=("valid JSON",), reasoning=str(error))
        return Finding.of(True, "valid JSON")


def parsed_answer(text: str, fenced: bool) -> Any:
    """The answer as JSON. Raises ValueError; NaN and Infinity are not JSON."""
    if fenced:
        blocks = re.findall(r"^```[a-zA-Z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        text = blocks[0] if len(blocks) == 1 else text
    try:
        found = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [found]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return found
    raise ValueError(f"nested more than {DEEPEST} levels deep")


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _values(fields: Fields) -> tuple[str, ...]:
    name = next((each for each in ("value", "values", "text") if fields.has(each)), "value")
    found = fields.any(name)
    if isinstance(found, int | float) and not isinstance(found, bool):
        return (str(found),)
    return fields.texts(name, None)


def _folded(text: str, ignore_case: bool) -> str:
    return text.casefold() if ignore_case else text


def search(pattern: str, flags: int, text: str) -> bool:
    """In a process of its own: an answer that makes the pattern backtrack for ever cannot hang the run.

    Short answers to patterns with at most one repetition, of a single character or class, need no process.
    """
    if len(text) <= SHORT and _simple(pattern):
        return re.search(pattern, text, flags) is not None
    return _bounded(pattern, flags, text)


@functools.cache
def _simple(pattern: str) -> bool:
    """Whether matching takes no more than the square of the text's length.

    One repetition of a group is enough for more: ``(a|aa)+b`` tries every way to divide a run of a.
    """
    plain = re.sub(r"\\[^0-9]|\(\?(?=:)", "", pattern)  # escaped characters, and what a question mark only marks
    repetitions = re.findall(r"[*+?{]", plain)
    return len(repetitions) <= 1 and not re.search(r"\)[*+?{]|\\[0-9]", plain)


_SEARCHER = """
import json, re, sys
pattern, flags, text = json.load(sys.stdin)
print(int(re.search(pattern, text, flags) is not None))
"""


def _bounded(pattern: str, flags: int, text: str) -> bool:
    import subprocess
    import sys

    from sandlot import process

    try:
        done = process.run(
            [sys.executable, "-I", "-S", "-c", _SEARCHER], stdin=json.dumps([pattern, flags, text]).encode(), env={},
            timeout=REGEX_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise GraderFailed(f"the pattern took longer than {REGEX_S:g} s on this answer") from None
    if done.returncode:
        raise GraderFailed(f"the pattern could not be searched for: {done.message}")
    return done.stdout.strip() == b"1"
