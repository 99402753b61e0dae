"""The certificates a workspace is shown: a folder that is mounted read-only, filled when a secret needs it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from sandlot.errors import StateUnwritable
from sandlot.paths import WorkspacePaths
from sandlot.runtimes.base import TRUST
from sandlot.workspaces.secrets.bound_host import BoundHost
from sandlot.workspaces.secrets.sources import TRUST_VARIABLES
from sandlot.workspaces.secrets.vault import Vault

__all__ = ["BUNDLE", "opened_hosts", "trust_variables", "with_authority"]

BUNDLE = f"{TRUST}/ca-bundle.pem"
"""Inside."""


def opened_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """The hosts among bindings to which TLS is opened, sorted."""
    parsed = (BoundHost.parse(each) for each in hosts)
    return tuple(sorted({each.host for each in parsed if each.scheme == "https"}))


def trust_variables(hosts: Iterable[str]) -> dict[str, str]:
    """The environment by which programs find the bundle; empty unless TLS is opened to one of these bindings."""
    return dict.fromkeys(TRUST_VARIABLES, BUNDLE) if opened_hosts(hosts) else {}


def with_authority(own: WorkspacePaths, vault: Vault) -> Vault:
    """The vault with an authority for its hosts, whose bundle is in place; unchanged if no host needs one.

    The bundle is written before the vault is: certificates are never made by an authority that is not trusted yet.
    """
    hosts = opened_hosts(host for kept in vault.secrets.values() for host in kept.binding.hosts)
    if not hosts:
        return vault
    from sandlot.workspaces.secrets.authority import Authority, host_bundle

    if vault.authority_key:
        authority = Authority.load(vault.authority_key, vault.authority_certificate)
        if not authority.fits(hosts):
            authority = authority.renewed(hosts)
    else:
        authority = Authority.make(hosts)
    certificate = authority.certificate_pem
    if certificate != vault.authority_certificate or not (own.trust / "ca-bundle.pem").is_file():
        _publish(own, host_bundle() + certificate.encode())
    return replace(vault, authority_key=authority.key_pem, authority_certificate=certificate)


def _publish(own: WorkspacePaths, bundle: bytes) -> None:
    draft = own.trust / f".{os.urandom(4).hex()}"
    try:
        own.trust.mkdir(mode=0o755, exist_ok=True)
        draft.write_bytes(bundle)
        draft.chmod(0o444)
        os.replace(draft, own.trust / "ca-bundle.pem")
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StateUnwritable(f"cannot write {own.trust}: {error.strerror}") from error
