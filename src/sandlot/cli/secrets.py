"""Secrets for people."""

from __future__ import annotations

import sys
from typing import Any

from sandlot.cli.terminal import table

__all__ = ["ask", "print_deleted", "print_list", "print_set", "rows"]

_NOWHERE = "(only --reveal)"


def ask(name: str) -> bytes:
    """The value, typed by a person and not shown. Raises KeyboardInterrupt."""
    from getpass import getpass

    return getpass(f"value of {name}: ").encode("utf-8", "surrogateescape")


def rows(secrets: Any) -> list[tuple[str, str]]:
    """Lines of a workspace's facts."""
    return [("secret", f"{each.name}: {', '.join(each.hosts) or _NOWHERE}") for each in secrets]


def print_set(result: Any) -> None:
    """What it is bound to."""
    where = ", ".join(result.secret.hosts) or _NOWHERE
    print(f"secret {result.secret.name} {'set' if result.created else 'changed'}: {where}")
    _warn(result)


def print_list(result: Any) -> None:
    """Names and hosts."""
    if not result.secrets:
        print("no secrets", file=sys.stderr)
        return
    table(("name", "hosts"), [(each.name, ", ".join(each.hosts) or _NOWHERE) for each in result.secrets])
    _warn(result)


def print_deleted(result: Any) -> None:
    """What is gone."""
    print(f"deleted {result.name}")


def _warn(result: Any) -> None:
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
