"""Finding values of secrets in streams of bytes: the same inside, before output is stored, and outside, in answers.

Every byte of a value becomes ``*``: lengths, offsets and cursors stay as they are. Values are found as they are and in
the encodings in which programs print them by accident.
"""

import base64
import html
import json
from urllib.parse import quote, quote_plus

LEAST = 8
"""Shorter encoded parts of a value would be found in ordinary text."""
LEAST_BEGUN = 4
"""Less of the beginning of a value, at the end of what there is so far, gives nothing away."""


class Patterns:
    """Knows what to blank out. Safe to use from several threads."""

    def __init__(self, values: "list[str]") -> None:
        found = {spelling for value in values for spelling in _spellings(value)}
        self._patterns = tuple(sorted(found))
        self.longest = max(map(len, self._patterns), default=0)

    def mask(self, data: bytes) -> bytes:
        """The same number of bytes; the same object when there is nothing to hide."""
        out = bytearray(data)
        return bytes(out) if self.mark(data, out) else data

    def mask_so_far(self, data: bytes) -> bytes:
        """The same for the end of something that may go on: a value that has only begun there is blanked out, too."""
        begun = self.begun(data)
        masked = self.mask(data)
        return masked if begun < LEAST_BEGUN else masked[: len(data) - begun] + b"*" * begun

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


class Masking:
    """A stream that is masked as it passes: holds back no more than what may be the beginning of a value."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._rest = b""
        self._masked = b""
        # The held part as it will be passed on: what was found in it may have begun in what has passed.
        self.hits = 0
        # How often something was found.

    @property
    def held_masked(self) -> bool:
        """Whether something was found in the bytes held back."""
        return self._rest != self._masked

    def feed(self, data: bytes) -> bytes:
        """What may pass now."""
        whole = self._rest + data
        out = bytearray(self._masked + data)
        if self._patterns.mark(whole, out):
            self.hits += 1
        cut = len(whole) - self._patterns.begun(whole)
        self._rest, self._masked = whole[cut:], bytes(out[cut:])
        return bytes(out[:cut])

    def flush(self) -> bytes:
        """The rest, at the end."""
        out, self._rest, self._masked = self._masked, b"", b""
        return out


def _spellings(value: str) -> "set[bytes]":
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
