"""The commands of shells for people, and how answers about shells are printed."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

from sandlot.cli.terminal import shown, table
from sandlot.errors import SandlotError, ShellNotFound, UsageError

__all__ = ["ATTACH", "OPEN", "command", "parser", "print_closed", "print_list", "print_opened", "print_read"]

OPEN = ("workspace", "shell")
ATTACH = ("workspace", "shell", "attach")
OPEN_HELP = "Open a shell in a workspace and attach this terminal to it."
_ATTACH_EXAMPLES = ("sandlot workspace shell attach fix-123", "sandlot workspace shell attach fix-123 shell-2")
_OPEN_EXAMPLES = ("sandlot workspace shell fix-123", "sandlot workspace shell fix-123 --cwd src -- python3 -q")


def parser(path: tuple[str, ...]) -> argparse.ArgumentParser:
    """The parser of ``workspace shell`` or ``workspace shell attach``."""
    from sandlot.cli.groups import EXTRA
    from sandlot.cli.words import Formatter, Parser

    attach = path == ATTACH
    examples = _ATTACH_EXAMPLES if attach else _OPEN_EXAMPLES
    made = Parser(
        prog=" ".join(("sandlot", *path)),
        description=EXTRA[path] if attach else OPEN_HELP,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    made.add_argument("workspace", metavar="ID", help="id or name")
    if attach:
        made.add_argument("shell", metavar="SHELL", nargs="?", help="its name or number [default: the newest open one]")
    else:
        made.add_argument("--name", help="what to call it [default: shell-NUMBER]")
        made.add_argument("--cwd", metavar="DIR", default="/workspace", help="working folder inside")
        made.takes_command = True
        made.usage = f"{made.prog} [OPTION...] ID [-- COMMAND [ARG...]]"
    made.add_argument(
        "--detach-keys",
        metavar="KEYS",
        help="keys that leave the shell open and give the terminal back, as in ctrl-],d",
    )
    made.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    return made


def command(path: tuple[str, ...], arguments: list[str], program: list[str] | None) -> int:
    """Run one of the two: the exit status of the shell, 0 when the person has detached, 125 for our own errors."""
    from sandlot.cli.answer import print_error
    from sandlot.cli.main import OWN_FAILURE

    if program is not None and path == ATTACH:
        arguments, program = [*arguments, "--", *program], None
    try:
        parsed = parser(path).parse_args(arguments)
        return _attach(path, parsed, program or [])
    except SandlotError as error:
        name = next((word for word in arguments if not word.startswith("-")), "ID")
        error.hint = " ".join(shlex.quote(name) if word == "ID" else word for word in error.hint.split(" "))
        print_error(error, json_wanted="--json" in arguments)
        return OWN_FAILURE


def _attach(path: tuple[str, ...], parsed: argparse.Namespace, program: list[str]) -> int:
    from sandlot.cli import attach
    from sandlot.workspaces import reaper, shells
    from sandlot.workspaces.context import Context

    if parsed.json:
        raise UsageError("an attached terminal has no JSON", hint="programs use: sandlot workspace shell read ID SHELL")
    attach.need_terminal()
    context = Context.default()
    try:
        words = parsed.detach_keys or context.settings.detach_keys
        keys = attach.detach_bytes(words)
        reaper.reconcile(context)
        record = context.store.find(parsed.workspace)
        if path == ATTACH:
            found = _find(context, record, parsed.shell)
        else:
            rows, columns = attach.terminal_size()
            found = shells.open_shell(
                context, record, program, name=parsed.name, cwd=parsed.cwd, rows=rows, columns=columns
            )
        record = context.store.find(record.id)
        with shells.join(context, record, found) as link:
            spelled = " ".join(word for word in words.split(",") if word)
            greeting = f"attached to {found.name} of {record.label}; detach with {spelled}"
            status = attach.Attachment(context, record, found, link, keys).run(greeting, from_start=path == OPEN)
        if status is None:
            again = f"sandlot workspace shell attach {shlex.quote(parsed.workspace)} {found.name}"
            attach.say(f"detached; it stays open: {again}")
            return 0
        return status
    finally:
        context.close()


def _find(context: Any, record: Any, key: str | None) -> Any:
    from sandlot.workspaces import shells

    if key is not None:
        return shells.find(context, record, key)
    running = next((each for each in shells.all_of(context, record) if each.outcome is None), None)
    if running is None:
        raise ShellNotFound(f"workspace {record.label} has no open shell", hint="sandlot workspace shell ID")
    return running


def state(info: Any) -> str:
    """How it is, in a word or two."""
    if info.state.value == "exited":
        return f"exit {info.exit_code}"
    return {"killed": "closed", "signaled": str(info.signal)}.get(info.state.value, str(info.state.value))


def print_opened(request: Any, result: Any) -> None:
    """What to do next."""
    info, workspace = result.shell, shlex.quote(request.workspace)
    print(f"{info.name} is open, {info.rows}x{info.columns}, {shown(shlex.join(info.argv))}")
    print(f"next: sandlot workspace shell write {workspace} {info.name} 'ls' --enter", file=sys.stderr)


def print_list(result: Any) -> None:
    """A table."""
    if not result.shells:
        print("no shells", file=sys.stderr)
        return
    rows = [
        (each.name, str(each.number), state(each), f"{each.rows}x{each.columns}",
         each.started_at[:19].replace("T", " "), str(each.total_bytes), shlex.join(each.argv)[:80])
        for each in result.shells
    ]  # fmt: skip
    table(("name", "no", "state", "size", "started (utc)", "bytes", "command"), rows)


def print_read(result: Any) -> None:
    """What was streamed needs a word about the rest."""
    if result.dropped:
        print(f"warning: {result.dropped} bytes are no longer kept", file=sys.stderr)
    more = "more" if result.more else "next"
    if result.running or result.more:
        print(f"{more}: --cursor {result.next_cursor}", file=sys.stderr)
    else:
        print(f"{result.shell.name} has ended: {state(result.shell)}", file=sys.stderr)


def print_closed(result: Any) -> None:
    """Its state."""
    print(f"{result.shell.name}: {state(result.shell)}, {result.shell.rows}x{result.shell.columns}")
