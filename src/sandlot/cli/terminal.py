"""What may reach a terminal: text from a workspace is hostile, and a terminal obeys control sequences."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import IO

__all__ = ["ByteWriter", "shown", "table"]

# Colours and bold are let through; everything else that starts with ESC, and C1 controls, can move the cursor, rename
# the window, or fill the clipboard.
_UNSAFE = re.compile(rb"\x1b(?!\[[0-9;]*m)|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]|\xc2[\x80-\x9f]")
_INCOMPLETE = re.compile(rb"(?:\x1b(?:\[[0-9;]*)?|\xc2)$")


def shown(text: str) -> str:
    """One line that is safe to print: control characters and lone surrogates are escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in text)


def _escape(found: re.Match[bytes]) -> bytes:
    data = found[0]
    if len(data) == 2:
        return b"\\x%02x" % data[1]
    return b"^" + bytes([data[0] ^ 0x40])


class ByteWriter:
    """Writes bytes from inside to one of our streams: as they are into a file or pipe, made safe on a terminal."""

    def __init__(self, stream: IO[str]) -> None:
        stream.flush()
        self._out = stream.buffer  # type: ignore[attr-defined]  # text streams of the interpreter have one
        self._filter = stream.isatty()
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write and flush."""
        if self._filter:
            data = self._held + data
            tail = _INCOMPLETE.search(data)
            self._held = data[tail.start() :] if tail and len(data) - tail.start() < 64 else b""
            if self._held:
                data = data[: -len(self._held)]
            data = _UNSAFE.sub(_escape, data)
        self._out.write(data)
        self._out.flush()

    def finish(self) -> None:
        """Write what was held back because it might have been the beginning of something harmless."""
        held, self._held = self._held, b""
        if held:
            self._out.write(_UNSAFE.sub(_escape, held))
            self._out.flush()


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: with rich on a terminal, as aligned plain columns elsewhere."""
    clean = [[shown(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for header in headers:
            drawn.add_column(header, overflow="fold")
        for row in clean:
            drawn.add_row(*(Text(cell) for cell in row))  # never markup
        Console(highlight=False).print(drawn)
        return
    widths = [max(len(row[column]) for row in [list(headers), *clean]) for column in range(len(headers))]
    for row in [[header.upper() for header in headers], *clean]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
