"""Blanking out the values of secrets in what leaves a workspace.

Every byte of a value becomes ``*``: lengths, offsets and cursors stay as they are. Values are found as they are and in
the encodings in which programs print them by accident; a program that means to hide a value from us can, which is why
it is given one only by ``--reveal``. Nothing here is loaded for a workspace without secrets.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, quote_plus

from sandlot.errors import SandlotError

__all__ = ["Masking", "Redactor"]

LEAST = 8
"""Shorter encoded parts of a value would be found in ordinary text."""
PIECE = 1 << 18


class Redactor:
    """Knows what to blank out. Safe to use from several threads."""

    def __init__(self, values: Iterable[str]) -> None:
        found = {spelling for value in values for spelling in _spellings(value)}
        self._patterns = tuple(sorted(found))
        self.longest = max(map(len, self._patterns), default=0)

    def mask(self, data: bytes) -> bytes:
        """The same number of bytes; the same object when there is nothing to hide."""
        out = bytearray(data)
        return bytes(out) if self.mark(data, out) else data

    def mark(self, data: bytes, out: bytearray) -> bool:
        """Blank out in ``out`` what is found in ``data``, overlaps included; whether anything was."""
        hit = False
        for pattern in self._patterns:
            at = data.find(pattern)
            while at >= 0:
                out[at : at + len(pattern)] = b"*" * len(pattern)
                hit = True
                at = data.find(pattern, at + 1)
        return hit

    def found_in(self, data: bytes) -> bool:
        """Whether there is anything to hide."""
        return any(pattern in data for pattern in self._patterns)

    def begun(self, data: bytes) -> int:
        """How many bytes at the end of ``data`` may be the beginning of something to hide."""
        most = 0
        for pattern in self._patterns:
            at = data.find(pattern[:1], max(0, len(data) - len(pattern) + 1))
            while at >= 0:
                if pattern.startswith(data[at:]):
                    most = max(most, len(data) - at)
                    break
                at = data.find(pattern[:1], at + 1)
        return most

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
        return self.mask(file.read(end + self.longest - low))[start - low : end - low]

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


class Masking:
    """A stream that is masked as it passes: holds back no more than what may be the beginning of a value."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._rest = b""
        self._masked = b""
        """The held part as it will be passed on: what was found in it may have begun in what has passed."""
        self.hits = 0
        """How often something was found."""

    @property
    def held_masked(self) -> bool:
        """Whether something was found in the bytes held back."""
        return self._rest != self._masked

    def feed(self, data: bytes) -> bytes:
        """What may pass now."""
        whole = self._rest + data
        out = bytearray(self._masked + data)
        if self._redactor.mark(whole, out):
            self.hits += 1
        cut = len(whole) - self._redactor.begun(whole)
        self._rest, self._masked = whole[cut:], bytes(out[cut:])
        return bytes(out[:cut])

    def flush(self) -> bytes:
        """The rest, at the end."""
        out, self._rest, self._masked = self._masked, b"", b""
        return out


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _spellings(value: str) -> set[bytes]:
    """A value as it is, and as programs encode it."""
    raw = value.encode()
    texts = {quote(value), quote(value, safe=""), quote_plus(value), html.escape(value), raw.hex(), raw.hex().upper()}
    texts |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    texts |= {_lower_escapes(text) for text in list(texts) if "%" in text}
    found = {raw, *(text.encode() for text in texts)}
    for shift in range(3):  # wherever in a longer text it stands
        found |= {_inner(base64.b64encode(bytes(shift) + raw), shift, len(raw))}
        found |= {_inner(base64.urlsafe_b64encode(bytes(shift) + raw), shift, len(raw))}
    return {spelling for spelling in found if len(spelling) >= LEAST}


def _inner(encoded: bytes, shift: int, length: int) -> bytes:
    """The characters of a base64 text that depend on the value alone."""
    return encoded[(0, 2, 3)[shift] : (shift + length) * 8 // 6]


def _lower_escapes(text: str) -> str:
    parts = text.split("%")
    return parts[0] + "".join("%" + part[:2].lower() + part[2:] for part in parts[1:])
