"""One immutable layer in the store.

A layer has one folder for each area it says something about: ``workspace`` (the project) and ``home``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sandlot.errors import StateCorrupt
from sandlot.paths import Paths

__all__ = ["AREAS", "MAX_LAYERS", "area_layers", "new_layer_id", "publish"]

AREAS = ("workspace", "home")
MAX_LAYERS = 16
"""Layers a stack may have; overlayfs's mount options must fit one page, and look-ups walk them all."""


def new_layer_id() -> str:
    """A fresh id for a layer that is private to a workspace's history (a snapshot, a fork)."""
    return "s" + os.urandom(12).hex()


def area_layers(paths: Paths, layers: Iterable[str], area: str) -> list[Path]:
    """The folders of one area, lowest first; at least one, since overlayfs needs a lower folder.

    Raises StateCorrupt when a layer is missing.
    """
    folders = []
    for layer in layers:
        root = paths.layer(layer)
        folder = root / area
        if folder.is_dir():
            folders.append(folder)
        elif not root.is_dir():
            raise StateCorrupt(f"layer {layer} is missing from the store", hint="sandlot repair")
    return folders or [paths.empty]


def publish(building: Path, paths: Paths, layer_id: str) -> Path:
    """Move a finished layer into the store by one rename; a layer that is there already wins.

    The caller removes ``building`` when it still exists afterwards.
    """
    target = paths.layer(layer_id)
    try:
        os.rename(building, target)
    except OSError:
        if not target.is_dir():
            raise
    return target
