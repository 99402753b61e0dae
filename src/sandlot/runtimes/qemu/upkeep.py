"""What the cache of guests keeps of an environment or base, and getting rid of what is left of those that are gone.

A packed root tells whose it is (image.py), a template which root and layers it stands on (template.py). Where that is
no more nobody can start from it; a guest that runs has the files open and needs no name. What is still there, but has
not been used for long, goes by ``template.prune``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sandlot.runtimes.qemu.image import packed_from
from sandlot.runtimes.qemu.places import Places
from sandlot.runtimes.qemu.template import PrunedGuests, about

__all__ = ["held_for", "remove_orphans"]


def held_for(places: Places, root: Path) -> int:
    """Bytes on disk that guests keep for an environment: its packed root, and its templates."""
    stems = {image.stem for image in places.roots.glob("*.squashfs") if packed_from(image) == root}
    templates = [folder for folder in _templates(places) if _root_of(folder) in stems]
    return sum(map(_size, [*(places.roots / f"{stem}.squashfs" for stem in stems), *templates]))


def remove_orphans(places: Places, *, gone: frozenset[Path] = frozenset(), dry_run: bool = False) -> PrunedGuests:
    """Remove packed roots of trees that are not there, and templates of such roots or layers.

    ``gone``: trees and layers to be taken for gone, for a dry run.
    """

    def is_gone(path: Path) -> bool:
        return path in gone or not path.exists()

    doomed = [
        image
        for image in places.roots.glob("*.squashfs")
        if (source := packed_from(image)) is not None and is_gone(source)
    ]
    left = {image.stem for image in places.roots.glob("*.squashfs") if image not in doomed}
    for folder in _templates(places):
        warm = about(folder / "about.json").get("warm")
        layers = [Path(str(each)) for each in warm] if isinstance(warm, list) else []
        if _root_of(folder) not in left or any(map(is_gone, layers)):
            doomed.append(folder)
    size = sum(map(_size, doomed))
    if not dry_run:
        for each in doomed:
            _remove(each)
    return PrunedGuests(len(doomed), size)


def _templates(places: Places) -> Iterator[Path]:
    return (file.parent for file in places.templates.glob("*/about.json"))


def _root_of(template: Path) -> str:
    """The stem of the root image's file; its key says besides which packing of it."""
    return str(about(template / "about.json").get("root", "")).partition("-")[0]


def _size(entry: Path) -> int:
    files = entry.iterdir() if entry.is_dir() else (entry,)
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += os.stat(file).st_blocks * 512
    return total


def _remove(entry: Path) -> None:
    """First what makes it one."""
    for file in (entry / "about.json",) if entry.is_dir() else (entry, entry.with_suffix(".python")):
        with contextlib.suppress(OSError):
            file.unlink()
    shutil.rmtree(entry, ignore_errors=True)
