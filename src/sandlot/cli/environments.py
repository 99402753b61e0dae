"""Environments, for people."""

from __future__ import annotations

from typing import Any

from sandlot.cli.terminal import shown, table

__all__ = ["print_built", "print_inspected", "print_listed", "print_prepared", "print_pruned"]


def print_listed(result: Any) -> None:
    """One line for each; those that could be built come last."""
    rows = [
        (
            ", ".join(each.names) or "-",
            each.digest[:12] or "-",
            each.readiness.value,
            _size(each.bytes) if each.digest else "-",
            each.used_at[:19].replace("T", " ") or "-",
            str(each.workspaces),
            f"{each.kind}: {each.source}",
        )
        for each in result.environments
    ]
    table(("name", "digest", "state", "size", "used (utc)", "workspaces", "from"), rows)


def print_built(result: Any) -> None:
    """What a build or import has made."""
    found = result.environment
    how = "is here already" if result.cached else "is ready"
    print(f"{shown(result.name)} {how}: {found.digest}, {found.files} files, {_size(found.bytes)}")
    for path in found.skipped[:10]:
        print(f"skipped {shown(path)} (a device, FIFO or socket)")
    print(f"next: sandlot workspace create . --environment {shown(result.name)}")


def print_inspected(result: Any) -> None:
    """Its facts, a line each."""
    found = result.environment
    rows = [
        ("environment", f"{result.name}@{found.digest}"),
        ("from", f"{found.kind.value}: {found.source}"),
        ("image", found.image or ""),
        ("parent", found.parent or ""),
        ("created", found.created_at),
        ("content", f"{found.files} files, {_size(found.bytes)}"),
        ("guests", f"{_size(result.guests_bytes)} besides" if result.guests_bytes else ""),
        ("shell", found.shell or "none"),
        ("root", result.root),
        ("workspaces", ", ".join(result.workspaces)),
    ]
    rows += [("setup", command) for command in found.setup]
    rows += [("variable", f"{name}={value}") for name, value in sorted(found.variables.items())]
    for key, value in rows:
        if value:
            print(f"{key:12} {shown(value)}")


def print_pruned(result: Any) -> None:
    """What is gone."""
    word = "would remove" if result.dry_run else "removed"
    gone = result.pruned
    print(f"{word} {len(gone.digests)} environments, at most {_size(gone.bytes)}")
    for name in gone.names:
        print(f"  {shown(name)}")
    if result.guests.things:
        print(f"{word} {result.guests.things} templates and files of guests, {_size(result.guests.bytes)}")


def print_prepared(result: Any) -> None:
    """Each step and what it took."""
    for step in result.steps:
        print(f"{step.name:18} {step.ms:>8} ms  {shown(step.detail)}".rstrip())
    how = f"{result.runtime}, isolation {result.isolation}"
    print(f"{shown(result.environment)} was {result.before.value}, and is ready ({how})")


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
