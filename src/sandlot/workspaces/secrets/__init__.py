"""Secrets: usable by a workspace at the hosts they are bound to, and not readable in it.

``bound_host`` where a secret may go, ``sources`` what callers say, ``vault`` the one file that holds values,
``authority`` the certificates by which requests over TLS are opened, ``keeping`` set, read and delete, ``interceptor``
what the egress proxy asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sandlot.model.workspace import WorkspaceRecord
    from sandlot.workspaces.context import Context
    from sandlot.workspaces.redaction import Redactor

__all__ = ["redactor_of", "scrub"]


def redactor_of(context: Context, record: WorkspaceRecord) -> Redactor | None:
    """What hides the values of a workspace's secrets; None, at no cost, when it has none."""
    if not record.secrets:
        return None
    from sandlot.workspaces.redaction import Redactor
    from sandlot.workspaces.secrets import vault

    kept = vault.load(context.paths.workspace(record.id))
    return Redactor(each.value for each in kept.secrets.values())


def scrub(context: Context, record: WorkspaceRecord, command: Path) -> None:
    """Blank out what a command that has ended printed of secrets, in the files that keep its output."""
    redactor = redactor_of(context, record)
    if redactor is not None:
        for name in ("stdout", "stderr", "ring"):
            redactor.scrub(command / name)
