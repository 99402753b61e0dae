"""Shell completion: commands and options from the operations, names of workspaces and snapshots from the store."""

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


def _snapshots(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    from sandlot.workspaces.context import Context

    try:
        record = Context.default().store.find(parsed_args.workspace or "")
        return [each.name for each in record.snapshots]
    except SandlotError:
        return []


def _shells(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    from sandlot.workspaces import shells
    from sandlot.workspaces.context import Context

    try:
        context = Context.default()
        record = context.store.find(parsed_args.workspace or "")
        return [each.name or "" for each in shells.all_of(context, record) if each.outcome is None]
    except SandlotError:
        return []


def _runs(prefix: str = "", **_: Any) -> list[str]:
    """Ids of the project's runs; a path to one is the shell's to complete."""
    from pathlib import Path

    from sandlot.evals.runs import LATEST, names

    if "/" in prefix:
        from argcomplete.completers import FilesCompleter

        return [str(each) for each in FilesCompleter()(prefix)]
    return [LATEST, *names(Path.cwd())]


def _states(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    return ["baseline", *_snapshots(parsed_args)]


def _nothing(**_: Any) -> list[str]:
    """For paths inside a workspace, texts and numbers: files of the host would be wrong there."""
    return []


_COMPLETERS = {
    ("snapshot_delete", "name"): _snapshots,
    ("diff", "to"): _states,
    ("workspace_reset", "to"): _states,
}


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
            _fill(parser, catalog.BY_COMMAND[path])
        elif path == ("workspace", "shell", "attach"):
            parser.add_argument("workspace").completer = _workspaces
            parser.add_argument("shell", nargs="?").completer = _shells
            parser.add_argument("--detach-keys")
        elif path == ("completion",):
            parser.add_argument("shell", choices=SHELLS)
        elif path == ("mcp", "serve"):
            from sandlot.cli.mcp import add_options

            add_options(parser)
        elif path[0] == "host":
            _fill_host(parser, path[1])
        elif path[0] == "pool":
            from sandlot.cli.pool import add_arguments as add_pool

            add_pool(parser, path[1])
        elif path[0] == "eval":
            from sandlot.cli import eval_suites, eval_words

            (eval_suites if path[1] in eval_suites.COMMANDS else eval_words).add_arguments(parser, path[1])
            for action in parser._actions:
                if action.dest in ("run", "runs", "before", "after", "baseline"):
                    action.completer = _runs  # where argcomplete looks for it
        elif path == ("demo",):
            parser.add_argument("--keep", action="store_true")
            parser.add_argument("--json", action="store_true")
    return root


def _fill_host(parser: argparse.ArgumentParser, name: str) -> None:
    from sandlot.cli.host import add_arguments
    from sandlot.hosts.catalog import HOSTS
    from sandlot.hosts.checks import CHECKS

    add_arguments(parser, name)
    names = {"host": [each.key for each in HOSTS], "checks": [*CHECKS]}
    for action in parser._actions:
        if action.dest in names:
            action.choices = names[action.dest]


def _fill(parser: argparse.ArgumentParser, name: str) -> None:
    operation = catalog.load(name)
    words.add_arguments(parser, operation)
    on_host = {field.name for field, about in operation.arguments() if about.host_path} | {"from_file"}
    for action in parser._actions:  # argparse has no public list of them
        if action.dest in ("workspace", "workspaces"):
            completer: Any = _workspaces
        elif action.dest in on_host:
            continue  # files and folders, by argcomplete's own habit
        else:
            completer = _COMPLETERS.get((name, action.dest), _nothing)
            if action.dest == "shell" and name.startswith("shell_"):
                completer = _shells
        if action.choices is None and action.nargs != 0:
            action.completer = completer  # type: ignore[attr-defined]  # where argcomplete looks for it


def complete() -> None:
    """Answer the shell's question and exit; argcomplete reads it from the environment."""
    import argcomplete

    argcomplete.autocomplete(_whole_parser(), always_complete_options=False)


def command(arguments: list[str]) -> int:
    """``sandlot completion bash|zsh|fish``."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(
            "usage: sandlot completion bash|zsh|fish\n\n"
            "Print the shell code that completes sandlot's commands, options, workspaces and snapshots.\n\n"
            "examples:\n"
            '  eval "$(sandlot completion bash)"\n'
            "  sandlot completion fish > ~/.config/fish/completions/sandlot.fish"
        )
        return 0
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise UsageError("name one shell", hint="sandlot completion " + "|".join(SHELLS))
    from argcomplete.shell_integration import shellcode

    print(shellcode(["sandlot"], shell=arguments[0]))
    return 0
