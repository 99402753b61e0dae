"""The small files that say what bases exist, how big their layers are, and which source gave which base."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandlot.bases.building import write_file
from sandlot.model.base import Base, Origin, OriginKind
from sandlot.paths import Paths

__all__ = [
    "LayerFacts",
    "base_ids",
    "read_base",
    "read_layer",
    "read_source",
    "write_base",
    "write_layer",
    "write_source",
]

VERSION = 1


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What ``layer.json`` says about one base layer."""

    kind: str
    """``tree``, ``delta`` or ``git``."""
    files: int
    bytes: int
    """Bytes of content written for it: shared with nobody, without holes."""


def base_ids(paths: Paths) -> list[str]:
    """The ids of all bases, sorted."""
    try:
        names = os.listdir(paths.bases)
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def base_file(paths: Paths, base_id: str) -> Path:
    return paths.bases / f"{base_id}.json"


def read_base(paths: Paths, base_id: str) -> Base | None:
    """A base, or None when there is none of that id, its record is damaged or one of its layers is gone."""
    if not base_id or not base_id.isalnum():
        return None
    record = _read(base_file(paths, base_id))
    if record is None:
        return None
    try:
        base = Base(
            id=base_id,
            layers=tuple(str(layer) for layer in record["layers"]),
            origin=_origin(record["origin"]),
            created_at=str(record["created_at"]),
            stored_bytes=int(record["stored_bytes"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
    if not all(paths.layer(layer).is_dir() for layer in base.layers):
        return None
    return base


def write_base(paths: Paths, base: Base, via: Path) -> None:
    """The commit point of a base: its layers are in the store already. Raises OSError."""
    record = dataclasses.asdict(base)
    del record["cached"]
    write_file(base_file(paths, base.id), _encode(record), via)


def touch_base(paths: Paths, base_id: str) -> None:
    """Note that a base was used just now."""
    try:
        os.utime(base_file(paths, base_id))
    except OSError:
        pass  # only prune asks, and it is right about what it can see


def last_used(paths: Paths, base_id: str) -> float:
    """When a base was last taken into use, in seconds since the epoch; 0.0 when it is gone."""
    try:
        return os.stat(base_file(paths, base_id)).st_mtime
    except OSError:
        return 0.0


def read_source(paths: Paths, fingerprint: str) -> Base | None:
    """The base that a source with this fingerprint gave, with that source as its origin; None when not known."""
    record = _read(paths.sources / fingerprint)
    if record is None:
        return None
    try:
        base = read_base(paths, str(record["base"]))
        return None if base is None else replace(base, origin=_origin(record["origin"]))
    except (KeyError, TypeError, ValueError):
        return None


def write_source(paths: Paths, fingerprint: str, base: Base, via: Path) -> None:
    """Remember which base a source gave; losing that only costs time. Raises OSError."""
    record = {"base": base.id, "origin": dataclasses.asdict(base.origin)}
    write_file(paths.sources / fingerprint, _encode(record), via, sync=False)


def read_layer(paths: Paths, layer_id: str) -> LayerFacts | None:
    """What is known about a base layer, or None."""
    record = _read(paths.layer(layer_id) / "layer.json")
    if record is None:
        return None
    try:
        return LayerFacts(str(record["kind"]), int(record["files"]), int(record["bytes"]))
    except (KeyError, TypeError, ValueError):
        return None


def write_layer(folder: Path, facts: LayerFacts) -> None:
    """Write ``layer.json`` into a layer that is being built. Raises OSError."""
    (folder / "layer.json").write_bytes(_encode(dataclasses.asdict(facts)))


def _encode(record: dict[str, Any]) -> bytes:
    return json.dumps({"version": VERSION, **record}).encode()


def _read(file: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("version") == VERSION else None


def _origin(record: dict[str, Any]) -> Origin:
    return Origin(
        kind=OriginKind(record["kind"]),
        location=str(record["location"]),
        commit=record["commit"],
        ref=record["ref"],
        dirty=bool(record["dirty"]),
        files=int(record["files"]),
        bytes=int(record["bytes"]),
        skipped=tuple(record["skipped"]),
    )
