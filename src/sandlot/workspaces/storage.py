"""A workspace's private changes on disk, in one of three ways behind the same verbs.

``overlay``: an empty upper over shared layers; making, resetting and comparing cost what changed.
``copy``: a full copy of the layers, for machines where the state folder or bubblewrap cannot do overlays. Same verbs,
cost of the whole tree.
``guest``: on a data disk that only the workspace's guest reads. The upper folders on the host are copies, as old as the
last time somebody asked through ``present`` (present.py): ``stack`` and ``save`` are for the block it guards.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sandlot.bases.building import building_folder
from sandlot.bases.capture import capture, materialize, merge
from sandlot.bases.layer import AREAS, MAX_LAYERS, area_layers, new_layer_id, publish
from sandlot.bases.records import LayerFacts, read_layer
from sandlot.errors import StateUnwritable
from sandlot.paths import GenerationPaths, Paths
from sandlot.runtimes.base import AREA_TARGETS, AreaMount, StorageKind

__all__ = ["WARM_BYTES", "WARM_FILES", "Storage"]

WARM_FILES = 500
WARM_BYTES = 16 << 20
"""A base with a layer of as many files, or bytes, is kept in a template of guests: sending it takes a second or more
where the guest's processor is emulated, and making a template takes several."""
NAME_BYTES = 512
FILE_BYTES = 4 << 10
"""What each file takes beside its content: its inode, its name, and what its last page has no content for."""
MOST_WARM_BYTES = 768 << 20
"""More is none for the memory of a guest."""


class Storage:
    """The trees of one generation: ``layers`` below, private changes on top."""

    def __init__(self, kind: str, paths: Paths, generation: GenerationPaths, layers: Sequence[str]) -> None:
        self.kind = kind
        self.paths = paths
        self.generation = generation
        self.layers = tuple(layers)

    def prepare(self) -> None:
        """Make the folders of a fresh generation. Raises StateUnwritable."""
        try:
            for area in AREAS:
                folder = self.generation.area(area)
                if self.kind == StorageKind.OVERLAY:
                    (folder / "upper").mkdir(parents=True)  # its mode is the mode of the root that shows inside
                    (folder / "upper").chmod(0o755)
                    (folder / "work").mkdir()
                elif self.kind == StorageKind.GUEST:
                    (folder / "upper").mkdir(parents=True)
                else:
                    folder.mkdir(parents=True)
                    materialize(area_layers(self.paths, self.layers, area), folder / "tree")
                    (folder / "tree").chmod(0o755)
        except OSError as error:
            raise StateUnwritable(f"cannot make {self.generation.root}: {error.strerror}") from error

    @property
    def disk(self) -> Path | None:
        """The data disk of a guest, which its runtime makes."""
        return self.generation.disk if self.kind == StorageKind.GUEST else None

    def warm(self) -> tuple[Path, ...]:
        """Lowers that a template of guests is to hold, in memory; the others are sent at each start."""
        if self.kind != StorageKind.GUEST:
            return ()
        shared = [(layer, facts) for layer in self.layers if (facts := read_layer(self.paths, layer)) is not None]
        extents = [self._extent(layer, facts) for layer, facts in shared]  # private layers serve one workspace
        if not any(names >= WARM_FILES or size >= WARM_BYTES for names, size in extents):
            return ()
        found = []
        room = MOST_WARM_BYTES
        for (layer, _), (names, size) in zip(shared, extents, strict=True):
            room -= size + names * FILE_BYTES
            if room < 0:
                break
            found += [folder for area in AREAS if (folder := self.paths.layer(layer) / area).is_dir()]
        return tuple(found)

    def _extent(self, layer: str, facts: LayerFacts) -> tuple[int, int]:
        """(files, bytes) of a layer of a base. A .git folder's facts leave out what it shares with others."""
        if facts.kind != "git":
            return facts.files, facts.bytes
        return _extent(self.paths.layer(layer))

    def cold_bytes(self) -> int:
        """What the layers take that are sent to the data disk, in bytes."""
        if self.kind != StorageKind.GUEST:
            return 0
        warm = {folder.parent.name for folder in self.warm()}
        cold = [_extent(self.paths.layer(layer)) for layer in self.layers if layer not in warm]
        return sum(names * NAME_BYTES + size for names, size in cold)

    def mounts(self) -> tuple[AreaMount, ...]:
        """What the runtime mounts."""
        return tuple(self._mount(area, target) for area, target in AREA_TARGETS.items())

    def _mount(self, area: str, target: str) -> AreaMount:
        folder = self.generation.area(area)
        if self.kind == StorageKind.COPY:
            return AreaMount(target, folder / "tree")
        lowers = tuple(area_layers(self.paths, self.layers, area))
        if self.kind == StorageKind.GUEST:
            return AreaMount(
                target, folder / "upper", lowers=tuple(each for each in lowers if each != self.paths.empty)
            )
        return AreaMount(target, folder / "upper", folder / "work", lowers)

    def stack(self, area: str) -> list[Path]:
        """The layer folders whose merge is what the workspace shows now, lowest first."""
        folder = self.generation.area(area)
        if self.kind == StorageKind.COPY:
            return [folder / "tree"]
        return [*area_layers(self.paths, self.layers, area), folder / "upper"]

    def save(self) -> tuple[str, ...]:
        """The layers of a new stack that holds the present state; nothing must run (or move) meanwhile.

        The new layer is published but referred to by no record yet: hold ``BaseStore.in_use`` until it is.
        """
        if self.kind != StorageKind.COPY and all(_is_empty(self.generation.area(area) / "upper") for area in AREAS):
            return self.layers
        layer = new_layer_id()
        with self._building() as building:
            if self.kind == StorageKind.COPY:
                for area in AREAS:
                    materialize([self.generation.area(area) / "tree"], building / area)
                kept: tuple[str, ...] = ()
            else:
                kept = self._fill(building)
            publish(building, self.paths, layer)
        return (*kept, layer)

    def _fill(self, building: Path) -> tuple[str, ...]:
        """Put the changes into a new layer, and return the layers it stands on."""
        kept = self.layers
        private = tuple(layer for layer in self.layers if layer.startswith("s"))
        folding = len(self.layers) + 1 >= MAX_LAYERS and bool(private)
        if folding:  # private layers are always on top: fold them and the changes into one
            kept = self.layers[: len(self.layers) - len(private)]
        for area in AREAS:
            upper = self.generation.area(area) / "upper"
            if not folding:
                if not _is_empty(upper):
                    capture(upper, building / area)
                continue
            below = [self.paths.layer(layer) / area for layer in private]
            merge([*(folder for folder in below if folder.is_dir()), upper], building / area)
        return kept

    @contextmanager
    def _building(self) -> Iterator[Path]:
        try:
            with building_folder(self.paths) as folder:
                yield folder
        except OSError as error:
            raise StateUnwritable(f"cannot save the workspace's state: {error.strerror}: {error.filename}") from error


@functools.lru_cache(maxsize=256)
def _extent(folder: Path) -> tuple[int, int]:
    """(names, bytes on disk) of a layer; what hostile code named is not followed."""
    names = size = 0
    pending = [os.fsencode(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    names += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # closed to us, or too deep a path: the disk has room to spare
    return names, size


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None
