"""A workspace's private changes on disk, in one of two ways behind the same verbs.

``overlay``: an empty upper over shared layers; making, resetting and comparing cost what changed.
``copy``: a full copy of the layers, for machines where the state folder or bubblewrap cannot do overlays. Same verbs,
cost of the whole tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sandlot.bases.building import building_folder
from sandlot.bases.capture import capture, materialize, merge
from sandlot.bases.layer import AREAS, MAX_LAYERS, area_layers, new_layer_id, publish
from sandlot.errors import StateUnwritable
from sandlot.paths import GenerationPaths, Paths
from sandlot.runtimes.base import AREA_TARGETS, AreaMount, StorageKind

__all__ = ["Storage"]


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
                else:
                    folder.mkdir(parents=True)
                    materialize(area_layers(self.paths, self.layers, area), folder / "tree")
                    (folder / "tree").chmod(0o755)
        except OSError as error:
            raise StateUnwritable(f"cannot make {self.generation.root}: {error.strerror}") from error

    def mounts(self) -> tuple[AreaMount, ...]:
        """What the runtime mounts."""
        return tuple(self._mount(area, target) for area, target in AREA_TARGETS.items())

    def _mount(self, area: str, target: str) -> AreaMount:
        folder = self.generation.area(area)
        if self.kind == StorageKind.COPY:
            return AreaMount(target, folder / "tree")
        lowers = tuple(area_layers(self.paths, self.layers, area))
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
        if self.kind == StorageKind.OVERLAY and all(_is_empty(self.generation.area(area) / "upper") for area in AREAS):
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


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None
