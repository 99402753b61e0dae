"""Removing bases that nothing uses, and whatever crashed creates left."""

from __future__ import annotations

import os
import time
from collections.abc import Set
from dataclasses import dataclass

from sandlot.bases import records
from sandlot.bases.building import sweep_building
from sandlot.bases.last import SUFFIX, Last
from sandlot.bases.manifest import ID_LENGTH
from sandlot.bases.trees import move_to_trash, remove_tree
from sandlot.paths import Paths

__all__ = ["Pruned", "prune"]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed (or would remove)."""

    bases: tuple[str, ...]
    layers: tuple[str, ...]
    bytes: int
    """Bytes of content freed."""
    leftovers: int = 0
    """Half-made folders of crashed creates."""


def prune(
    paths: Paths, keep_layers: Set[str], *, unused_for_s: float, dry_run: bool, only: Set[str] = frozenset()
) -> Pruned:
    """Do it; the caller holds the bases' lock exclusively. ``only``: no other base, unless it is damaged.

    Raises StateUnwritable, OSError.
    """
    doomed, kept = [], set(keep_layers)
    newest = time.time() - unused_for_s
    for base_id in records.base_ids(paths):
        base = records.read_base(paths, base_id)
        if base is None:  # damaged, or one of its layers is gone
            doomed.append(base_id)
        elif (
            (only and base_id not in only)
            or kept_by_workspace(base.layers, keep_layers)
            or (unused_for_s > 0 and records.last_used(paths, base_id) > newest)
        ):
            kept.update(base.layers)
        else:
            doomed.append(base_id)
    layers = sorted(name for name in os.listdir(paths.layers) if _is_base_layer(name) and name not in kept)
    freed = sum(facts.bytes for layer in layers if (facts := records.read_layer(paths, layer)))
    if dry_run:
        return Pruned(tuple(doomed), tuple(layers), freed)
    for base_id in doomed:  # records first: a layer without a base is harmless, a base without a layer is not
        records.base_file(paths, base_id).unlink(missing_ok=True)
    for layer in layers:
        trash = move_to_trash(paths.layer(layer), paths)
        if trash is not None:
            remove_tree(trash)
    _forget_sources(paths)
    return Pruned(tuple(doomed), tuple(layers), freed, sweep_building(paths))


def kept_by_workspace(layers: tuple[str, ...], keep_layers: Set[str]) -> bool:
    """Whether a workspace or snapshot stands on one of the layers."""
    return not keep_layers.isdisjoint(layers)


def _is_base_layer(name: str) -> bool:
    return len(name) == ID_LENGTH and all(letter in "0123456789abcdef" for letter in name)


def _forget_sources(paths: Paths) -> None:
    """Forget the sources whose base or layers are gone."""
    for name in os.listdir(paths.sources):
        if name.endswith(SUFFIX):
            known = Last.load(paths, name.removesuffix(SUFFIX)) is not None
        else:
            known = records.read_source(paths, name) is not None
        if not known:
            (paths.sources / name).unlink(missing_ok=True)
