"""Setting, reading and deleting the secrets of a workspace.

The vault is written before the record when a secret comes, and before it when one goes: whatever dies in between, a
record that names a secret has its value or loses only the substitution, and doing the same again completes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sandlot.errors import SandlotError, SecretNotFound, UsageError
from sandlot.model.secret import SecretBinding
from sandlot.model.workspace import WorkspaceRecord
from sandlot.paths import WorkspacePaths
from sandlot.runtimes.base import StorageKind
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import is_running, locked, socket_of
from sandlot.workspaces.secrets import vault as vaults
from sandlot.workspaces.secrets.sources import Given, check_name
from sandlot.workspaces.secrets.trust import with_authority
from sandlot.workspaces.secrets.vault import Kept, Vault

__all__ = ["MOST_SECRETS", "damage", "drop", "equip", "inherit", "put", "refreshed", "values"]

MOST_SECRETS = 100


def equip(own: WorkspacePaths, record: WorkspaceRecord, secrets: Sequence[Given]) -> WorkspaceRecord:
    """The record of a new workspace, whose folder exists, with its secrets put down."""
    if not secrets:
        return record
    if len(secrets) > MOST_SECRETS:
        raise UsageError(f"a workspace can have {MOST_SECRETS} secrets at most")
    kept = {each.name: Kept(SecretBinding(each.name, each.hosts, _placeholder()), each.value) for each in secrets}
    return _stored(own, record, Vault(kept))


def inherit(own: WorkspacePaths, record: WorkspaceRecord, source: WorkspacePaths) -> WorkspaceRecord:
    """The record of a fork with the secrets of its source: same placeholders (its files may hold them), own keys."""
    if not record.secrets:
        return record
    return _stored(own, record, replace(vaults.load(source), authority_key="", authority_certificate=""))


def refreshed(own: WorkspacePaths, record: WorkspaceRecord) -> None:
    """Renew the certificate of a workspace that is about to start, if it ends soon."""
    if record.secrets:
        kept = vaults.load(own)
        current = with_authority(own, kept)
        if current != kept:
            vaults.save(own, current)


def put(context: Context, key: str, secret: Given, *, keep_hosts: bool = False) -> tuple[WorkspaceRecord, bool]:
    """Set a secret, or change its value or hosts: the record, and whether it is new. Its placeholder stays.

    ``keep_hosts``: a secret that exists stays bound to its hosts. Raises UsageError for a new one without hosts then.
    """
    with locked(context, key) as record:
        own = context.paths.workspace(record.id)
        kept = vaults.load(own)
        before = kept.secrets.get(secret.name)
        if keep_hosts and before is None:
            raise UsageError(
                f"the secret {secret.name} is not bound to a host",
                hint="name one with --host, or say --reveal-only when only --reveal is to hand it out",
            )
        if before is None and len(kept.secrets) >= MOST_SECRETS:
            raise UsageError(f"a workspace can have {MOST_SECRETS} secrets at most")
        hosts = before.binding.hosts if before and keep_hosts else secret.hosts
        placeholder = before.binding.placeholder if before else _placeholder()
        added = Kept(SecretBinding(secret.name, hosts, placeholder), secret.value)
        record = _stored(own, record, replace(kept, secrets={**kept.secrets, secret.name: added}))
        context.store.save(record)
        _show(context, record)
        return record, before is None


def drop(context: Context, key: str, name: str) -> WorkspaceRecord:
    """Forget a secret. Raises SecretNotFound."""
    check_name(name)
    with locked(context, key) as record:
        own = context.paths.workspace(record.id)
        kept = vaults.load(own)
        if name not in kept.secrets and all(each.name != name for each in record.secrets):
            raise _unknown(record, name)
        left = {each: secret for each, secret in kept.secrets.items() if each != name}
        if left:
            record = _stored(own, record, replace(kept, secrets=left))
        else:
            vaults.destroy(own)  # with the last secret goes the key of the authority
            record = replace(record, secrets=())
        context.store.save(record)
        _show(context, record)
        return record


def values(context: Context, record: WorkspaceRecord, names: Iterable[str]) -> dict[str, str]:
    """The values of these secrets. Raises SecretNotFound."""
    wanted = list(names)
    if not wanted:
        return {}
    kept = vaults.load(context.paths.workspace(record.id)).secrets
    for name in wanted:
        if name not in kept:
            raise _unknown(record, name)
    return {name: kept[name].value for name in wanted}


def damage(context: Context, record: WorkspaceRecord) -> list[str]:
    """Why secrets cannot be used although the record names them, for people."""
    if not record.secrets:
        return []
    try:
        kept = vaults.load(context.paths.workspace(record.id)).secrets
    except SandlotError as error:
        return [f"{error.message}; {error.hint}" if error.hint else error.message]
    lost = [each.name for each in record.secrets if each.name not in kept]
    return [f"the value of {name} is lost: set it again" for name in lost]


def _stored(own: WorkspacePaths, record: WorkspaceRecord, vault: Vault) -> WorkspaceRecord:
    vault = with_authority(own, vault)
    vaults.save(own, vault)
    return replace(record, secrets=tuple(kept.binding for kept in vault.secrets.values()))


def _show(context: Context, record: WorkspaceRecord) -> None:
    """Give a running guest, which has copies, the certificates as they are now."""
    if record.storage == StorageKind.GUEST and record.instance is not None and is_running(context, record):
        folder = context.paths.workspace(record.id).trust
        context.runtime(record.runtime).show_trust(record.instance, socket_of(context, record), folder)


def _placeholder() -> str:
    return "sandlot_secret_" + os.urandom(16).hex()


def _unknown(record: WorkspaceRecord, name: str) -> SecretNotFound:
    known = ", ".join(each.name for each in record.secrets) or "none"
    return SecretNotFound(f"workspace {record.label} has no secret {name!r}", hint=f"its secrets: {known}")
