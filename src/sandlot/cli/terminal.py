"""What may reach a terminal: text from a workspace is hostile, and a terminal obeys control sequences."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Sequence
from typing import IO

__all__ = ["ByteWriter", "shown", "table"]

# Colours and bold are let through; everything else that starts with ESC, and C1 controls, can move the cursor, rename
# the window, or fill the clipboard.
_UNSAFE = re.compile("\x1b(?!\\[[0-9;]*m)|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
# A patch is read to be judged: it may not overwrite itself, hide in a colour, or run backwards. Even the CR of a CRLF
# is shown, as ^M.
_UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INCOMPLETE = re.compile("\x1b(?:\\[[0-9;]*)?$")


def shown(text: str) -> str:
    """One line that is safe to print: control characters and lone surrogates are escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x80:
        return "^" + chr(code ^ 0x40)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class ByteWriter:
    """Writes bytes from inside to one of our streams: as they are into a file or pipe, made safe on a terminal."""

    def __init__(self, stream: IO[str], *, judged: bool = False) -> None:
        """``judged``: what is written is a text to be read, not the output of a program."""
        stream.flush()
        self._out = stream.buffer  # type: ignore[attr-defined]  # text streams of the interpreter have one
        self._filter = stream.isatty()
        self._unsafe = _UNREADABLE if judged else _UNSAFE
        # A byte that is not UTF-8 may be a C1 control to a terminal that does not speak it.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""

    def write(self, data: bytes) -> None:
        """Write and flush."""
        if self._filter:
            text = self._held + self._decoder.decode(data)
            tail = _INCOMPLETE.search(text)
            self._held = text[tail.start() :] if tail and len(text) - tail.start() < 64 else ""
            data = self._safe(text[: len(text) - len(self._held)])
        self._out.write(data)
        self._out.flush()

    def finish(self) -> None:
        """Write what was held back because it might have been the beginning of something harmless."""
        held, self._held = self._held + self._decoder.decode(b"", final=True), ""
        if held:
            self._out.write(self._safe(held))
            self._out.flush()

    def _safe(self, text: str) -> bytes:
        return self._unsafe.sub(_escape, text).encode()


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: with rich on a terminal, as aligned plain columns elsewhere."""
    clean = [[shown(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for number, header in enumerate(headers):
            drawn.add_column(header, overflow="fold", no_wrap=number == 0)  # an id is for copying
        for row in clean:
            drawn.add_row(*(Text(cell) for cell in row))  # never markup
        Console(highlight=False).print(drawn)
        return
    widths = [max(len(row[column]) for row in [list(headers), *clean]) for column in range(len(headers))]
    for row in [[header.upper() for header in headers], *clean]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
