"""Private layers in the shared store: they live as long as a workspace or snapshot stands on them."""

from __future__ import annotations

from collections.abc import Iterable

from sandlot.bases.trees import move_to_trash
from sandlot.workspaces import locks
from sandlot.workspaces.context import Context

__all__ = ["release_layers"]


def release_layers(context: Context, candidates: Iterable[str] | None = None) -> int:
    """Remove private layers (of ``candidates``, or all) that nothing stands on any more; returns how many.

    Skipped while somebody is taking layers into use: whoever comes next, or ``sandlot repair``, does it then.
    """
    private = {layer for layer in candidates if layer.startswith("s")} if candidates is not None else None
    if private is not None and not private:
        return 0
    with locks.try_exclusive(context.paths.bases_lock) as held:
        if not held:
            return 0
        if private is None:
            private = {folder.name for folder in context.paths.layers.iterdir() if folder.name.startswith("s")}
        unused = private - context.store.layers_in_use()
        for layer in unused:
            if context.paths.layer(layer).exists():
                move_to_trash(context.paths.layer(layer), context.paths)
        return len(unused)
