"""Blanking out the values of secrets in what leaves a workspace.

Every byte of a value becomes ``*``: lengths, offsets and cursors stay as they are. Values are found as they are and in
the encodings in which programs print them by accident; a program that means to hide a value from us can, which is why
it is given one only by ``--reveal``. Nothing here is loaded for a workspace without secrets.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from sandlot.errors import SandlotError
from sandlot.wire.masking import Masking, Patterns

__all__ = ["Masking", "Redactor"]

PIECE = 1 << 18


class Redactor(Patterns):
    """Knows what to blank out, in text, answers and files. Safe to use from several threads."""

    def __init__(self, values: Iterable[str]) -> None:
        super().__init__(list(values))

    def text(self, text: str) -> str:
        """Text with what is to be hidden blanked out; the same object when there is nothing."""
        data = text.encode("utf-8", "surrogatepass")
        masked = self.mask(data)
        return text if masked is data else masked.decode("utf-8", "surrogatepass")

    def value(self, value: Any) -> Any:
        """The same for whatever an answer is made of; the same object when there is nothing to hide."""
        if isinstance(value, str):
            masked = self.text(value)
            return value if masked is value else masked  # an enum's word stays an enum
        if isinstance(value, bytes):
            return self.mask(value)
        if isinstance(value, (tuple, list)):
            items = [self.value(each) for each in value]
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else type(value)(items)
        if isinstance(value, dict):
            pairs = {self.value(key): self.value(each) for key, each in value.items()}
            same = all(new is old for new, old in zip(pairs.values(), value.values(), strict=False))
            return value if same and pairs.keys() == value.keys() else pairs
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._record(value)
        return value

    def _record(self, record: Any) -> Any:
        changed = {}
        for field in dataclasses.fields(record):
            old = getattr(record, field.name)
            new = self.value(old)
            if new is not old:
                changed[field.name] = new
        if changed and any(field.name == "redacted" for field in dataclasses.fields(record)):
            changed["redacted"] = True
        return dataclasses.replace(record, **changed) if changed else record

    def error(self, error: SandlotError) -> None:
        """Blank out in an error's own words, in place."""
        error.message = self.text(error.message)
        error.hint = self.text(error.hint)
        error.details = tuple(self.text(line) for line in error.details)
        error.args = tuple(self.text(each) if isinstance(each, str) else each for each in error.args)

    def window(self, file: BinaryIO, start: int, end: int) -> bytes:
        """Bytes of a file from ``start`` to ``end``, masked by what stands around them, too."""
        low = max(0, start - self.longest)
        file.seek(low)
        wanted = end + self.longest - low
        data = file.read(wanted)
        masked = self.mask(data) if len(data) == wanted else self.mask_so_far(data)
        return masked[start - low : end - low]

    def scrub(self, path: Path) -> bool:
        """Blank out in a file, in place; whether there was anything. A file that is gone holds nothing."""
        hit = False
        with suppress(FileNotFoundError), open(path, "r+b", buffering=0, opener=_no_follow) as file:
            masking = Masking(self)
            position = 0
            while data := file.read(PIECE):
                held, hits = masking.held_masked, masking.hits
                out = masking.feed(data)
                if held or masking.hits > hits:
                    os.pwrite(file.fileno(), out, position)
                    hit = True
                position += len(out)
            if masking.held_masked:
                os.pwrite(file.fileno(), masking.flush(), position)
        return hit

    def holds(self, read: Callable[[int], bytes]) -> bool:
        """Whether a stream holds something to hide; reads it to its end, or to the first find."""
        rest = b""
        while data := read(PIECE):
            rest += data
            if self.found_in(rest):
                return True
            rest = rest[-self.longest :]
        return False


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
