"""The certificates a workspace is shown: a folder mounted read-only, filled when a network or a secret needs it.

Inside one trusts whom the host trusts, whatever bundle a tool brings along: only so does an index behind a company's
own authority work inside as it does outside.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from sandlot.errors import StateUnwritable
from sandlot.model.network import NetworkMode
from sandlot.model.workspace import WorkspaceRecord
from sandlot.paths import WorkspacePaths
from sandlot.runtimes.base import TRUST
from sandlot.workspaces.secrets.bound_host import BoundHost
from sandlot.workspaces.secrets.sources import TRUST_VARIABLES
from sandlot.workspaces.secrets.vault import Vault

__all__ = ["BUNDLE", "opened_hosts", "show_host_bundle", "trust_variables", "with_authority"]

_FILE = "ca-bundle.pem"
BUNDLE = f"{TRUST}/{_FILE}"
"""Inside."""
_HOST_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)  # fmt: skip


def opened_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """The hosts among bindings to which TLS is opened, sorted."""
    parsed = (BoundHost.parse(each) for each in hosts)
    return tuple(sorted({each.host for each in parsed if each.scheme == "https"}))


def _opened(record: WorkspaceRecord) -> tuple[str, ...]:
    return opened_hosts(host for each in record.secrets for host in each.hosts)


def trust_variables(own: WorkspacePaths, record: WorkspaceRecord) -> dict[str, str]:
    """The environment by which programs find the bundle; empty without a network to use it in, or a bundle."""
    wanted = record.network.mode is not NetworkMode.OFF or _opened(record)
    return dict.fromkeys(TRUST_VARIABLES, BUNDLE) if wanted and (own.trust / _FILE).is_file() else {}


def show_host_bundle(own: WorkspacePaths, record: WorkspaceRecord) -> None:
    """Put the host's authorities in place for a workspace whose network begins; with an authority they are there."""
    if not _opened(record) and (bundle := _host_bundle()):
        _publish(own, bundle)


def with_authority(own: WorkspacePaths, vault: Vault) -> Vault:
    """The vault with an authority for its hosts, whose bundle is in place; unchanged if no host needs one.

    The bundle is written before the vault is: certificates are never made by an authority that is not trusted yet.
    """
    hosts = opened_hosts(host for kept in vault.secrets.values() for host in kept.binding.hosts)
    if not hosts:
        return vault
    from sandlot.workspaces.secrets.authority import Authority

    if vault.authority_key:
        authority = Authority.load(vault.authority_key, vault.authority_certificate)
        if not authority.fits(hosts):
            authority = authority.renewed(hosts)
    else:
        authority = Authority.make(hosts)
    certificate = authority.certificate_pem
    _publish(own, _host_bundle() + certificate.encode())
    return replace(vault, authority_key=authority.key_pem, authority_certificate=certificate)


def _host_bundle() -> bytes:
    """The authorities that the host trusts, as PEM; nothing where it keeps none that could be found."""
    for path in (os.environ.get("SSL_CERT_FILE", ""), *_HOST_BUNDLES):
        if found := _content(path):
            return found
    import ssl  # slow to import, and where Python was built to look is rarely where the system keeps them

    return _content(ssl.get_default_verify_paths().openssl_cafile)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read().rstrip(b"\n") + b"\n"
    except OSError:
        return b""


def _publish(own: WorkspacePaths, bundle: bytes) -> None:
    target = own.trust / _FILE
    draft = own.trust / f".{os.urandom(4).hex()}"
    try:
        if target.is_file() and target.read_bytes() == bundle:
            return
        own.trust.mkdir(mode=0o755, exist_ok=True)
        draft.write_bytes(bundle)
        draft.chmod(0o444)
        os.replace(draft, target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StateUnwritable(f"cannot write {own.trust}: {error.strerror}") from error
