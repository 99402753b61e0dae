"""Entry point: find the command, parse, run, print, exit."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from sandlot._version import __version__

__all__ = ["main"]

OWN_FAILURE = 125
"""Exit status of our own errors where the command's status is passed on (as in env(1) and docker)."""
INTERRUPTED = 130
BROKEN_PIPE = 141
GROUPS = {
    (): "a disposable, isolated workspace for every coding agent",
    ("workspace",): "make, use and delete workspaces",
    ("workspace", "file"): "read and change files in a workspace",
    ("workspace", "patch"): "apply patches in a workspace",
    ("workspace", "snapshot"): "save and list states of a workspace",
    ("workspace", "sync"): "bring later host changes in",
    ("base",): "the shared trees workspaces start from",
}
EXTRA = {("demo",): "Show the whole loop on a small project made on the spot; needs no network.",
         ("completion",): "Print the shell code that completes sandlot's commands."}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["-V"]):
        print(f"sandlot {__version__}")
        sys.exit(0)
    if "_ARGCOMPLETE" in os.environ:
        from sandlot.cli.completion import complete

        complete()
    for number in (signal.SIGTERM, signal.SIGHUP):  # leave through every finally: a one-shot workspace is deleted
        signal.signal(number, _terminated)
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains while it closes stdout
        status = BROKEN_PIPE
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        status = INTERRUPTED
    sys.exit(status)


def _terminated(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _dispatch(words: list[str]) -> int:
    from sandlot.cli.answer import print_error
    from sandlot.errors import SandlotError

    options, command = _split(words)
    json_wanted = "--json" in options
    passes = False
    try:
        name, rest, group = _find(options)
        if name is None:
            return _without_operation(group, rest)
        from sandlot.cli.run import execute
        from sandlot.operations import catalog

        operation = catalog.load(name)
        passes = operation.passes_exit_code
        return execute(operation, rest, command)
    except SandlotError as error:
        print_error(error, json_wanted=json_wanted)
        return OWN_FAILURE if passes else error.exit_status


def _split(words: list[str]) -> tuple[list[str], list[str] | None]:
    """Our words, and the command's (everything after the first ``--``), so options may come in any order before it."""
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _find(words: list[str]) -> tuple[str | None, list[str], tuple[str, ...]]:
    """(operation, the words behind its name, the group they stand in). Leading options are put behind the name."""
    from sandlot.operations.catalog import BY_COMMAND

    leading = []
    while words and words[0] == "--json":
        leading.append(words[0])
        words = words[1:]
    group: tuple[str, ...] = ()
    for at, word in enumerate(words):
        here = (*words[:at], word)
        if here in BY_COMMAND:
            return BY_COMMAND[here], [*words[at + 1 :], *leading], here
        if here not in GROUPS:
            break
        group = here
    return None, words[len(group) :], group


def _without_operation(group: tuple[str, ...], rest: list[str]) -> int:
    """A group's help, one of the few commands that are no operations, or a mistake."""
    from sandlot.errors import UsageError

    if not rest or rest[0] in ("-h", "--help", "help"):
        _print_group(group, wanted=bool(rest))
        return 0 if rest else 2
    word = rest[0]
    if not group and word == "--version":
        print(f"sandlot {__version__}")
        return 0
    if not group and word == "demo":
        from sandlot.cli.demo import command

        return command(rest[1:])
    if not group and word == "completion":
        from sandlot.cli.completion import command as completion

        return completion(rest[1:])
    import difflib

    known = sorted({line[len(group)] for line in _commands() if line[: len(group)] == group and len(line) > len(group)})
    close = difflib.get_close_matches(word, known, 1)
    prefix = " ".join(("sandlot", *group))
    hint = f"did you mean {prefix} {close[0]}?" if close else f"{prefix} --help"
    kind = "option" if word.startswith("-") else "command"
    raise UsageError(f"unknown {kind} {word!r}", hint=hint)


def _commands() -> list[tuple[str, ...]]:
    from sandlot.operations.catalog import BY_COMMAND

    return [*BY_COMMAND, *EXTRA]


def _print_group(group: tuple[str, ...], *, wanted: bool) -> None:
    from sandlot.operations import catalog

    out = sys.stdout if wanted else sys.stderr
    print(f"sandlot {' '.join(group)}".rstrip() + f": {GROUPS[group]}\n", file=out)
    print(f"usage: {' '.join(('sandlot', *group))} COMMAND [OPTION...]\n", file=out)
    rows: list[tuple[str, str]] = []
    for words in _commands():
        if words[: len(group)] == group and len(words) > len(group):
            summary = EXTRA.get(words) or catalog.load(catalog.BY_COMMAND[words]).summary
            rows.append((" ".join(words[len(group) :]), summary))
    width = max(len(row[0]) for row in rows)
    for name, summary in rows:
        print(f"  {name.ljust(width)}  {summary}", file=out)
    print(f"\n{' '.join(('sandlot', *group))} COMMAND --help says more, with examples", file=out)
