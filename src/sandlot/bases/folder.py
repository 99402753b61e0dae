"""Seeding from a plain folder: every file, nothing ignored."""

from __future__ import annotations

import os
from pathlib import Path

from sandlot.bases import manifest
from sandlot.bases.building import build_lock
from sandlot.bases.last import Last, stamps_of
from sandlot.bases.scan import open_source, scan_all, shown
from sandlot.bases.source import Source
from sandlot.bases.tree import build_tree
from sandlot.bases.workshop import Workshop, fingerprint
from sandlot.errors import SeedUnreadable
from sandlot.model.base import Base, Origin, OriginKind
from sandlot.paths import Paths

__all__ = ["refuse_own_state", "seed_folder"]


def seed_folder(shop: Workshop, source: Source) -> Base:
    """The base of a folder as it is now. Raises PathNotFound, SeedUnreadable, OSError for our own side."""
    root = Path(source.location)
    fd = open_source(root)
    try:
        forbidden = refuse_own_state(root, fd, shop.paths)
        shop.progress("reading the folder")
        scan = scan_all(root, fd, forbidden=forbidden)
        now = fingerprint("folder", source.location, scan.digest())
        base = shop.known(now)
        if base is not None:
            return base
        key = fingerprint("folder", source.location)
        with build_lock(shop.paths, key):
            base = shop.known(now)
            if base is not None:
                return base
            last = Last.load(shop.paths, key)
            tree = build_tree(shop.paths, shop.folder / "tree", root, fd, scan, last, shop.progress)
            files, size = manifest.tally(tree.rows)
            origin = Origin(OriginKind.FOLDER, source.location, files=files, bytes=size, skipped=scan.report())
            base = shop.finish((tree.id,), tree.layers, tree.drafts, origin)
            Last(base.layers, stamps_of(scan, tree.drifted)).save(shop.paths, key, shop.folder)
            if scan.settled and not tree.drifted:
                shop.remember(now, base)
            return base
    finally:
        os.close(fd)


def refuse_own_state(root: Path, fd: int, paths: Paths) -> frozenset[tuple[int, int]]:
    """Refuse the root of the file system and anything inside our state; returns what a scan must not meet.

    Raises SeedUnreadable.
    """
    if os.path.samestat(os.fstat(fd), os.stat("/")):
        raise SeedUnreadable("the root of the file system is no project", hint="name the project's own folder")
    state = os.stat(paths.state)
    real = Path(os.path.realpath(root))
    for folder in (real, *real.parents):
        if os.path.samestat(os.stat(folder), state):
            raise SeedUnreadable(
                f"{shown(root, b'')} is inside sandlot's own state", hint="name the project's own folder"
            )
    return frozenset({(state.st_dev, state.st_ino)})
