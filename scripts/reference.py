"""Write docs/reference/cli.md, errors.md and startup-modes.md from the code they describe.

``python scripts/reference.py`` writes the pages, ``--check`` says whether they are up to date (exit status 1: not).
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import enum
import importlib
import inspect
import itertools
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sandlot.cli.answer  # both define errors of their own
import sandlot.runtimes.channel  # noqa: F401  as above
from sandlot import errors
from sandlot.cli import eval_suites, eval_words, host, mcp, pool, words
from sandlot.cli.groups import EXTRA, GROUPS
from sandlot.errors import SandlotError
from sandlot.evals.requests import EVALS
from sandlot.hosts.around import Around
from sandlot.hosts.catalog import HOSTS
from sandlot.hosts.checks import CHECKS
from sandlot.hosts.connecting import snippet
from sandlot.hosts.launch import Allow, Launch, Scope
from sandlot.mcpserver.tools import Tool, tools_of
from sandlot.modes import CORE, FULL, NEVER, UNSEEN, StartupMode, Surface, surfaces
from sandlot.operations import catalog
from sandlot.operations.operation import Effect, Operation

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py. Change the code it describes, then run that. -->\n"

CLI_HEAD = """
# Command line

Every command has `--help` (with examples) and `--json`: one line of JSON on standard output, the answer or the error
(see [errors](errors.md)). Answers go to standard output, everything else to standard error. What a command in a
workspace prints is passed on as it is, except on a terminal, where control sequences other than colours are escaped.

Durations are written `90s`, `15m`, `2h`, `14d`, `1h30m` or `never`; a bare number is seconds. Sizes are written
`4096`, `64K`, `20M`, `2G` (powers of 1024). Wherever `ID` stands, a workspace's name is as good. Options may stand
before or behind the arguments; the command to run stands behind `--`. "Repeatable" options may be given several times.

## Exit statuses

| status | meaning |
|---|---|
| 0 | done |
| 1 | `doctor` found something that has to be fixed |
| 2 to 8 | an error of sandlot's own, by its class: see [errors](errors.md) |
| 70 | a bug in sandlot; please report it |
| 128 + n, 141 | ended by signal n (130: ctrl-C); standard output was closed |

`run`, `workspace exec` and `workspace wait` pass on the status of the command instead:

| status | meaning |
|---|---|
| 0 to 255 | the command's own |
| 124 | it was ended because its time was up |
| 125 | sandlot failed, not the command; the message or `--json` says why |
| 126, 127 | the program cannot be executed; it (or the working folder) does not exist |
| 128 + n | signal n ended it |
"""

ERRORS_HEAD = """
# Errors

Every failure has a code that does not change, an exit status and, where there is one, a hint with the next step. On
the command line it is two lines on standard error, `error: ...` and `hint: ...`; with `--json` it is one object on
standard output (on one line):

```json
{
  "error": {
    "code": "workspace_not_found",
    "message": "no workspace has the id or name 'x'",
    "hint": "sandlot workspace list",
    "details": []
  }
}
```

In the SDK it is an exception with the attributes `code`, `message`, `hint` and `details`; all of them derive from
`sandlot.SandlotError` and, but for those marked, live in `sandlot.errors`. `run`, `workspace exec` and
`workspace wait` exit with 125 in place of the statuses below, since those could be the command's own.

A command that fails inside a workspace is no error: its exit code is part of the answer.
"""

MODES_HEAD = """
# Startup modes

A startup mode is what somebody wants to do. It decides which operations a chat host shows its model, with which
arguments, in which words; few tools that fit the work are used better than many. A mode is fixed when the server
starts: what it does not show does not exist for the chat, and when it is called by name all the same, the answer is an
error that names the mode. Parallel work is another workspace in the same mode.

```sh
sandlot host connect claude-code --mode repro-fix     # the usual way: the chat host starts the server
sandlot mcp serve --mode inspect                      # the server itself, on standard streams
sandlot mcp serve --mode inspect --read-only          # only what changes nothing in a workspace, of any mode
```

Without a mode it is `workspace-core`, the everyday tools; `--profile workspace-full` has every operation on workspaces.
Modes and profiles exclude each other. `--read-only` narrows any of them further.
"""


HOSTS_HEAD = """
# Chat hosts

