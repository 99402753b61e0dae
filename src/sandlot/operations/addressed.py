"""The argument that names a workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.operations.operation import argument

__all__ = ["OneWorkspace"]


@dataclass(frozen=True, kw_only=True)
class OneWorkspace:
    """Which workspace."""

    workspace: str = argument("id or name", positional=True, metavar="ID")
