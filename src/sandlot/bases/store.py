"""The store of bases: obtain one for a source, list them, prune them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sandlot.bases import records
from sandlot.bases.building import unwritable
from sandlot.bases.progress import Progress, Report
from sandlot.bases.prune import Pruned, prune
from sandlot.bases.source import Source
from sandlot.bases.workshop import Workshop
from sandlot.errors import BaseNotFound
from sandlot.model.base import Base, Origin, OriginKind
from sandlot.paths import Paths

__all__ = ["BaseInfo", "BaseStore", "Pruned"]


@dataclass(frozen=True, slots=True)
class BaseInfo:
    """A base as ``sandlot base list`` shows it."""

    base: Base
    bytes: int
    """Bytes of content in its layers, those it shares with other bases included."""
    used_at: str
    """When it was last taken into use, UTC ISO 8601."""


class BaseStore:
    """All bases below one state folder."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keeps prune away: held from before ``obtain`` until the record of who stands on the layers is stored."""
        with self._lock(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody takes a base or an environment into use meanwhile; waits until nobody does."""
        with self._lock(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        self.paths.ensure()
        with unwritable(self.paths):
            fd = os.open(self.paths.bases_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)

    def obtain(self, source: Source, progress: Report | None = None) -> Base:
        """The base of a source as it is now: an existing one (``cached``) or a new one.

        ``progress`` is called with (what is going on, done, total) at most ten times a second. Whatever happens,
        interruption included, the base exists completely afterwards or not at all. Raises PathNotFound,
        BaseNotFound, SeedUnreadable, ArchiveRefused, GitFailed, StateUnwritable.
        """
        with self.in_use(), unwritable(self.paths), Workshop(self.paths, Progress(progress)) as shop:
            # The kinds are imported where used: a start on a cached base should not load all of them.
            if source.kind is OriginKind.BASE:
                return self._existing(source.location)
            if source.kind is OriginKind.FOLDER:
                from sandlot.bases.folder import seed_folder

                return seed_folder(shop, source)
            if source.kind is OriginKind.ARCHIVE:
                from sandlot.bases.archive import seed_archive

                return seed_archive(shop, source)
            if source.kind is OriginKind.GIT:
                from sandlot.bases.gitseed import seed_git

                return seed_git(shop, source)
            return shop.finish(("nothing",), (), (), Origin(OriginKind.NOTHING))

    def _existing(self, text: str) -> Base:
        """A base by its id or an unmistakable beginning of it."""
        matches = [base_id for base_id in records.base_ids(self.paths) if base_id.startswith(text)]
        if len(matches) > 1 and text not in matches:
            raise BaseNotFound(f"more than one base has an id that starts with {text}")
        base = records.read_base(self.paths, text if text in matches else (matches or [text])[0])
        if base is None:
            raise BaseNotFound(f"no base has the id {text}")
        records.touch_base(self.paths, base.id)
        return replace(base, origin=replace(base.origin, kind=OriginKind.BASE, location=base.id), cached=True)

    def list(self) -> tuple[BaseInfo, ...]:
        """All bases, the last used one first."""
        found = []
        for base_id in records.base_ids(self.paths):
            base = records.read_base(self.paths, base_id)
            if base is None:
                continue
            facts = [records.read_layer(self.paths, layer) for layer in base.layers]
            used = records.last_used(self.paths, base_id)
            used_at = datetime.fromtimestamp(used, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            found.append((used, BaseInfo(base, sum(fact.bytes for fact in facts if fact), used_at)))
        return tuple(info for _, info in sorted(found, key=lambda item: item[0], reverse=True))

    def prune(
        self,
        keep_layers: Callable[[], Set[str]],
        *,
        unused_for_s: float = 0,
        dry_run: bool = False,
        only: Set[str] = frozenset(),
    ) -> Pruned:
        """Remove the bases none of whose layers is in ``keep_layers()`` and that were not used for ``unused_for_s``.

        ``only``: ids of bases; the others stay. ``keep_layers`` is asked under the lock, when no create is under way
        whose layers no record names yet.

        Also removes layers that no base holds any more, what crashed creates left, and memories of sources that point
        nowhere. Layers private to a workspace's history are left alone. Waits until no create is under way.
        Raises StateUnwritable.
        """
        with self._lock(fcntl.LOCK_EX), unwritable(self.paths):
            return prune(self.paths, keep_layers(), unused_for_s=unused_for_s, dry_run=dry_run, only=only)
