"""What is wrong in a suite, with the place it is written at; all of it is said at once, not one mistake a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from sandlot.errors import SandlotError, SuiteInvalid
from sandlot.evals.cases import Place

__all__ = ["Problem", "Problems", "nearest"]

MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake."""

    place: Place
    text: str
    hint: str = ""

    @property
    def sentence(self) -> str:
        """Place and text; a text that came from an error names its place itself."""
        return f"{self.place}: {self.text}" if self.place.file else self.text

    def __str__(self) -> str:
        return self.sentence + (f" ({self.hint})" if self.hint else "")


class Problems:
    """Mistakes found so far, in the order they were found."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, place: Place, text: str, hint: str = "") -> None:
        """Remember one; the same again is not repeated."""
        problem = Problem(place, text, hint)
        if problem not in self.found:
            self.found.append(problem)

    def add_error(self, error: SandlotError) -> None:
        """Remember what stopped one file from being read, and go on with the others."""
        self.add(Place(""), error.message, error.hint)

    def raise_if_any(self) -> None:
        """Raises SuiteInvalid: the first mistake is its message, the others are its details."""
        if not self.found:
            return
        files = {file: at for at, file in reversed(list(enumerate(each.place.file for each in self.found)))}
        first, *others = sorted(
            self.found, key=lambda each: (files[each.place.file], each.place.line, each.place.column)
        )
        details = [str(each) for each in others[:MOST_SHOWN]]
        if len(others) > MOST_SHOWN:
            details.append(f"and {len(others) - MOST_SHOWN} more")
        raise SuiteInvalid(first.sentence, hint=first.hint, details=tuple(details))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: what was probably meant, or all that there is."""
    names = sorted(known)
    if close := get_close_matches(word, names, 1, 0.6):
        return f"did you mean {close[0]!r}?"
    return "known here: " + ", ".join(names) if names else ""
