"""``host list``."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.hosts import checks
from sandlot.hosts.around import Around
from sandlot.hosts.catalog import HOSTS
from sandlot.hosts.records import Records

__all__ = ["Listed", "listing"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One host, and how it stands with us."""

    host: str
    title: str
    used: bool
    """Whether it seems to be used here at all."""
    scopes: tuple[str, ...]
    """Where our entry is; empty: nowhere."""
    surface: str
    """The mode or profile that its entry starts."""
    file: str
    shown: str
    """The file, with ``~`` for the home."""
    problems: tuple[str, ...]
    """Files that cannot be read, names that are taken."""


def listing(around: Around, records: Records) -> tuple[Listed, ...]:
    """All hosts there are."""
    found = []
    for host in HOSTS:
        entries, wrong = checks.find_entries(host, around, records)
        own = checks.named_here(entries)
        used = checks.winner(own) if own else None
        place = used.place if used else host.places(around)[0]
        found.append(
            Listed(
                host=host.key,
                title=host.title,
                used=checks.seems_used(host, around),
                scopes=tuple(each.place.scope for each in own),
                surface=checks.wanted_launch(used, None).surface_name if used else "",
                file=str(place.path),
                shown=around.shown(place.path),
                problems=tuple(each.detail for each in wrong),
            )
        )
    return tuple(found)