What `sandlot host connect` writes, and where. How to use it: [connect a chat host](../how-to/connect-a-host.md).
Variables that move a host's folder are heeded: `CLAUDE_CONFIG_DIR`, `CODEX_HOME`, `GEMINI_CLI_HOME`, `COPILOT_HOME`,
`XDG_CONFIG_HOME`. Claude Code's own file is written by `claude mcp add-json`, where that program is there; every other
file is edited in place.
"""

HOSTS_CHECKS = """
OpenCode's file is `opencode.json`, where that is there already. Cline's is that of its extension for VS Code, where
only the extension is.

## Checks

`sandlot host doctor` names them; the names do not change. Each is `ok`, `warning`, `failed` or `skipped`; the exit
status is 1 when one has failed. A project's entry that is not as sandlot writes it is not started: it may name
anything.
"""

HOSTS_ENTRIES = """
## Entries

For `--mode repro-fix`, in the user's file. In a project's file the command is `sandlot`, and `--project-path` names the
project.
"""


def main() -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a page is out of date")
    check = parser.parse_args().check
    stale = 0
    for name, text in (
        ("cli.md", cli_page()),
        ("errors.md", errors_page()),
        ("startup-modes.md", modes_page()),
        ("chat-hosts.md", hosts_page()),
    ):
        path = PAGES / name
        old = path.read_text() if path.exists() else ""
        if old == text:
            continue
        if check:
            stale = 1
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), text.splitlines(True), name, "code"))
        else:
            path.write_text(text)
    return stale


def cli_page() -> str:
    """Every command, from the operations and the parsers derived from them."""
    types_seen: dict[str, type[Any]] = {}
    parts = [NOTE, CLI_HEAD]
    for group in [(), *(group for group in GROUPS if group)]:
        commands = [(path, name) for path, name in catalog.BY_COMMAND.items() if path[:-1] == group]
        extra = [path for path in EXTRA if path[:-1] == group]
        if commands or extra:
            parts.append(f"\n## {' '.join(('sandlot', *group))}: {GROUPS[group]}\n")
        parts += [_command(catalog.load(name), types_seen) for _, name in commands]
        parts += [_extra(path) for path in extra]
    parts.append(
        "\n## What the answers are made of\n\nThe fields of `--json` answers, which are also the attributes of what the"
        " SDK returns. `null` (`None`) stands for what does not exist or is not known. Text from inside a workspace may"
        " hold bytes that are not UTF-8: they are lone surrogates, `\\udc80` to `\\udcff`, which `os.fsencode` turns"
        " back.\n"
    )
    done: set[str] = set()
    while waiting := sorted(set(types_seen) - done):
        for name in waiting:
            done.add(name)
            _fields(types_seen[name], types_seen)  # finds the types it uses
    for name in sorted(types_seen):
        parts.append(f"\n### {name}\n\n{_about_type(types_seen[name], types_seen)}")
    return "".join(parts)


def _extra(path: tuple[str, ...]) -> str:
    """A command that is no operation."""
    text = f"\n### {' '.join(('sandlot', *path))}\n\n{EXTRA[path]}\n"
    if path[0] == "mcp":
        parser, lines = mcp.parser(), mcp.EXAMPLES
    elif path[0] in ("host", "pool", "eval"):
        evals = eval_suites if path[1] in eval_suites.COMMANDS else eval_words
        room: Any = {"host": host, "pool": pool, "eval": evals}[path[0]]
        parser, lines = room.parser(path[1]), room.EXAMPLES[path[1]]
    else:
        return text
    usage, rows = _options(parser)
    examples = "\n".join(lines)
    return "\n".join([text, f"```text\n{' '.join(usage)}\n```\n", _table(rows), f"```sh\n{examples}\n```\n"])


def _command(operation: Operation[Any, Any], types_seen: dict[str, type[Any]]) -> str:
    parser = words.build(operation)
    takes_command = any(about.kind == "command" for _, about in operation.arguments())
    usage, rows = _options(parser)
    if takes_command:
        usage.append("-- COMMAND [ARG...]")
    lines = [
        f"\n### {parser.prog}\n\n{operation.summary}\n",
        f"```text\n{' '.join(usage)}\n```\n",
        _table(rows),
    ]
    if operation.examples:
        lines.append("```sh\n" + "\n".join(operation.examples) + "\n```\n")
    answer = typing.get_type_hints(operation.run)["return"]
    lines.append(f"{_effect(operation.effect)}\n\n{_fields(answer, types_seen)}")
    return "\n".join(lines)


def _options(parser: argparse.ArgumentParser) -> tuple[list[str], list[tuple[str, str]]]:
    """The parts of the usage line, and (argument or option, meaning) of each."""
    usage = [f"{parser.prog} [OPTION...]"]
    rows = []
    for action in parser._actions:  # argparse has no public list of them
        if action.dest == "help":
            continue
        if not action.option_strings:
            name = str(action.metavar or action.dest)
            many = action.nargs == "*"
            usage.append(f"[{name}{'...' if many else ''}]" if action.nargs else name)
            rows.append((f"`{name}`", action.help or ""))
            continue
        value = "" if action.nargs == 0 else f" {_value(action)}"
        repeatable = " (repeatable)" if isinstance(action.default, list) else ""
        rows.append((", ".join(f"`{word}{value}`" for word in action.option_strings), f"{action.help}{repeatable}"))
    return usage, rows


def _table(rows: list[tuple[str, str]]) -> str:
    lines = "".join(f"| {left} | {_cell(right.replace('%%', '%'))} |\n" for left, right in rows)
    return f"| argument or option | meaning |\n|---|---|\n{lines}"


def _value(action: argparse.Action) -> str:
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return str(action.metavar or action.dest.upper())


def _effect(effect: Effect) -> str:
    if effect.read_only:
        return "Changes nothing. The answer:"
    return "May destroy what was there. The answer:" if effect.destructive else "The answer:"


def _about_type(kind: type[Any], types_seen: dict[str, type[Any]]) -> str:
    text = inspect.cleandoc(kind.__doc__ or "").replace("``", "`")
    if issubclass(kind, enum.Enum):
        values = ", ".join(f"`{each.value}`" for each in kind)
        return f"{text}\n\nOne of {values}.\n"
    return f"{text}\n\n{_fields(kind, types_seen)}"


def _fields(kind: type[Any], types_seen: dict[str, type[Any]]) -> str:
    if not dataclasses.is_dataclass(kind):
        return ""
    hints = typing.get_type_hints(kind)
    about = _attribute_docs(kind)
    rows = []
    for field in dataclasses.fields(kind):
        text = _type_text(hints[field.name], types_seen)
        rows.append(f"| `{field.name}` | {_cell(text)} | {_cell(about.get(field.name, ''))} |\n")
    return "| field | type | meaning |\n|---|---|---|\n" + "".join(rows)


def _type_text(hint: Any, types_seen: dict[str, type[Any]]) -> str:
    if hint is type(None):
        return "null"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_text(each, types_seen) for each in arguments)
    if origin is tuple:
        kinds = [each for each in arguments if each is not Ellipsis]
        return "list of " + ", ".join(dict.fromkeys(_type_text(each, types_seen) for each in kinds))
    if origin is dict:
        return f"object of {_type_text(arguments[1], types_seen)}"
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or issubclass(hint, enum.Enum)):
        if types_seen.setdefault(hint.__name__, hint) is not hint:
            raise SystemExit(f"two types of answers are called {hint.__name__}")
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return {str: "text", int: "number", float: "number", bool: "true or false"}.get(hint, str(hint))


def _attribute_docs(kind: type[Any]) -> dict[str, str]:
    """The strings that stand right behind the fields of a class and its bases."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        module = each.__module__
        if not module.startswith("sandlot"):
            continue
        tree = ast.parse(inspect.getsource(importlib.import_module(module)))
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == each.__name__)
        for field, text in itertools.pairwise(body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[field.target.id] = " ".join(str(text.value.value).split()).replace("``", "`")
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def hosts_page() -> str:
    """Where each host keeps the entry, what it looks like, and what doctor looks at."""
    around = Around(Path("/home/you"), {}, Path("/home/you/project"), "linux")
    launch = Launch(StartupMode.REPRO_FIX)
    rows, entries = [], []
    for each in HOSTS:
        files = []
        for scope in each.scopes:
            place = each.place(around, scope)
            path = place.path.relative_to(around.project if scope is Scope.PROJECT else around.home)
            files.append(f"`{path}`" if scope is Scope.PROJECT else f"`~/{path}`")
        files += ["none"] * (2 - len(files))
        allows = ", ".join(sorted(allow for allow in each.allows if allow is not Allow.NONE)) or "no"
        rows.append(f"| {each.title} | `{each.key}` | {files[0]} | {files[1]} | {allows} |\n")
        place = each.place(around, Scope.USER)
        arguments = [*launch.words()]
        entry = each.shape("/home/you/.local/bin/sandlot", arguments, launch, Allow.NONE, place)
        notation = {"JSON": "json"}.get(place.form.name, place.form.name.lower())
        entries.append(f"\n### {each.title}\n\n```{notation}\n{snippet(place, entry).rstrip()}\n```\n")
    checked = "".join(f"| `{name}` | {about} |\n" for name, about in CHECKS.items())
    return (
        f"{NOTE}{HOSTS_HEAD}\n| host | name | file of the user | file of a project | `--allow` |\n"
        f"|---|---|---|---|---|\n{''.join(rows)}{HOSTS_CHECKS}\n| check | what is in order |\n|---|---|\n{checked}"
        f"{HOSTS_ENTRIES}{''.join(entries)}"
    )


def errors_page() -> str:
    """The exception tree as a table."""
    rows = []
    for depth, kind in _tree(SandlotError, 0):
        name = "&nbsp;" * 4 * depth + f"`{kind.__name__}`"
        text = " ".join(inspect.cleandoc(kind.__doc__ or "").split()).replace("``", "`")
        hint = f" Hint: `{kind.default_hint}`." if kind.default_hint else ""
        if kind.__module__ != errors.__name__:
            hint += f" (In `{kind.__module__}`.)"
        rows.append(f"| {name} | `{kind.code}` | {kind.exit_status} | {_cell(text + hint)} |\n")
    listed = {kind.__name__ for _, kind in _tree(SandlotError, 0)}
    missing = set(errors.__all__) - listed
    if missing:
        raise SystemExit(f"not below SandlotError: {missing}")
    return f"{NOTE}{ERRORS_HEAD}\n| class | code | exit status | meaning |\n|---|---|---|---|\n{''.join(rows)}"


def _tree(kind: type[SandlotError], depth: int) -> Iterator[tuple[int, type[SandlotError]]]:
    yield depth, kind
    for each in kind.__subclasses__():
        yield from _tree(each, depth + 1)


def modes_page() -> str:
    """What each surface shows: a table of all, and each by itself."""
    shown = {each.name: {tool.name: tool for tool in tools_of(each)} for each in surfaces()}
    parts = [NOTE, MODES_HEAD, "\n| | for | tools | recipe |\n|---|---|---|---|\n"]
    for each in surfaces():
        name = f"[`{each.name}`](#{each.name})" if each.tools else f"`{each.name}`"
        parts.append(f"| {name} | {each.purpose} | {len(shown[each.name])} | {_recipe(each)} |\n")
    parts.append("\n## What each of them shows\n\n")
    columns = [each.name for each in surfaces() if each.tools]
    parts.append(f"| tool | {' | '.join(f'`{name}`' for name in columns)} |\n|---|{'---|' * len(columns)}\n")
    for tool in (*shown[FULL], *EVALS):
        marks = ["yes" if tool in shown[name] else "" for name in columns]
        if any(marks):
            parts.append(f"| `{tool}` | {' | '.join(marks)} |\n")
    rest = [tool for tool in shown[FULL] if not any(tool in shown[name] for name in columns)]
    parts.append(f"\n`{FULL}` shows all of these that work on workspaces, and {_words(rest)}.\n")
    parts.append(
        f"\nNo surface has the arguments {_words(sorted(NEVER))}, or the operations {_words(sorted(UNSEEN))}: a model"
        " reads hostile text, and must not be able to decide about that. They are for the user, on the command line.\n"
    )
    parts += [_surface_section(each, shown[each.name]) for each in surfaces() if each.tools]
    return "".join(parts)


def _recipe(found: Surface) -> str:
    pages = {StartupMode.REPRO_FIX: "repro-fix-loop", StartupMode.INSPECT: "untrusted-inspection",
             StartupMode.COLD_START: "cold-start-validation", StartupMode.REVIEW_EVAL: "review-eval"}  # fmt: skip
    page = pages.get(StartupMode(found.name)) if found.name in set(StartupMode) else None
    return f"[{page}](../use-cases/{page}.md)" if page else ""


def _words(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _surface_section(found: Surface, tools: dict[str, Tool]) -> str:
    option = "" if found.name == CORE else f" --mode {found.name}"
    lines = [
        f"\n## {found.name}\n\nFor: {found.purpose}\n",
        f"```sh\nsandlot mcp serve{option}\n```\n",
        f"Prompt `{found.prompt.name}`: {found.prompt.description}\n",
        f"What a model is told of these tools is at most {found.budget:,} tokens. Arguments with a question mark may be"
        " left out.\n",
        "| tool | what it does | arguments |\n|---|---|---|",
    ]
    for tool in tools.values():
        arguments = ", ".join(f"`{each.name}`" + ("" if each.required else "?") for each in tool.inputs)
        pinned = "".join(f", always `{name}={_text(value)}`" for name, value in tool.pinned.items())
        lines.append(f"| `{tool.name}` | {_cell(tool.description)} | {arguments}{pinned} |")
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
