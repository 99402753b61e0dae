"""What a terminal would show of some bytes: text without escape codes, for readers who are no terminal.

pyte emulates the terminal. What it is fed is hostile: work and memory are bounded by the bytes that are rendered, by
the size of the screen and by the lines kept above it, and a sequence it stumbles over is left out.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyte

__all__ = ["RENDERED", "Rendering", "render"]

RENDERED = 64 * 1024
"""Most bytes that are rendered: some milliseconds for each kilobyte."""
SCROLLBACK = 1000
"""Lines kept above the screen."""
MOST_MARKS = 4096
"""Combining characters of one rendering: pyte collects them in a cell, at a cost that grows with their square."""
_ALTERNATE = frozenset({47, 1047, 1049})
_WIDE = 3  # DECCOLM: a program may not change the size of the terminal


@dataclass(frozen=True, slots=True)
class Rendering:
    """The lines above the screen and on it, without the empty ones at the end, and where the cursor stands."""

    scrollback: tuple[str, ...]
    screen: tuple[str, ...]
    row: int
    """Row of the cursor on the screen, from 0."""
    column: int
    alternate: bool = False
    """Whether a full-screen program has the screen: what was there before comes back when it ends."""

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join((*self.scrollback, *self.screen))


class _Screen(pyte.Screen):
    """A screen that keeps what scrolls off its top, and knows the alternate screen of full-screen programs."""

    def __init__(self, columns: int, rows: int) -> None:
        self.above: deque[Any] = deque(maxlen=SCROLLBACK)
        self._marks = 0
        self._main: Any = None
        super().__init__(columns, rows)

    def reset(self) -> None:
        """The main screen again."""
        self._main = None
        super().reset()

    def draw(self, data: str) -> None:
        """Leave out combining characters beyond MOST_MARKS."""
        if not data.isascii():
            data = "".join(char for char in data if not unicodedata.combining(char) or self._allowed())
        super().draw(data)

    def _allowed(self) -> bool:
        self._marks += 1
        return self._marks <= MOST_MARKS

    def index(self) -> None:
        """Keep the line that leaves the screen at its top."""
        top, bottom = self.margins or pyte.screens.Margins(0, self.lines - 1)
        if self.cursor.y == bottom and top == 0 and self._main is None:
            self.above.append(self.buffer[0])
        super().index()

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        """``clear`` also clears what is above."""
        super().erase_in_display(min(how, 3), *args, **kwargs)
        if how == 3:
            self.above.clear()

    def set_mode(self, *modes: int, **kwargs: Any) -> None:
        """Swap the screens, which pyte does not know."""
        if kwargs.get("private") and _ALTERNATE & set(modes) and self._main is None:
            self._main = self.buffer, self.cursor.y, self.cursor.x
            self.buffer = self._empty()
        super().set_mode(*(mode for mode in modes if mode != _WIDE), **kwargs)

    def reset_mode(self, *modes: int, **kwargs: Any) -> None:
        """Back to the screen as it was."""
        if kwargs.get("private") and _ALTERNATE & set(modes) and self._main is not None:
            (self.buffer, self.cursor.y, self.cursor.x), self._main = self._main, None
        super().reset_mode(*(mode for mode in modes if mode != _WIDE), **kwargs)

    @property
    def alternate(self) -> bool:
        return self._main is not None

    def _empty(self) -> Any:
        blank = self.default_char
        return defaultdict(lambda: pyte.screens.StaticDefaultDict(blank))


class _Forgiving:
    """The screen as the parser sees it: a sequence with arguments that a handler does not expect does nothing."""

    def __init__(self, screen: _Screen) -> None:
        self._screen = screen

    def __getattr__(self, name: str) -> Callable[..., None]:
        handler = getattr(self._screen, name)

        def handle(*args: Any, **kwargs: Any) -> None:
            try:
                handler(*args, **kwargs)
            except Exception:  # noqa: S110  hostile input; the rest is still worth reading
                pass

        return handle


def render(data: bytes, rows: int, columns: int) -> Rendering:
    """What a terminal of this size shows after these bytes, of which the last RENDERED count."""
    screen = _Screen(columns, rows)
    stream = pyte.Stream(strict=False)
    stream.attach(_Forgiving(screen))  # type: ignore[arg-type]  # it answers to all that a screen does
    text = data[-RENDERED:].decode("utf-8", "replace")
    for line in text.splitlines(keepends=True):
        try:
            stream.feed(line)
        except Exception:  # noqa: S112  the parser starts anew behind it
            continue
    above = [_line(line, columns) for line in screen.above]
    shown = [_line(screen.buffer[row], columns) for row in range(rows)]
    while shown and not shown[-1]:
        shown.pop()
    return Rendering(tuple(above), tuple(shown), screen.cursor.y, min(screen.cursor.x, columns - 1), screen.alternate)


def _line(cells: Any, columns: int) -> str:
    """The text of a line; the cell behind a wide character is empty. What is not printable is left out."""
    text = "".join(cells[column].data for column in range(columns)).rstrip()
    return text if text.isprintable() else "".join(char for char in text if char.isprintable())
