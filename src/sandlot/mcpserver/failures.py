"""Errors as answers of tools: the code, one sentence, and a hint in the words of tools, not of the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandlot.errors import SandlotError, UnsafePath
from sandlot.mcpserver.cleaning import cut, one_line, origin_line

if TYPE_CHECKING:
    from sandlot.mcpserver.tools import Tool

__all__ = ["failure_text", "for_tools"]

LONGEST_MESSAGE = 600
DETAILS = 20
_COMMAND = re.compile(r"sandlot((?: [a-z][a-z-]*)+)((?: (?:[A-Z][A-Z_.]*|--?[a-z-]+|[^\s;,:]*[0-9/.'\"][^\s;,:]*))*)")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*[a-z])\b")
_OURS = "sandlot "
_FOR_THE_USER = ("the user ", "ask the user ")
"""How hints begin that a model can only pass on: they may name commands and options."""
_OF_THE_SERVER = frozenset(
    {"export-dir", "mode", "no-project-source", "profile", "project-path", "repo-ref", "repo-url"}
)
"""Options of the server itself: no tool has them as arguments."""


def failure_text(error: SandlotError, tool: Tool | None, shown: tuple[Tool, ...], workspace: str) -> str:
    """What a failed call answers with."""
    lines = [f"error {error.code}: {one_line(_options(error.message), LONGEST_MESSAGE)}"]
    if tool is not None and isinstance(error, UnsafePath):  # which folders are open is part of how we were started
        lines[0] += f" ({tool.surface})"
    hint = for_tools(error.hint, tool, shown)
    if hint:
        lines.append(f"hint: {one_line(hint, LONGEST_MESSAGE)}")
    if error.details:  # what a patch or a tree holds, so it comes from inside
        suites = tool is not None and tool.operation.startswith("eval_")
        lines.append(origin_line(*("suites", "details", "eval") if suites else (workspace, "details")))
        lines += [f"  {one_line(_options(line))}" for line in error.details[:DETAILS]]
        if len(error.details) > DETAILS:
            lines.append(f"  ... and {len(error.details) - DETAILS} more")
    return cut("\n".join(lines), 10_000)


def for_tools(hint: str, tool: Tool | None, shown: tuple[Tool, ...]) -> str:
    """A hint for somebody who has these tools and no command line; empty when it would send them elsewhere."""
    from sandlot.evals.requests import EVALS
    from sandlot.operations.catalog import BY_COMMAND

    commands = {**BY_COMMAND, **{each.command: each.name for each in EVALS.values()}}
    names = {each.name for each in shown}
    missing = False

    def tool_for(found: re.Match[str]) -> str:
        nonlocal missing
        words = tuple(found[1].split())
        for count in range(len(words), 0, -1):
            name = commands.get(words[:count])
            if name is not None:
                missing |= name not in names
                rest = " ".join(words[count:])
                return f"{name} {rest}".rstrip()
        missing = True
        return ""

    if hint.startswith(_FOR_THE_USER):
        return hint
    if hint == "sandlot doctor":
        return "ask the user to run: sandlot doctor"
    text = _COMMAND.sub(tool_for, hint)
    if missing or _OURS in text:
        return ""
    known = {each.name for each in tool.inputs} if tool is not None else set()
    if any(option.replace("-", "_") not in known for option in _OPTION.findall(text)):
        return ""
    return _options(text).strip()


def _options(text: str) -> str:
    return _OPTION.sub(lambda found: found[0] if found[1] in _OF_THE_SERVER else found[1].replace("-", "_"), text)
