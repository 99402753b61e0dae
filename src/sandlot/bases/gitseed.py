"""Seeding from git: which of the three ways applies."""

from __future__ import annotations

from sandlot.bases.source import Source
from sandlot.bases.workshop import Workshop
from sandlot.model.base import Base

__all__ = ["seed_git"]


def seed_git(shop: Workshop, source: Source) -> Base:
    """The base of a working copy, of a commit, or of a remote repository.

    Raises PathNotFound, SeedUnreadable, GitFailed, OSError for our own side.
    """
    if source.remote:
        from sandlot.bases.clone import seed_clone

        return seed_clone(shop, source)
    if source.checkout and source.ref is None and not source.committed_only:
        from sandlot.bases.checkout import seed_checkout

        return seed_checkout(shop, source)
    from sandlot.bases.committed import seed_committed

    return seed_committed(shop, source)
