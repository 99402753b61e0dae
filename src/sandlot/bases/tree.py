"""The layers of a working tree: all of it, or what changed on top of the layers it gave last time."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases import manifest
from sandlot.bases.descent import FOLDER
from sandlot.bases.last import Last
from sandlot.bases.manifest import GONE, Rows
from sandlot.bases.progress import Progress
from sandlot.bases.records import LayerFacts, write_layer
from sandlot.bases.scan import Found, Scan
from sandlot.bases.trees import remove_tree
from sandlot.bases.writing import TreeWriter, WhiteoutRefused
from sandlot.paths import Paths

__all__ = ["Draft", "Tree", "build_tree", "draft_layer"]

MAX_TREE_LAYERS = 8
"""A stack of deltas is rebuilt flat beyond this: look-ups walk all layers, and the workspace adds its own."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A finished layer that is not in the store yet."""

    layer: str
    folder: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A working tree as layers, lowest first."""

    layers: tuple[str, ...]
    rows: Rows
    drafts: tuple[Draft, ...] = ()
    """Those of the layers that must still be published."""
    drifted: frozenset[bytes] = frozenset()
    """Paths that changed between scan and copy."""

    @property
    def id(self) -> str:
        """The same for the same content, however many layers it is in."""
        return manifest.tree_id("tree", self.rows)


@dataclass(frozen=True, slots=True)
class _Changes:
    entries: list[Found]
    """What to write, in tree order, with the folders above it."""
    whiteouts: list[bytes]
    gone: list[bytes]
    """Every path that is no more, those below a whiteout included."""


def build_tree(
    paths: Paths,
    folder: Path,
    root: Path,
    source: int,
    scan: Scan,
    last: Last | None,
    progress: Progress,
    *,
    anchors: Sequence[bytes] = (),
) -> Tree:
    """Write a scanned source into ``folder`` as a layer: a delta on ``last`` when that is worth it, else all of it.

    ``anchors`` are folders that a layer below the tree also has something in (nested git folders): a delta must not
    hide that. Raises SeedUnreadable, and OSError for our own side.
    """
    old = None if last is None else _merged(paths, last.layers)
    if last is not None and old is not None:
        changes = _changes(scan, last.stamps, old)
        if not changes.entries and not changes.gone:
            return Tree(last.layers, old)
        few = 2 * (len(changes.entries) + len(changes.gone)) <= len(scan.entries) + 64
        kept = all(manifest.is_folder(old.get(anchor)) for anchor in anchors)
        if few and kept and len(last.layers) < MAX_TREE_LAYERS:
            try:
                writer = _write(folder, root, source, changes.entries, changes.whiteouts, progress)
            except WhiteoutRefused:
                remove_tree(folder)
            else:
                delta = {**writer.rows, **dict.fromkeys(changes.gone, GONE)}
                draft = draft_layer(folder, "delta", delta, writer.written)
                if draft.layer not in last.layers:  # a file got an old content and time back: overlays take none twice
                    manifest.apply(old, delta)
                    return Tree((*last.layers, draft.layer), old, (draft,), frozenset(writer.drifted))
                remove_tree(folder)
    writer = _write(folder, root, source, scan.entries, (), progress)
    draft = draft_layer(folder, "tree", writer.rows, writer.written)
    return Tree((draft.layer,), writer.rows, (draft,), frozenset(writer.drifted))


def draft_layer(folder: Path, kind: str, rows: Rows, written: int) -> Draft:
    """Complete a layer whose ``workspace`` folder is written: its manifest and facts. Raises OSError."""
    (folder / "manifest").write_bytes(manifest.encode_pairs((path, rows[path]) for path in sorted(rows)))
    files, _ = manifest.tally(rows)
    write_layer(folder, LayerFacts(kind, files, written))
    return Draft(manifest.tree_id(kind, rows), folder, written)


def _merged(paths: Paths, layers: Sequence[str]) -> Rows | None:
    """The rows of a stack of tree layers, or None when a manifest is not readable."""
    rows: Rows = {}
    try:
        for layer in layers:
            manifest.apply(rows, manifest.load(paths.layer(layer) / "manifest"))
    except (OSError, ValueError, KeyError):
        return None
    return rows


def _write(
    folder: Path, root: Path, source: int, entries: Sequence[Found], whiteouts: Sequence[bytes], progress: Progress
) -> TreeWriter:
    target_path = folder / "workspace"
    target_path.mkdir(mode=0o700, parents=True)
    target = os.open(target_path, FOLDER)
    try:
        writer = TreeWriter(root, source, target, progress)
        try:
            writer.write(entries, whiteouts)
        finally:
            writer.close()
    finally:
        os.close(target)
    return writer


def _changes(scan: Scan, stamps: Rows, old: Rows) -> _Changes:
    present = {found.path: found for found in scan.entries}
    changed = {found.path for found in scan.entries if not _same(found, stamps, old, present)}
    _whole_link_groups(scan, changed)
    gone = sorted(old.keys() - present.keys())
    whiteouts = []
    for path in gone:
        above = present.get(path.rpartition(b"/")[0])
        # Below a folder that is gone, or is no folder any more, everything is hidden already.
        if above is not None and stat.S_ISDIR(above.info.st_mode):
            whiteouts.append(path)
    needed = set(changed)
    for path in [*changed, *whiteouts]:
        while path:
            path = path.rpartition(b"/")[0]
            if path in needed:
                break
            needed.add(path)
    return _Changes([found for found in scan.entries if found.path in needed], whiteouts, gone)


def _same(found: Found, stamps: Rows, old: Rows, present: dict[bytes, Found]) -> bool:
    """Whether the layers of last time already hold the entry as it is now."""
    row = old.get(found.path)
    if row is None:
        return False
    if stat.S_ISDIR(found.info.st_mode):
        return row == manifest.folder_row(found.info.st_mode, found.info.st_mtime_ns)
    if stat.S_ISLNK(found.info.st_mode):
        return row == manifest.symlink_row(found.info.st_mtime_ns, found.target)
    if row.startswith(b"h") and row.split(b" ", 4)[4] not in present:
        return False  # the name it was linked to was left out of this scan
    return row.startswith((b"f", b"h")) and stamps.get(found.path) == found.stamp


def _whole_link_groups(scan: Scan, changed: set[bytes]) -> None:
    """When one name of a file changed, all its names go into the same layer: they stay one file only there."""
    groups: dict[tuple[int, int], list[bytes]] = {}
    for found in scan.entries:
        if found.info.st_nlink > 1 and stat.S_ISREG(found.info.st_mode):
            groups.setdefault((found.info.st_dev, found.info.st_ino), []).append(found.path)
    for names in groups.values():
        if len(names) > 1 and not changed.isdisjoint(names):
            changed.update(names)
