"""The chat hosts there are."""

from __future__ import annotations

from sandlot.errors import UsageError
from sandlot.hosts.claude_code import ClaudeCode
from sandlot.hosts.claude_desktop import ClaudeDesktop
from sandlot.hosts.cline import Cline
from sandlot.hosts.codex import Codex
from sandlot.hosts.copilot_cli import CopilotCli
from sandlot.hosts.cursor import Cursor
from sandlot.hosts.gemini_cli import GeminiCli
from sandlot.hosts.goose import Goose
from sandlot.hosts.host import Host
from sandlot.hosts.opencode import OpenCode
from sandlot.hosts.vscode import VsCode
from sandlot.hosts.windsurf import Windsurf
from sandlot.hosts.zed import Zed

__all__ = ["HOSTS", "find_host"]

HOSTS: tuple[Host, ...] = (
    ClaudeCode(),
    Codex(),
    OpenCode(),
    GeminiCli(),
    CopilotCli(),
    Cursor(),
    VsCode(),
    Zed(),
    Windsurf(),
    ClaudeDesktop(),
    Cline(),
    Goose(),
)


def find_host(key: str) -> Host:
    """The host of that name. Raises UsageError."""
    from difflib import get_close_matches

    names = {each.key: each for each in HOSTS}
    if key in names:
        return names[key]
    close = get_close_matches(key, names, 1, 0.5)
    raise UsageError(
        f"there is no host {key!r}", hint=f"did you mean {close[0]}?" if close else "hosts: " + ", ".join(names)
    )
