"""What is inside a workspace besides its project: a root file system, by content."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["HOST", "Environment", "EnvironmentKind", "label_of", "split_label"]

HOST = "host"
"""The environment that is the host's own /usr, read-only: nothing to build, the default of bubblewrap."""


class EnvironmentKind(StrEnum):
    """What an environment was made from."""

    PACKAGES = "packages"
    """The distribution's packages."""
    IMAGE = "image"
    """An OCI image."""
    SETUP = "setup"
    """Another environment and a command that was run in it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A root file system in the store; never written to once it is there."""

    digest: str
    """The id of its content: tree and variables."""
    kind: EnvironmentKind
    source: str
    """The image's reference, the definition's name, or the parent's name and digest; no credentials."""
    created_at: str
    """UTC ISO 8601."""
    files: int
    bytes: int
    """Of content: shared with the parent where that has the same files."""
    variables: dict[str, str] = field(default_factory=dict)
    """What commands find in their environment, PATH first of all; below everything of ours but PATH and LANG."""
    workdir: str = ""
    """As the image says; shown only: commands start in /workspace."""
    image: str | None = None
    """Digest of the image's manifest."""
    parent: str | None = None
    """Digest of the environment that a setup was run in."""
    shell: str = ""
    """What its users' shell is; empty: it has none."""
    setup: tuple[str, ...] = ()
    """Commands run in the parent."""
    skipped: tuple[str, ...] = ()
    """Paths of the image that were left out because they are devices, FIFOs or sockets (at most 100)."""


def label_of(name: str, digest: str) -> str:
    """How records and answers name an environment: ``debian:12@<digest>``; the host's own has no digest."""
    return f"{name}@{digest}" if digest else name


def split_label(label: str) -> tuple[str, str]:
    """(name, digest or "") of what ``label_of`` made, or of what a user wrote."""
    name, _, digest = label.rpartition("@")
    return (name, digest) if name else (digest, "")
