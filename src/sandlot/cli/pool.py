"""``sandlot pool``: the prepared workspaces that pooled evals start from."""

from __future__ import annotations

import argparse
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sandlot.cli.terminal import table
from sandlot.cli.words import parse, parser_of

if TYPE_CHECKING:
    from sandlot.evals.pool import Pool

__all__ = ["COMMANDS", "add_arguments", "command", "parser"]

EXAMPLES = {
    "list": ("sandlot pool list", "sandlot pool list --json"),
    "prune": ("sandlot pool prune --unused-for 7d --dry-run", "sandlot pool prune"),
}
COMMANDS = tuple(EXAMPLES)


def parser(name: str) -> argparse.ArgumentParser:
    """The parser of one of the commands."""
    made = parser_of(("pool", name), EXAMPLES[name])
    add_arguments(made, name)
    return made


def add_arguments(made: argparse.ArgumentParser, name: str) -> None:
    """All that one of the commands takes."""
    if name == "prune":
        made.add_argument("--unused-for", metavar="DURATION", default="0s", help="only those unused for so long [0s]")
        made.add_argument("--dry-run", action="store_true", help="only say what would go")
    made.add_argument("--json", action="store_true", help="print the answer, or the error, as JSON")


def command(words: list[str], json_wanted: bool) -> int:
    """Run one of the two."""
    from sandlot.evals.pool import pools, prune
    from sandlot.sdk import Sandlot
    from sandlot.settings import duration

    name = words[0]
    parsed = parse(parser(name), words[1:], json_wanted)
    with Sandlot() as sandlot:
        if name == "list":
            found = pools(sandlot)
        else:
            seconds = duration(parsed.unused_for)
            found = prune(sandlot, unused_for_s=math.inf if seconds is None else seconds, dry_run=parsed.dry_run)
    if parsed.json:
        from sandlot.cli.answer import as_json

        print(as_json({"pools": found} if name == "list" else {"pruned": found, "dry_run": parsed.dry_run}))
    elif name == "list":
        _print(found)
    else:
        _print_pruned(found, dry_run=parsed.dry_run)
    return 0


def _print(found: list[Pool]) -> None:
    if not found:
        print("no prepared workspaces")
        return
    now = datetime.now(UTC)
    rows = [
        (each.fingerprint[:12], each.workspace, _size(each.bytes), str(each.trials), _ago(each.created_at, now),
         _ago(each.used_at, now))
        for each in found
    ]  # fmt: skip
    table(("fingerprint", "workspace", "size", "trials", "made", "used"), rows)


def _print_pruned(found: list[Pool], *, dry_run: bool) -> None:
    for each in found:
        print(f"{'would delete' if dry_run else 'deleted'} {each.fingerprint[:12]} ({each.workspace})")
    if not found:
        print("nothing to prune")


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _ago(moment: str, now: datetime) -> str:
    """How long ago, in the largest unit."""
    passed = max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if passed >= length:
            return f"{passed // length}{unit} ago"
    return f"{passed}s ago"
