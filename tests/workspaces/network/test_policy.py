"""What an allow list means, name by name and address by address."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.model.network import AllowEntry, Network, NetworkMode, PublishedPort, host_name
from sandlot.workspaces.network.addresses import closed_because

SPECIAL = [
    ipaddress.ip_network(each)
    for each in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
                 "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "fc00::/7", "fe80::/10", "ff00::/8", "2002::/16")
]  # fmt: skip
"""Where a chance address would hardly ever be."""


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Example.ORG", "example.org"), ("example.org.", "example.org"), ("bücher.example", "xn--bcher-kva.example"),
     ("a_b.example", "a_b.example"), ("192.0.2.1", "192.0.2.1"), ("[2001:DB8::1]", "2001:db8::1")],
)  # fmt: skip
def test_a_host_has_one_form(written: str, meant: str) -> None:
    assert host_name(written) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "a b",
        "a/b",
        "a\n",
        "a\0b",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "127.0.0.1.5",
        "::ffff:127.0.0.1",
        "[::ffff:7f00:1]",
        "fe80::1%eth0",
        "1.2.3.4.x.5",
        "a" * 64,
        "a." * 127 + "b",
        "*",
    ],
)
def test_what_a_resolver_could_take_for_something_else_is_no_host(text: str) -> None:
    with pytest.raises(ValueError):
        host_name(text)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 4))
def test_an_address_in_an_odd_notation_is_no_host(value: int, style: int, parts: int) -> None:
    rest = value & (2 ** (8 * (5 - parts)) - 1)
    numbers = [*[(value >> 24) & 255, (value >> 16) & 255, (value >> 8) & 255][: parts - 1], rest]
    text = ".".join(["%d", "0%o", "0x%x", "0X%X"][style] % number for number in numbers)
    usual = str(ipaddress.IPv4Address(socket.inet_aton(text)))
    try:
        assert host_name(text) == usual == text
    except ValueError:
        assert text != usual


@given(st.text(max_size=30))
def test_nothing_that_is_a_host_holds_surprises(text: str) -> None:
    try:
        name = host_name(text)
    except ValueError:
        return
    assert name == host_name(name)
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")


@pytest.mark.parametrize(
    ("entry", "host", "port", "matches"),
    [
        ("a.example", "a.example", 443, True),
        ("a.example", "a.example", 80, True),
        ("a.example", "a.example", 22, False),
        ("a.example", "b.a.example", 443, False),
        ("*.a.example", "b.a.example", 443, True),
        ("*.a.example", "a.example", 443, False),
        ("*.a.example", "c.b.a.example", 443, True),
        ("*.a.example", "nota.example", 443, False),
        ("a.example:8080", "a.example", 8080, True),
        ("a.example:8080", "a.example", 443, False),
        ("[2001:db8::1]:99", "2001:db8::1", 99, True),
    ],
)
def test_an_entry_means_what_it_says(entry: str, host: str, port: int, matches: bool) -> None:
    assert AllowEntry.parse(entry).matches(host, port) is matches
    assert str(AllowEntry.parse(str(AllowEntry.parse(entry)))) == entry


@pytest.mark.parametrize(
    "text", ["", "a:0", "a:65536", "a:x", "*", "*.", "*.1.2.3.4", "http://a", "a/b", "a:80:90", "-:"]
)
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        AllowEntry.parse(text)


def test_a_port_is_published_where_asked_or_anywhere() -> None:
    assert PublishedPort.parse("8000") == PublishedPort(8000)
    assert PublishedPort.parse("0:8000") == PublishedPort(8000)
    assert PublishedPort.parse("9000:8000") == PublishedPort(8000, 9000, fixed=True)
    for text in ("", "x", "0", "1:", ":1", "1:2:3", "70000", "-1"):
        with pytest.raises(ValueError):
            PublishedPort.parse(text)


def test_a_fork_publishes_the_same_ports_elsewhere() -> None:
    network = Network(NetworkMode.ALLOWLIST, ("a.example",), (), (PublishedPort(8000, 9000, fixed=True),))
    assert network.for_fork() == Network(NetworkMode.ALLOWLIST, ("a.example",), (), (PublishedPort(8000),))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:808:808::1",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "not an address",
    ],
)
def test_addresses_that_lead_back_are_closed(address: str) -> None:
    assert closed_because(address) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_are_open(address: str) -> None:
    assert closed_because(address) is None


DOCUMENTATION = [ipaddress.ip_network(each) for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
"""Not global, and open: nobody's private services are there, but the package mirrors of closed networks are."""


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), *(st.ip_addresses(network=each) for each in SPECIAL)))
def test_what_python_knows_to_be_special_is_closed(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    documentation = any(address in network for network in DOCUMENTATION)
    if (not address.is_global or address.is_multicast) and not documentation:
        assert closed_because(str(address)) is not None


@pytest.mark.parametrize("address", ["192.0.2.200", "198.51.100.200", "203.0.113.200"])
def test_the_documentation_networks_are_open_as_closed_machines_have_their_mirrors_there(address: str) -> None:
    assert closed_because(address) is None


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.1.1", "100.100.100.200", "168.63.129.16", "0.0.0.0", "224.0.0.1", "255.255.255.255",
     "fd00:ec2::254", "fe80::1", "ff02::1", "::", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"],
)  # fmt: skip
def test_metadata_services_stay_closed_to_hosts_that_may_be_private(address: str) -> None:
    assert closed_because(address, private=True) is not None


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fd12::1"])
def test_a_host_that_may_be_private_may_be_private(address: str) -> None:
    assert closed_because(address, private=True) is None
