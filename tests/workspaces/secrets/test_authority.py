"""The certificates of a workspace open TLS to the bound hosts, and to nobody else."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest

from sandlot.errors import StateCorrupt
from sandlot.workspaces.secrets import authority as module
from sandlot.workspaces.secrets.authority import Authority


def shake(authority: Authority, host: str, *, trust: Authority | None = None) -> None:
    """A TLS handshake as ``host`` with a client that trusts the authority. Raises ssl.SSLError."""
    client_end, server_end = socket.socketpair()
    client_end.settimeout(20)
    server_end.settimeout(20)

    def serve() -> None:
        try:
            authority.server_context(host).wrap_socket(server_end, server_side=True).close()
        except OSError:
            server_end.close()

    thread = threading.Thread(target=serve)
    thread.start()
    context = ssl.create_default_context(cadata=(trust or authority).certificate_pem)
    try:
        with context.wrap_socket(client_end, server_hostname=host):
            pass
    finally:
        client_end.close()
        thread.join()


@pytest.mark.parametrize("host", ["api.example.com", "127.0.0.1", "::1"])
def test_a_client_that_trusts_the_authority_accepts_a_bound_host(host: str) -> None:
    shake(Authority.make(["api.example.com", "127.0.0.1", "::1"]), host)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.2", "example.com"])
def test_its_certificates_are_worth_nothing_for_other_hosts(host: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        shake(Authority.make(["api.example.com", "127.0.0.1"]), host)


def test_nobody_else_trusts_it() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(Authority.make(["api.example.com"]), "api.example.com", trust=Authority.make(["api.example.com"]))


def test_a_renewed_certificate_has_the_same_key_so_that_running_programs_go_on() -> None:
    old = Authority.make(["api.example.com"])
    new = old.renewed(["api.example.com", "other.example"])
    assert new.key_pem == old.key_pem
    shake(new, "api.example.com", trust=old)
    shake(new, "other.example")


def test_it_fits_its_hosts_while_it_is_good_for_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make(["api.example.com"])
    assert authority.fits(["api.example.com"])
    assert not authority.fits(["api.example.com", "other.example"])
    monkeypatch.setattr(module, "RENEW_BEFORE", module.LIFE)
    assert not authority.fits(["api.example.com"])


def test_it_is_the_same_after_it_was_kept() -> None:
    authority = Authority.make(["api.example.com"])
    again = Authority.load(authority.key_pem, authority.certificate_pem)
    shake(again, "api.example.com", trust=authority)


def test_a_damaged_one_is_an_error_that_tells_nothing_of_the_key() -> None:
    key = Authority.make(["api.example.com"]).key_pem
    with pytest.raises(StateCorrupt) as caught:
        Authority.load(key[:100], "nonsense")
    assert key[30:60] not in str(caught.value)
