"""The certificate authority of one workspace: by it the egress proxy can open TLS to the hosts of its secrets.

Its key lies in the vault and never enters the workspace. Its certificate is good for the bound hosts alone (name
constraints), is trusted by nobody but the workspace, and is shown there in a bundle with the host's own authorities.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sandlot.errors import StateCorrupt

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["LEAF_LIFE", "Authority"]

LIFE = timedelta(days=180)
RENEW_BEFORE = timedelta(days=90)
"""A start renews a certificate that ends sooner."""
LEAF_LIFE = timedelta(days=2)
PAST = timedelta(days=1)
"""Clocks differ."""


class Authority:
    """A key and its certificate."""

    def __init__(self, key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def make(cls, hosts: Sequence[str], key: EllipticCurvePrivateKey | None = None) -> Authority:
        """A certificate for these hosts alone; with ``key`` it replaces an earlier one."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "sandlot"),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, "sandlot workspace authority"),
            ]
        )
        certificate = (
            _builder(name, key, LIFE)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.NameConstraints([_general(host, net=True) for host in hosts], None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def load(cls, key: str, certificate: str) -> Authority:
        """From the PEM texts of a vault. Raises StateCorrupt."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            loaded = serialization.load_pem_private_key(key.encode(), None)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise TypeError("not an EC key")
            return cls(loaded, x509.load_pem_x509_certificate(certificate.encode()))
        except (ValueError, TypeError):
            raise StateCorrupt("the certificate authority of the workspace is damaged") from None

    def fits(self, hosts: Sequence[str]) -> bool:
        """Whether the certificate is good for exactly these hosts, and for long enough."""
        from cryptography import x509

        constraints = self._certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        wanted = {_general(host, net=True) for host in hosts}
        left = self._certificate.not_valid_after_utc - datetime.now(UTC)
        return set(constraints.permitted_subtrees or ()) == wanted and left > RENEW_BEFORE

    def renewed(self, hosts: Sequence[str]) -> Authority:
        """The same key with a new certificate: what was started with the old one goes on."""
        return Authority.make(hosts, self._key)

    @property
    def key_pem(self) -> str:
        return _key_pem(self._key)

    @property
    def certificate_pem(self) -> str:
        from cryptography.hazmat.primitives import serialization

        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server_context(self, host: str) -> ssl.SSLContext:
        """TLS as ``host``, with a certificate made for it just now."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = ec.generate_private_key(ec.SECP256R1())
        # No common name: some would hold it against the name constraints.
        name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "sandlot")])
        ours = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        leaf = (
            _builder(name, key, LEAF_LIFE)
            .issuer_name(self._certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ours), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])  # what the proxy reads
        chain = leaf.public_bytes(serialization.Encoding.PEM).decode() + _key_pem(key)
        # ssl takes files alone: one in memory, so that no key of ours is ever on a disk.
        descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, chain.encode())
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context


def _key_pem(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()


def _builder(name: x509.Name, key: EllipticCurvePrivateKey, life: timedelta) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - PAST)
        .not_valid_after(now + life)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general(host: str, *, net: bool = False) -> x509.GeneralName:
    from cryptography import x509

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return x509.DNSName(host)
    return x509.IPAddress(ipaddress.ip_network(address) if net else address)
