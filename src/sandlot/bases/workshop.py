"""What every kind of seed needs while it turns a source into a base."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sandlot.bases import records
from sandlot.bases.building import building_folder
from sandlot.bases.layer import publish
from sandlot.bases.manifest import ID_LENGTH
from sandlot.bases.progress import Progress
from sandlot.bases.tree import Draft
from sandlot.model.base import Base, Origin
from sandlot.paths import Paths

__all__ = ["Workshop", "fingerprint"]


def fingerprint(*parts: str | bytes) -> str:
    """The name under which a source in a certain state is remembered."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()


class Workshop:
    """One ``obtain``: the store's paths, a building folder made when it is first needed, and the way into the store."""

    def __init__(self, paths: Paths, progress: Progress) -> None:
        self.paths = paths
        self.progress = progress
        self._stack = ExitStack()
        self._folder: Path | None = None

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        """A folder for half-made things; gone at the end."""
        if self._folder is None:
            self._folder = self._stack.enter_context(building_folder(self.paths))
        return self._folder

    def known(self, source: str) -> Base | None:
        """The base that a source with this fingerprint gave before."""
        base = records.read_source(self.paths, source)
        if base is None:
            return None
        records.touch_base(self.paths, base.id)
        return replace(base, cached=True)

    def finish(
        self, content: tuple[str, ...], layers: tuple[str, ...], drafts: tuple[Draft, ...], origin: Origin
    ) -> Base:
        """Publish what is not in the store yet, the base's record last.

        ``content`` are the content ids of its parts: a base with the same ones may exist already, in other layers.
        Raises OSError.
        """
        base_id = fingerprint("base", *content)[:ID_LENGTH]
        existing = records.read_base(self.paths, base_id)
        if existing is not None:
            records.touch_base(self.paths, base_id)
            return replace(existing, origin=origin, cached=True)
        new = [draft for draft in drafts if not self.paths.layer(draft.layer).is_dir()]
        for draft in new:
            publish(draft.folder, self.paths, draft.layer)
        base = Base(
            id=base_id,
            layers=layers,
            origin=origin,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            stored_bytes=sum(draft.bytes for draft in new),
        )
        records.write_base(self.paths, base, self.folder)
        return base

    def remember(self, source: str, base: Base) -> None:
        """Note that a source with this fingerprint gives this base. Raises OSError."""
        records.write_source(self.paths, source, base, self.folder)
