"""Which addresses a workspace may be connected to: public ones, and nothing that leads back to the host or its nets.

A table instead of ``ipaddress.is_global``, whose answers changed between Python versions. Sources: the IANA special
purpose address registries (RFC 6890) and the metadata addresses of the large clouds. The documentation networks
(RFC 5737) are not in it: nothing of a host's own is there, and closed machines use them for their mirrors.
"""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["closed_because", "closed_networks"]

_CLOSED_V4 = tuple(
    (ipaddress.IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),  # a public address by number only: Azure's host
        ("169.254.0.0/16", "link-local, metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
"""All that is public so far. Mapped, NAT64, unique local, link-local and multicast addresses lie outside of it."""
_CLOSED_V6 = tuple(
    (ipaddress.IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "reserved, Teredo"),
        ("2001:db8::/32", "reserved"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "reserved"),
    )
)
_NEVER = (
    ipaddress.ip_network("0.0.0.0/8"),
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("168.63.129.16/32"),
    ipaddress.ip_network("100.100.100.200/32"),
    ipaddress.ip_network("224.0.0.0/3"),
    ipaddress.ip_network("::/128"),
    ipaddress.ip_network("::ffff:0:0/96"),  # these three hold an IPv4 address that nobody has looked at
    ipaddress.ip_network("64:ff9b::/32"),
    ipaddress.ip_network("2002::/16"),
    ipaddress.ip_network("fd00:ec2::/32"),
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("ff00::/8"),
)
"""Closed even to a host that the caller has allowed to be private: metadata services hand out credentials."""


def closed_because(text: str, *, private: bool = False) -> str | None:
    """Why an address is closed, or None when it may be connected to.

    ``private``: the caller has allowed this host to be at a private address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "not an address"
    if private:
        never = any(address.version == each.version and address in each for each in _NEVER)
        return "link-local, metadata or reserved" if never else None
    if address.version == 4:
        what = next((what for network, what in _CLOSED_V4 if address in network), None)
    elif address not in _OPEN_V6:
        what = "not a public address"
    else:
        what = next((what for network, what in _CLOSED_V6 if address in network), None)
    return what or ("an address of this machine" if _own(text, address.version) else None)


def closed_networks() -> list[str]:
    """What is closed of IPv4."""
    return [str(network) for network, _ in _CLOSED_V4]


def _own(text: str, version: int) -> bool:
    """Whether it is the host's own: services that listen on all its addresses are not public by that.

    The source address that the kernel chooses towards an address of its own is that very address; nothing is sent.
    """
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((text, 9))
            return ipaddress.ip_address(probe.getsockname()[0]) == ipaddress.ip_address(text)
    except OSError:
        return False
