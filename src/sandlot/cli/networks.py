"""A workspace's network, for people."""

from __future__ import annotations

import sys
from typing import Any

from sandlot.cli.terminal import shown

__all__ = ["port_rows", "print_denials", "print_denied", "rows"]


def rows(network: Any) -> list[tuple[str, str]]:
    """What create and status say of it; nothing of one that is off and serves nobody."""
    found = []
    if network.mode != "off":
        hosts = ", ".join((*network.allow, *(f"{each} (private)" for each in network.allow_private)))
        found.append(("network", f"{network.mode}{': ' + hosts if hosts else ''}"))
    return found + port_rows(network.ports)


def port_rows(ports: Any) -> list[tuple[str, str]]:
    """Where published ports can be reached."""
    found = []
    for each in ports:
        where = f"127.0.0.1:{each.host_port}" if each.host_port else "from the next start on"
        found.append(("published", f"{where} -> {each.port}"))
    return found


def print_denied(denied: tuple[str, ...]) -> None:
    """What a command was denied, behind its output: many tools do not say why they failed."""
    for place in denied:
        print(f"sandlot: network_denied: {shown(place)}", file=sys.stderr)


def print_denials(denials: Any) -> None:
    """The last denials, with time and reason."""
    if denials:
        print(f"{'denied':12} lately:")
    for each in denials:
        print(f"  {each.at[:19].replace('T', ' ')}  {shown(each.place)}: {shown(each.why)}")
