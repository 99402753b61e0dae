"""Finding a pattern in the lines of one file, in bounded memory."""

from __future__ import annotations

import os
import re

from sandlot.guest.tools import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST = 64 * 1024
BLOCK = 512 * 1024
LONG = 1024 * 1024
"""A line longer than this is searched in pieces; a match in it that is longer than OVERLAP may be missed."""
OVERLAP = 64 * 1024
HEAD = 8192

# In these a line's edge differs from a newline in the middle of a text, so each line is matched on its own.
_NEEDS_LINES = re.compile(r"\\[AZBz]|\(\?[^:P]|\(\?P[^<]|[*+?}]\+")


class Query:
    """What is looked for. Raises ToolError (invalid_argument) for a pattern that cannot be used."""

    def __init__(self, pattern: bytes, literal: bool, ignore_case: bool, context: int, max_line: int) -> None:
        text = pattern.decode("utf-8", "surrogateescape")
        if not text:
            raise ToolError("invalid_argument", "the pattern is empty")
        if "\n" in text:
            raise ToolError("invalid_argument", "the pattern contains a line break; lines are matched one by one")
        self.needle = pattern if literal and not ignore_case else b""
        self.by_line = not literal and _NEEDS_LINES.search(text) is not None
        self.anchored = not literal and "$" in text
        self.context = context
        self.max_line = max_line
        flags = re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
        self.search = _compile(re.escape(text) if literal else text, flags).search


def _compile(text: str, flags: int) -> re.Pattern[str]:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning about sets: for authors of Python code
            return re.compile(text, flags)
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        raise ToolError("invalid_argument", f"the regular expression is invalid{where}: {error.msg}") from None
    except (OverflowError, RecursionError, MemoryError):
        raise ToolError("invalid_argument", "the regular expression is too large") from None


class Binary(Exception):
    """The file holds a NUL byte; what was found before it stands."""


def pieces(file: int) -> Iterator[tuple[bytes, int, bool]]:
    """A file's text as (bytes, offset in its first line, whether it ends with a whole line).

    A piece consists of whole lines, except that a very long line comes in several pieces that overlap. Raises Binary
    at a NUL byte: in the first HEAD bytes before anything was given, later after what precedes it.
    """
    rest = b""
    offset = 0
    first = True
    while True:
        chunk = os.read(file, FIRST if first else BLOCK)
        nul = chunk.find(b"\0")
        if nul >= 0:
            if first and nul < HEAD:
                raise Binary
            chunk = chunk[:nul]
        buffer = rest + chunk
        cut = buffer.rfind(b"\n") + 1
        if not chunk or nul >= 0:
            if buffer:
                yield buffer, offset, True
            if nul >= 0:
                raise Binary
            return
        first = False
        if cut:
            yield buffer[:cut], offset, True
            rest = buffer[cut:]
            offset = 0
        elif len(buffer) > LONG:
            yield buffer, offset, False
            rest = buffer[-OVERLAP:]
            offset += len(buffer) - OVERLAP
        else:
            rest = buffer


