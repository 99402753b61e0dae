"""Services for people."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from sandlot.cli.networks import port_rows
from sandlot.cli.terminal import shown, table

__all__ = ["print_listed", "print_logged", "print_service", "service_line"]


def service_line(info: Any) -> str:
    """One service on one line."""
    reason = f": {info.reason}" if info.reason else ""
    return shown(f"{info.name}: {info.state.value}{reason} ({shlex.join(info.argv)[:120]})")


def print_service(result: Any) -> None:
    """A service and what it printed last."""
    info = result.service
    rows = [
        ("service", f"{info.name} (command {info.number})"),
        ("state", info.state.value + (f" since {info.since}" if info.since else "")),
        ("command", shlex.join(info.argv)),
    ]
    if info.reason:
        rows.insert(2, ("reason", info.reason))
    if info.pid:
        rows.append(("pid inside", str(info.pid)))
    if info.restarts:
        rows.append(("restarts", str(info.restarts)))
    if not info.state.over:
        rows += port_rows(result.ports)
    for key, value in rows:
        print(f"{key:12} {shown(value)}")
    for name, output in (("stdout", result.stdout), ("stderr", result.stderr)):
        if output.text:
            print(f"{'last ' + name:12}")
            for line in output.text.splitlines():
                print(f"  {shown(line)}")


def print_listed(result: Any) -> None:
    """A line for each service."""
    if not result.services:
        print("no services", file=sys.stderr)
        return
    rows = [
        (
            each.name,
            each.state.value,
            (each.since or each.started_at)[:19].replace("T", " "),
            str(each.restarts),
            str(each.number),
            shlex.join(each.argv)[:80],
            each.reason or "-",
        )
        for each in result.services
    ]
    table(("name", "state", "since (utc)", "restarts", "no", "command", "reason"), rows)


def print_logged(result: Any) -> None:
    """The output has gone to our own streams; a word about a service that is over."""
    if result.service.state.over:
        reason = f": {result.service.reason}" if result.service.reason else ""
        print(f"sandlot: {result.service.name} {result.service.state.value}{shown(reason)}", file=sys.stderr)
