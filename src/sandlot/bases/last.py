"""What a source looked like when it was last seeded, so that only what changed since must be read again.

One file for each source and choice of options, ``sources/<key>.last``: a line of JSON, a zero byte, and the stamp of
every path as manifest pairs. Losing it costs time, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.bases import manifest
from sandlot.bases.building import write_file
from sandlot.bases.manifest import Rows
from sandlot.bases.scan import Scan
from sandlot.paths import Paths

__all__ = ["SUFFIX", "UNSURE", "Last", "stamps_of"]

SUFFIX = ".last"
UNSURE = b"?"
"""The stamp of a file that must be read again: it changed while, or right before, it was seeded."""
VERSION = 1


@dataclass(frozen=True, slots=True)
class Last:
    """The tree layers a source gave last, lowest first, and the stamps its paths had."""

    layers: tuple[str, ...]
    stamps: Rows = field(default_factory=dict)

    @classmethod
    def load(cls, paths: Paths, key: str) -> Last | None:
        """What is remembered for a source, when all the layers are still in the store."""
        try:
            head, _, pairs = (paths.sources / (key + SUFFIX)).read_bytes().partition(b"\0")
            record = json.loads(head)
            if record["version"] != VERSION:
                return None
            last = cls(tuple(str(layer) for layer in record["layers"]), manifest.decode_pairs(pairs))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return last if all(paths.layer(layer).is_dir() for layer in last.layers) else None

    def save(self, paths: Paths, key: str, via: Path) -> None:
        """Remember this for the source. Raises OSError."""
        head = json.dumps({"version": VERSION, "layers": self.layers}).encode()
        data = head + b"\0" + manifest.encode_pairs(self.stamps.items())
        write_file(paths.sources / (key + SUFFIX), data, via, sync=False)


def stamps_of(scan: Scan, drifted: Set[bytes]) -> Rows:
    """The stamps to remember after a scan was written out; ``drifted`` changed in between."""
    return {found.path: UNSURE if found.path in drifted or scan.racy(found) else found.stamp for found in scan.entries}