class Lines:
    """The lines of one file: gives matches and their context to ``found(number, column, kind, text, at, length)``.

    Before each match it asks ``room()`` whether there is to be another one.
    """

    def __init__(
        self, query: Query, room: Callable[[], bool], found: Callable[[int, int, bytes, bytes, int, int], None]
    ) -> None:
        self.query = query
        self.room = room
        self.found = found
        self.number = 1
        """Number of the current piece's first line."""
        self.shown = 0
        """Number of the last line given."""
        self.owed = 0
        """Lines of context still to follow the last match."""
        self.tail: list[str] = []
        """The lines before the current piece, as many as context may need."""
        self.long_matched = False
        self.long_start = ""

    def scan(self, file: int) -> None:
        """Search an open file from its position. Raises Binary, OSError."""
        for data, offset, whole in pieces(file):
            if not self._piece(data, offset, whole):
                return

    def _piece(self, data: bytes, offset: int, whole: bool) -> bool:
        start = 0
        if offset or not whole:
            end = data.find(b"\n") if whole else -1
            line = data if end < 0 else data[:end]
            size = len(line)
            if whole and line.endswith(b"\r"):
                line = line[:-1]
            if not self._long_line(line, offset, whole):
                return False
            if not whole:
                return True
            start = size + 1
            self.number += 1
            self.long_matched = False
            if self.query.context:
                self._remember([self.long_start])
        if start < len(data):
            return self._whole_lines(data[start:] if start else data)
        return True

    def _long_line(self, line: bytes, offset: int, whole: bool) -> bool:
        """Search a part of a very long line, which is given at most once."""
        text = line.decode("utf-8", "surrogateescape")
        if not offset:
            self.long_start = text[: self.query.max_line + 1]
        if self.long_matched:
            return True
        # From 1 on, "^" does not take the part's beginning for the line's; nor is the end of this part the line's end.
        match = self.query.search(text, 1 if offset else 0)
        at_cut = match is not None and match.end() == len(text) and not whole
        if match is not None and not (at_cut and (self.query.anchored or self.query.by_line)):
            self.long_matched = True
            return self._show_match(text, match.start(), match.end(), offset, "", 0)
        if whole and self.owed:
            self._show_context(self.long_start)
        return True

    def _whole_lines(self, data: bytes) -> bool:
        if self.query.needle and not self.owed and self.query.needle not in data:
            if self.query.context:
                self._keep_tail(data.decode("utf-8", "surrogateescape"))
            self.number += data.count(b"\n")
            return True
        newlines = data.count(b"\n")
        if b"\r" in data:  # a line ends before its line break, of whichever kind
            data = data.replace(b"\r\n", b"\n")
            data = data[:-1] if data.endswith(b"\r") else data
        text = data.decode("utf-8", "surrogateescape")
        first = self.number
        counted = 0
        done = 0  # all before this offset that had to be shown was shown
        for start, end, low, high in self._each_line(text) if self.query.by_line else self._by_jumps(text):
            self.number += text.count("\n", counted, start)
            counted = start
            self._after(text, done, start)
            if not self._show_match(text[start:end], low, high, 0, text, start):
                return False
            done = end + 1
        self._after(text, done, len(text))
        if self.query.context:
            self._keep_tail(text)
        self.number = first + newlines
        return True

    def _each_line(self, text: str) -> Iterator[tuple[int, int, int, int]]:
        """(start, end, match start and end within the line) of each matching line, one line at a time."""
        start = 0
        while start < len(text):
            end = text.find("\n", start)
            end = len(text) if end < 0 else end
            match = self.query.search(text[start:end])
            if match is not None:
                yield start, end, match.start(), match.end()
            start = end + 1

    def _by_jumps(self, text: str) -> Iterator[tuple[int, int, int, int]]:
        """The same, jumping from match to match: what matches in a line matches in the whole text as well."""
        at = 0
        while at < len(text):
            match = self.query.search(text, at)
            if match is None:
                return
            start = text.rfind("\n", 0, match.start()) + 1
            if start >= len(text):
                return  # the empty string after the last newline is no line
            end = text.find("\n", match.start())
            end = len(text) if end < 0 else end
            low, high = match.start() - start, match.end() - start
            if match.end() > end:  # it ran over the line's end; perhaps it need not
                again = self.query.search(text[start:end])
                low, high = (-1, -1) if again is None else again.span()
            if low >= 0:
                yield start, end, low, high
            at = end + 1

    def _show_match(self, line: str, low: int, high: int, offset: int, text: str, start: int) -> bool:
        """Give a match, preceded by its context: lines of ``text`` before ``start``, and of earlier pieces."""
        if not self.room():
            return False
        wanted = min(self.query.context, self.number - self.shown - 1)
        before: list[str] = []
        end = start - 1
        while len(before) < wanted and end >= 0:
            begin = text.rfind("\n", 0, end) + 1
            before.append(text[begin:end])
            end = begin - 1
        missing = wanted - len(before)
        if missing:
            before += self.tail[::-1][:missing]
        column = len(line[:low].encode("utf-8", "surrogateescape"))
        length = len(line[low:high].encode("utf-8", "surrogateescape"))
        shown, at = clip(line.encode("utf-8", "surrogateescape"), column, self.query.max_line)
        number = self.number
        self.number -= len(before)
        for context in reversed(before):
            self.owed = 1
            self._show_context(context)
            self.number += 1
        self.number = number
        self.shown = number
        self.owed = self.query.context
        self.found(number, offset + column + 1, b"match", shown, offset + at, length)
        return True

    def _after(self, text: str, start: int, limit: int) -> None:
        """Give the lines owed after the last match, as far as they lie in ``text[start:limit]``."""
        if not self.owed:
            return
        number = self.number
        self.number = self.shown + 1
        while self.owed and start < limit:
            end = text.find("\n", start)
            end = len(text) if end < 0 else end
            self._show_context(text[start:end])
            self.number += 1
            start = end + 1
        self.number = number

    def _show_context(self, line: str) -> None:
        self.owed -= 1
        self.shown = self.number
        shown, at = clip(line.encode("utf-8", "surrogateescape"), 0, self.query.max_line)
        self.found(self.number, 0, b"context", shown, at, 0)

    def _keep_tail(self, text: str) -> None:
        lines: list[str] = []
        end = len(text) - 1 if text.endswith("\n") else len(text)
        while len(lines) < self.query.context and end >= 0:
            begin = text.rfind("\n", 0, end) + 1
            lines.append(text[begin : min(end, begin + self.query.max_line)])
            end = begin - 1
        self._remember(lines[::-1])

    def _remember(self, lines: list[str]) -> None:
        self.tail = (self.tail + lines)[-self.query.context :]


def clip(line: bytes, around: int, most: int) -> tuple[bytes, int]:
    """At most ``most`` bytes of a line about the offset ``around``, whole UTF-8 characters, and where they begin."""
    if len(line) <= most:
        return line, 0
    start = max(0, min(around - most // 4, len(line) - most))
    while start and start < len(line) and line[start] & 0xC0 == 0x80:
        start += 1
    end = min(start + most, len(line))
    for back in range(4):  # a character has at most three continuation bytes
        if end == len(line) or line[end - back] & 0xC0 != 0x80:
            end -= back if end < len(line) else 0
            break
    return line[start:end], start
