"""Reading the own fields of a target or grader: typed, with the place in the message, and nothing left over."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sandlot.errors import UsageError
from sandlot.evals.cases import Place

__all__ = ["Fields"]


class Fields:
    """The fields of one mapping; each read one is ticked off, and ``done`` refuses what nobody read."""

    def __init__(self, config: Mapping[str, Any], what: str, place: Place) -> None:
        self._config = config
        self.what = what
        self.place = place
        self._known: set[str] = set()

    def wrong(self, problem: str, hint: str = "") -> UsageError:
        """The error to raise for something written here."""
        return UsageError(f"{self.place}: {self.what}: {problem}", hint=hint)

    def has(self, name: str) -> bool:
        """Whether it is written, and not empty."""
        self._known.add(name)
        return self._config.get(name) is not None

    def any(self, name: str, default: Any = None) -> Any:
        """Whatever is there."""
        self._known.add(name)
        found = self._config.get(name)
        return default if found is None else found

    def text(self, name: str, default: str | None = None) -> str:
        """A text. Raises UsageError when it is missing and has no default, or is something else."""
        found = self.any(name, default)
        if found is None:
            raise self.wrong(f"'{name}' is missing")
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            raise self.wrong(f"'{name}' must be a text")
        return str(found)

    def optional_text(self, name: str) -> str | None:
        """A text, or None."""
        return self.text(name) if self.has(name) else None

    def texts(self, name: str, default: Sequence[str] | None = ()) -> tuple[str, ...]:
        """A list of texts; one text is a list of one. ``default`` None: it must be there, and not empty."""
        found = self.any(name, default)
        if isinstance(found, str):
            found = (found,)
        if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
            raise self.wrong(f"'{name}' must be a list of texts" if self.has(name) else f"'{name}' is missing")
        if default is None and not found:
            raise self.wrong(f"'{name}' is empty")
        return tuple(found)

    def command(self, name: str = "command") -> tuple[str, ...]:
        """An argument vector; a text goes to a shell."""
        found = self.any(name)
        if isinstance(found, str) and found.strip():
            return ("/bin/sh", "-c", found)
        words = self.texts(name, None)
        if not words[0]:
            raise self.wrong(f"'{name}' begins with an empty word")
        return words

    def number(self, name: str, *, least: float | None = None, most: float | None = None) -> float | None:
        """A finite number within bounds, or None."""
        found = self.any(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise self.wrong(f"'{name}' must be a number")
        if (least is not None and found < least) or (most is not None and found > most):
            raise self.wrong(f"'{name}' must be {_bounds(least, most)}")
        return float(found)

    def count(self, name: str, *, least: int = 0, most: int | None = None) -> int | None:
        """A whole number within bounds, or None."""
        found = self.number(name, least=least, most=most)
        if found is None:
            return None
        if found != int(found):
            raise self.wrong(f"'{name}' must be a whole number")
        return int(found)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        found = self.any(name, default)
        if not isinstance(found, bool):
            raise self.wrong(f"'{name}' must be true or false")
        return found

    def choice(self, name: str, known: Sequence[str], default: str) -> str:
        """One of some words."""
        found = self.text(name, default)
        if found not in known:
            near = difflib.get_close_matches(found, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else ""
            raise self.wrong(f"'{name}' must be one of: {', '.join(known)}", hint)
        return found

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A mapping with texts as keys; empty when it is missing."""
        found = self.any(name, {})
        if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
            raise self.wrong(f"'{name}' must be a mapping")
        return found

    def words(self, name: str) -> dict[str, str]:
        """A mapping from texts to texts, such as environment variables."""
        inner = Fields(self.mapping(name), f"{self.what}, '{name}'", self.place)
        return {key: inner.text(key, "") for key in self.mapping(name)}

    def items(self, name: str) -> list[Fields]:
        """A list of mappings; empty when it is missing."""
        found = self.any(name, ())
        if not isinstance(found, list | tuple) or not all(isinstance(each, Mapping) for each in found):
            raise self.wrong(f"'{name}' must be a list of mappings")
        return [Fields(each, f"{self.what}, {name}[{at}]", self.place) for at, each in enumerate(found)]

    def inner(self, name: str) -> Fields:
        """The fields of a mapping below."""
        return Fields(self.mapping(name), f"{self.what}, '{name}'", self.place)

    def done(self) -> None:
        """Raises UsageError for a field that nobody asked for."""
        for name in self._config:
            if name not in self._known:
                near = difflib.get_close_matches(str(name), sorted(self._known), 1)
                hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(self._known))}"
                raise self.wrong(f"unknown field '{name}'", hint)


def _bounds(least: float | None, most: float | None) -> str:
    if most is None:
        return f"at least {least:g}"
    return f"at most {most:g}" if least is None else f"between {least:g} and {most:g}"
