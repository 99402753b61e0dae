"""What a story is, and how its steps are told and checked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, TextIO

from sandlot.modes import StartupMode

if TYPE_CHECKING:
    from smokes.hands import Hands
    from smokes.scene import Scene

__all__ = ["SmokeFailed", "Story", "Telling", "expect", "fail"]

_WIDTH = 160


class SmokeFailed(Exception):
    """Something is not as the page says."""


def fail(what: str, seen: object = "") -> NoReturn:
    """Raise SmokeFailed with what was expected, and what was there instead."""
    text = str(seen)
    raise SmokeFailed(f"{what}\n{text[:4000]}" if text else what)


def expect(holds: object, what: str, seen: object = "") -> None:
    """Raise SmokeFailed unless it holds. No ``assert``: it has to work under ``python -O`` too."""
    if not holds:
        fail(f"expected: {what}", seen)


@dataclass(slots=True)
class Telling:
    """Prints the steps as they go, and remembers them."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    steps: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        """Begin a step; its text is a heading of the story's page."""
        self.steps.append(text)
        self._print(f"  {len(self.steps)}. {text}")

    def note(self, text: str) -> None:
        """One line about what was seen. It may come from inside a workspace: no control characters."""
        line = "".join(char if char.isprintable() else " " for char in text)
        self._print(f"     {line[:_WIDTH]}")

    def _print(self, line: str) -> None:
        print(line, file=self.out, flush=True)


@dataclass(frozen=True, slots=True)
class Story:
    """One recipe. Its page is ``docs/use-cases/NAME.md``, its make target ``smoke-NAME``."""

    name: str
    mode: StartupMode
    project: str
    """The folder below ``smokes/projects`` that it starts from."""
    play: Callable[[Telling, Scene, Hands], None]
    """All of its steps, in order; raises SmokeFailed. Deletes the workspaces that it made."""
