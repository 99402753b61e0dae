"""Which paths of two stacks of layers may differ, found without looking at what both share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from sandlot.bases.view import Entry, View

__all__ = ["Pair", "Selection", "candidates"]

_GIT = b".git"


@dataclass(frozen=True, slots=True)
class Pair:
    """A path that is not the same file of the same layer on both sides. Folders and what is missing are None."""

    path: bytes
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class Selection:
    """A path filter: these files, and what lies below these folders. Empty: everything."""

    paths: frozenset[bytes]
    above: frozenset[bytes]
    """The folders that lead to them."""

    @classmethod
    def of(cls, paths: Sequence[bytes]) -> Selection:
        """From paths as a caller writes them: ``.``, ``src/`` and ``./src`` are understood."""
        cleaned = {b"/".join(part for part in path.split(b"/") if part not in (b"", b".")) for path in paths}
        if b"" in cleaned:
            return cls(frozenset(), frozenset())
        return cls(frozenset(cleaned), frozenset(folder for path in cleaned for folder in _folders(path)))

    def takes(self, path: bytes) -> bool:
        """Whether this path is meant."""
        return not self.paths or path in self.paths or any(folder in self.paths for folder in _folders(path))

    def leads_to(self, folder: bytes) -> bool:
        """Whether something below this folder may be meant."""
        return folder in self.above or self.takes(folder)


def _folders(path: bytes) -> Iterator[bytes]:
    """a, a/b of a/b/c."""
    at = -1
    while (at := path.find(b"/", at + 1)) >= 0:
        yield path[:at]


def candidates(old: View, new: View, selection: Selection) -> Iterator[Pair]:
    """Every path that may differ; it costs what lies in the layers that only one side has.

    What is inside a ``.git`` (folder or file) is left out. Folders that became files, and the other way round, expand
    into the files they held.
    """
    shared = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(old.layers, new.layers, strict=False)))
    pending = [b""]
    while pending:
        folder = pending.pop()
        prefix = folder + b"/" if folder else b""
        for name in _names(old, new, folder, shared):
            path = prefix + name
            if name == _GIT or not selection.leads_to(path):
                continue
            before, after = old.lookup(path), new.lookup(path)
            if (before is not None and before.is_folder) or (after is not None and after.is_folder):
                pending.append(path)
            if before is not None and (before.is_folder or not selection.takes(path)):
                before = None
            if after is not None and (after.is_folder or not selection.takes(path)):
                after = None
            if before is None and after is None:
                continue
            if before is None or after is None or before.layer != after.layer or before.layer >= shared:
                yield Pair(path, before, after)


def _names(old: View, new: View, folder: bytes, shared: int) -> list[bytes]:
    """Names in a folder whose meaning the two sides may disagree on, sorted."""
    before, after = old.parts(folder), new.parts(folder)
    if [layer for layer in before if layer < shared] == [layer for layer in after if layer < shared]:
        before = tuple(layer for layer in before if layer >= shared)
        after = tuple(layer for layer in after if layer >= shared)
    found = {name for name, _ in old.names(folder, before)}
    found.update(name for name, _ in new.names(folder, after))
    return sorted(found)
