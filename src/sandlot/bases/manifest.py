"""What a tree holds, as one row of text for each path; a tree's content id is the hash of its rows.

A row is ``kind mode size mtime data`` (mode octal, mtime in ns), where kind and data are

=====  ==========================================
``f``  a regular file and the hash of its content
``h``  a hard link to the ``f`` at path ``data``
``l``  a symlink to ``data``
``d``  a folder (``b""`` is the root)
``-``  in a delta only: nothing is here any more
=====  ==========================================

On disk a manifest is path, row, path, row, ..., each ended by a zero byte, so no byte of a name needs escaping and
twenty thousand rows are read in a few milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from sandlot.bases.descent import tree_order

__all__ = [
    "GONE",
    "Rows",
    "apply",
    "decode_pairs",
    "encode_pairs",
    "file_row",
    "folder_row",
    "is_folder",
    "link_groups",
    "link_row",
    "load",
    "symlink_row",
    "tally",
    "tree_id",
]

Rows = dict[bytes, bytes]

GONE = b"- 0 0 0 "
ID_LENGTH = 32
"""Hex digits of a content id: 128 bits. A stack of layer paths must fit one page of mount options."""


def file_row(mode: int, size: int, mtime_ns: int, digest: bytes) -> bytes:
    return b"f %o %d %d %s" % (mode & 0o777, size, mtime_ns, digest)


def link_row(leader: bytes) -> bytes:
    return b"h 0 0 0 " + leader


def symlink_row(mtime_ns: int, target: bytes) -> bytes:
    return b"l 777 %d %d %s" % (len(target), mtime_ns, target)


def folder_row(mode: int, mtime_ns: int) -> bytes:
    return b"d %o 0 %d " % (mode & 0o777, mtime_ns)


def is_folder(row: bytes | None) -> bool:
    return row is not None and row.startswith(b"d")


def tree_id(kind: str, rows: Mapping[bytes, bytes]) -> str:
    """The content id of a tree, independent of the order of ``rows``. ``kind`` keeps deltas apart from whole trees."""
    digest = hashlib.sha256(b"sandlot-%s-1\0" % kind.encode())
    digest.update(encode_pairs((path, rows[path]) for path in sorted(rows)))
    return digest.hexdigest()[:ID_LENGTH]


def apply(rows: Rows, delta: Mapping[bytes, bytes]) -> None:
    """Change ``rows`` to what they are with the delta on top."""
    rows.update(delta)
    for path, row in delta.items():
        if row == GONE:
            del rows[path]


def link_groups(rows: Mapping[bytes, bytes]) -> dict[bytes, list[bytes]]:
    """The other names of each file that has several, by the path that is its ``f``."""
    groups: dict[bytes, list[bytes]] = {}
    for path, row in rows.items():
        if row.startswith(b"h"):
            groups.setdefault(row.split(b" ", 4)[4], []).append(path)
    return groups


def tally(rows: Mapping[bytes, bytes]) -> tuple[int, int]:
    """(files and symlinks, their sizes added up); hard links count as files without size."""
    files = size = 0
    for row in rows.values():
        if not row.startswith((b"d", b"-")):
            files += 1
            size += int(row.split(b" ", 3)[2])
    return files, size


def encode_pairs(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Path, value, path, value, ..., each ended by a zero byte."""
    return b"".join([b"%s\0%s\0" % pair for pair in pairs])


def decode_pairs(data: bytes) -> Rows:
    """The inverse of encode_pairs. Raises ValueError."""
    parts = data.split(b"\0")
    if len(parts) % 2 == 0 or parts[-1]:
        raise ValueError("a manifest that ends too early")
    return dict(zip(parts[0:-1:2], parts[1:-1:2], strict=True))


def load(manifest: Path) -> Rows:
    """The rows of a manifest file. Raises OSError, ValueError."""
    return decode_pairs(manifest.read_bytes())


def in_tree_order(rows: Iterable[bytes]) -> list[bytes]:
    """Paths with each folder right before what is below it."""
    return sorted(rows, key=tree_order)
