"""The words before a command: what groups there are, their help, and what somebody may have meant."""

from __future__ import annotations

import os
from typing import IO

from sandlot.errors import UsageError
from sandlot.operations.catalog import BY_COMMAND, load

__all__ = ["EXTRA", "GROUPS", "find", "print_help", "unknown"]

Path = tuple[str, ...]

GROUPS: dict[Path, str] = {
    (): "a disposable, isolated workspace for every coding agent",
    ("workspace",): "make, use and delete workspaces",
    ("workspace", "file"): "read and change files in a workspace",
    ("workspace", "patch"): "apply patches in a workspace",
    ("workspace", "shell"): "shells in a workspace; with an ID alone: open one and attach this terminal to it",
    ("workspace", "service"): "run long-lived processes in a workspace",
    ("workspace", "secret"): "what a workspace can use at certain hosts but not read",
    ("workspace", "snapshot"): "save and list states of a workspace",
    ("workspace", "sync"): "bring later host changes in",
    ("pool",): "the prepared workspaces that pooled evals start from",
    ("base",): "the shared trees workspaces start from",
    ("env",): "what is inside a workspace besides its project",
    ("mcp",): "tools for chat hosts, by the Model Context Protocol",
    ("host",): "connect chat hosts to sandlot's MCP server",
    ("eval",): "run YAML suites of evals, each trial in a workspace of its own",
}
EXTRA: dict[Path, str] = {
    ("workspace", "shell", "attach"): "Attach this terminal to a shell that is open.",
    ("mcp", "serve"): "Serve the tools of a startup mode to a chat host.",
    ("host", "list"): "List chat hosts, and which of them are connected.",
    ("host", "connect"): "Write the entry that starts sandlot's MCP server into a chat host's configuration.",
    ("host", "disconnect"): "Take that entry out again.",
    ("host", "print-config"): "Print the entry as it would be written, and write nothing.",
    ("host", "doctor"): "Check everything between a chat host and sandlot, by really starting the server.",
    ("host", "repair"): "Put right what doctor has found, or take that back.",
    ("eval", "run"): "Run suites of evals: every test, by every target, each trial in a clean workspace.",
    ("eval", "resume"): "Finish a run that was killed, interrupted or stopped by its budget; nothing is run twice.",
    ("eval", "merge"): "Put the shards of a run together.",
    ("eval", "report"): "Say how a run went.",
    ("eval", "compare"): "Compare two runs, test by test.",
    ("eval", "list"): "List the runs of this project.",
    ("eval", "validate"): "Check suites and their targets, exactly as a run would, and run nothing.",
    ("eval", "schema"): "Print the JSON Schema of suites, for editors.",
    ("pool", "list"): "List prepared workspaces: size, age, use.",
    ("pool", "prune"): "Delete prepared workspaces that no run uses; the next run prepares anew.",
    ("demo",): "Show the whole loop on a small project made on the spot; needs no network.",
    ("completion",): "Print the shell code that completes sandlot's commands.",
}
EXAMPLES: dict[Path, str] = {("mcp", "serve"): "sandlot mcp serve --mode repro-fix"}
"""Of commands in EXTRA, for the help of the group they stand in."""
TOUR = (
    "sandlot demo",
    "sandlot workspace create . --name fix-123",
    "sandlot workspace exec fix-123 -- pytest -q",
    "sandlot workspace diff fix-123",
    "sandlot workspace delete fix-123",
)
GROUP_EXAMPLES: dict[Path, tuple[str, ...]] = {
    (): TOUR,
    ("host",): (
        "sandlot host list",
        "sandlot host connect claude-code --mode repro-fix",
        "sandlot host doctor claude-code",
        "sandlot host disconnect claude-code",
    ),
    ("eval",): (
        "sandlot eval run evals/",
        "sandlot eval run evals/ --target codex --workers 4 --trials 3",
        "sandlot eval resume latest",
        "sandlot eval report latest --format junit",
        "sandlot eval compare RUN latest",
    ),
    ("pool",): ("sandlot pool list", "sandlot pool prune --unused-for 7d"),
    ("mcp",): ("sandlot mcp serve --mode repro-fix", "sandlot mcp serve --profile workspace-full --read-only"),
}
"""Of the groups whose examples are not those of their operations."""
WIDEST = 110
NARROW = 60


def find(words: list[str]) -> tuple[str | None, list[str], Path]:
    """(operation, the words behind its name, the group they stand in). ``--json`` may stand first."""
    leading = []
    while words and words[0] == "--json":
        leading.append(words[0])
        words = words[1:]
    group: Path = ()
    for at, word in enumerate(words):
        here = (*words[:at], word)
        if here in BY_COMMAND:
            return BY_COMMAND[here], [*words[at + 1 :], *leading], here
        if here not in GROUPS:
            break
        group = here
    return None, words[len(group) :], group


def unknown(group: Path, word: str) -> UsageError:
    """What to say about a word that is no command here."""
    from difflib import get_close_matches

    commands = [*BY_COMMAND, *EXTRA]
    below = sorted({path[len(group)] for path in commands if path[: len(group)] == group and len(path) > len(group)})
    prefix = " ".join(("sandlot", *group))
    if close := get_close_matches(word, below, 1, 0.7):
        hint = f"did you mean {prefix} {close[0]}?"
    elif meant := [path for path in commands if path[-1] == word]:  # "sandlot exec", "sandlot workspace read"
        hint = f"did you mean sandlot {' '.join(meant[0])}?"
    else:
        hint = f"{prefix} --help"
    return UsageError(f"unknown {'option' if word.startswith('-') else 'command'} {word!r}", hint=hint)


def print_help(group: Path, out: IO[str]) -> None:
    """The commands of a group, wrapped to the width of the terminal, with examples."""
    import textwrap

    prefix = " ".join(("sandlot", *group))
    paths = [path for path in (*BY_COMMAND, *EXTRA) if path[: len(group)] == group]
    rows = [(" ".join(path[len(group) :]), EXTRA.get(path) or load(BY_COMMAND[path]).summary) for path in paths]
    width = min(WIDEST, columns())
    lines = [*textwrap.wrap(f"{prefix}: {GROUPS[group]}", width), "", f"usage: {prefix} COMMAND [OPTION...]", ""]
    indent = 4 if width < NARROW else max(len(name) for name, _ in rows) + 4
    for name, summary in rows:
        text = textwrap.wrap(summary, max(20, width - indent))
        if width < NARROW:
            lines.append(f"  {name}")
        else:
            lines.append(f"  {name}".ljust(indent) + text.pop(0))
        lines += [" " * indent + line for line in text]
    examples = GROUP_EXAMPLES.get(group) or tuple(
        load(BY_COMMAND[path]).examples[0] for path in [each for each in paths if each in BY_COMMAND][:5]
    )
    lines += ["", "examples:", *(f"  {line}" for line in examples)]
    lines += ["", f"{prefix} COMMAND --help says more, with examples"]
    print("\n".join(lines), file=out)


def columns() -> int:
    """Width of the terminal; 80 where there is none."""
    named = os.environ.get("COLUMNS", "")
    if named.isdecimal() and int(named) > 0:
        return int(named)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
