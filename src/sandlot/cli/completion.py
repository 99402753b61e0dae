"""Shell completion: commands and options from the operations, workspace names from the store."""

from __future__ import annotations

import argparse
from typing import Any

from sandlot.cli import words
from sandlot.cli.groups import EXTRA
from sandlot.errors import SandlotError, UsageError
from sandlot.operations import catalog

__all__ = ["command", "complete"]

SHELLS = ("bash", "zsh", "fish")


def _workspaces(**_: Any) -> list[str]:
    from sandlot.workspaces.context import Context

    try:
        return [record.name or record.id for record in Context.default().store.all()]
    except SandlotError:
        return []


def _whole_parser() -> argparse.ArgumentParser:
    """Every command in one parser: only completion needs it, running a command builds its own."""
    root = words.Parser(prog="sandlot", allow_abbrev=False)
    root.add_argument("--version", action="store_true")
    groups: dict[tuple[str, ...], Any] = {(): root.add_subparsers()}
    for path in [*catalog.BY_COMMAND, *EXTRA]:
        for depth in range(1, len(path)):
            if path[:depth] not in groups:
                group = groups[path[: depth - 1]].add_parser(path[depth - 1])
                groups[path[:depth]] = group.add_subparsers()
        parser = groups[path[:-1]].add_parser(path[-1])
        if path in catalog.BY_COMMAND:
            words.add_arguments(parser, catalog.load(catalog.BY_COMMAND[path]))
            for action in parser._actions:  # argparse has no public list of them
                if action.dest in ("workspace", "workspaces"):
                    action.completer = _workspaces
        elif path == ("completion",):
            parser.add_argument("shell", choices=SHELLS)
    return root


def complete() -> None:
    """Answer the shell's question and exit; argcomplete reads it from the environment."""
    import argcomplete

    argcomplete.autocomplete(_whole_parser(), always_complete_options=False)


def command(arguments: list[str]) -> int:
    """``sandlot completion bash|zsh|fish``."""
    if arguments in (["-h"], ["--help"]):
        print('usage: sandlot completion bash|zsh|fish\n\n  eval "$(sandlot completion bash)"')
        return 0
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise UsageError("name one shell", hint="sandlot completion " + "|".join(SHELLS))
    from argcomplete.shell_integration import shellcode

    print(shellcode(["sandlot"], shell=arguments[0]))
    return 0
