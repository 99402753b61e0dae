"""Private layers in the shared store: they live as long as a workspace or snapshot stands on them."""

from __future__ import annotations

from collections.abc import Iterable

from sandlot.bases.trees import move_to_trash
from sandlot.workspaces import locks
from sandlot.workspaces.context import Context

__all__ = ["release_layers"]


def release_layers(context: Context, candidates: Iterable[str] | None = None) -> int:
    """Remove the private layers that nothing stands on any more; returns how many.

    Does nothing when none of the ``candidates`` is private. Skipped while somebody is taking layers into use: whoever
    comes next, or ``sandlot repair``, does it then.
    """
    if candidates is not None and not any(layer.startswith("s") for layer in candidates):
        return 0
    with locks.try_exclusive(context.paths.bases_lock) as held:
        if not held:
            return 0
        private = {folder.name for folder in context.paths.layers.iterdir() if folder.name.startswith("s")}
        unused = private - context.store.layers_in_use()
        for layer in unused:
            move_to_trash(context.paths.layer(layer), context.paths)
        return len(unused)
