"""Secrets of a workspace: what a caller says, and what the records know."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Secret", "SecretBinding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret as a caller gives it: exactly one of ``value``, ``env`` and ``file``, and where it may go."""

    hosts: tuple[str, ...]
    """``HOST[:PORT]`` (https, 443) or ``http://HOST[:PORT]`` (80); empty: only ``reveal`` hands it out."""
    value: str | None = field(default=None, repr=False)
    env: str | None = None
    """A variable of the host's environment that holds the value."""
    file: str | None = None
    """A host file that holds the value; one newline at its end is no part of it."""


@dataclass(frozen=True, slots=True)
class SecretBinding:
    """What the records hold of a secret: never its value."""

    name: str
    """The environment variable inside."""
    hosts: tuple[str, ...]
    placeholder: str
    """What the variable holds. Stays the same when the value changes: files written with it stay valid."""
