"""Keys by name: what a terminal sends when they are pressed."""

from __future__ import annotations

import string
from collections.abc import Sequence

from sandlot.errors import UsageError

__all__ = ["KEYS", "typed"]

KEYS: dict[str, str] = {
    "enter": "\r",
    "tab": "\t",
    "escape": "\x1b",
    "space": " ",
    "backspace": "\x7f",
    "delete": "\x1b[3~",
    "insert": "\x1b[2~",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "page-up": "\x1b[5~",
    "page-down": "\x1b[6~",
    "shift-tab": "\x1b[Z",
    **{f"f{number}": "\x1bO" + "PQRS"[number - 1] for number in range(1, 5)},
    **{f"f{at + 5}": f"\x1b[{code}~" for at, code in enumerate((15, 17, 18, 19, 20, 21, 23, 24))},
    **{f"ctrl-{letter}": chr(ord(letter) & 0x1F) for letter in string.ascii_lowercase + "[\\]^_"},
    **{f"alt-{letter}": "\x1b" + letter for letter in string.ascii_lowercase + string.digits},
}  # fmt: skip


def typed(keys: Sequence[str]) -> str:
    """What pressing these keys, one after the other, sends. Raises UsageError."""
    for key in keys:
        if key.lower() not in KEYS:
            raise UsageError(f"unknown key {key!r}", hint="ctrl-c, up, tab, escape, enter, page-down, f1, alt-b, ...")
    return "".join(KEYS[key.lower()] for key in keys)
