"""What a workspace was denied: a bounded log in its folder, one line of JSON for each."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sandlot.wire import messages

__all__ = ["Denial", "DenialLog", "read", "record", "refused", "summed"]

LOG_BYTES = 256 * 1024
"""Beyond this the older half of the log is dropped."""
MAX_PLACES = 20
"""So many are named in an answer."""


@dataclass(frozen=True, slots=True)
class Denial:
    """One refused request."""

    at: str
    """UTC, as in all records."""
    host: str
    port: int
    why: str

    @property
    def place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class DenialLog:
    """Writes the log; for one process, all its threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def add(self, host: str, port: int, why: str) -> None:
        """Write one down; a full disk loses it."""
        with self._lock, contextlib.suppress(OSError):
            record(self._path, [Denial(_now(), host, port, why)])


def record(path: Path, denials: Iterable[Denial]) -> None:
    """Append to the log and keep it bounded. Raises OSError."""
    text = "".join(json.dumps([each.at, each.host[:300], each.port, each.why[:300]]) + "\n" for each in denials)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, text.encode())
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size > LOG_BYTES:
        draft = path.with_name(f"{path.name}.new")
        draft.write_bytes(path.read_bytes()[-LOG_BYTES // 2 :].partition(b"\n")[2])
        os.replace(draft, path)


def read(path: Path, *, since: str = "", until: str = "~") -> list[Denial]:
    """Denials between two times (UTC, as in records), oldest first."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):  # half a line, of a disk that was full
            at, host, port, why = json.loads(line)
            if since <= at <= until:
                found.append(Denial(str(at), str(host), int(port), str(why)))
    return found


def refused(field: bytes) -> Denial | None:
    """What an agent says it refused: time in ms, host, port. It comes from inside, so anything else is dropped."""
    words = field.decode("ascii", "replace").split(" ")
    with contextlib.suppress(ValueError, IndexError, OverflowError):
        at = datetime.fromtimestamp(messages.integer(words[0].encode(), 0, 1 << 45) / 1000, UTC)
        host = "".join(letter for letter in words[1][:253] if "!" <= letter <= "~")
        port = messages.integer(words[2].encode(), 0, 65535)
        return Denial(_stamp(at), host, port, "the network of this workspace is off")
    return None


def summed(denials: Iterable[Denial]) -> tuple[str, ...]:
    """``host:port`` with its count, each once, in order of first appearance; the last entry says how many more."""
    counts = Counter(each.place for each in denials)
    found = [f"{place} ({count} times)" if count > 1 else place for place, count in counts.items()]
    more = len(found) - MAX_PLACES
    return (*found[:MAX_PLACES], f"... and {more} more") if more > 0 else tuple(found)


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
