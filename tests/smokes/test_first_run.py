"""The tutorial of the first run shows what a chat really gets, and what really is written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from smokes.over_mcp import McpHands
from smokes.scene import Scene, git

from sandlot.hosts.catalog import HOSTS
from sandlot.modes import StartupMode
from tests.conftest import clean_environment
from tests.docs.sessions import ROOT, SHOP, comparable

PAGE = (ROOT / "docs" / "tutorial" / "first-run-with-a-chat-host.md").read_text()
_BLOCKS = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recorded() -> list[tuple[str, str]]:
    """(call, answer) of all blocks, in order."""
    parts = [part for block in _BLOCKS.findall(PAGE) for part in re.split(r"^> ", block, flags=re.MULTILINE)[1:]]
    return [(call, answer) for call, _, answer in (part.partition("\n") for part in parts)]


def test_the_answers_are_what_a_chat_gets(state_dir: Path) -> None:
    made = Scene(state_dir, state_dir / "home", state_dir / "state", state_dir / "shop")
    made.home.mkdir()
    shutil.copytree(ROOT / "docs" / "tutorial" / "shop", made.project)
    git(made.project, "init", "-q", "-b", "main")
    git(made.project, "add", ".")
    git(made.project, "commit", "-qm", "A basket")
    shown = recorded()
    assert len(shown) > 5
    with McpHands.open(made, StartupMode.REPRO_FIX, "bubblewrap") as chat:
        assert isinstance(chat, McpHands)
        for call, expected in shown:
            tool, _, arguments = call.partition(" ")
            text, _, _ = chat.ask(tool, json.loads(arguments))
            assert comparable(text.replace(str(made.project), SHOP)).rstrip() == comparable(expected).rstrip(), call
        chat.delete("fix-discount")


def test_the_entry_is_what_connect_writes(state_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sandlot", "host", "print-config", "claude-code", "--mode", "repro-fix"],
        env=clean_environment(state_dir),
        capture_output=True,
        check=True,
        cwd=state_dir,
    )
    shown = json.loads(re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
    entry = json.loads(done.stdout)
    command = entry["mcpServers"]["sandlot"]["command"]
    extra = [] if command.endswith("/sandlot") else ["-m", "sandlot"]  # the program is not beside this interpreter
    shown["mcpServers"]["sandlot"]["command"] = command
    shown["mcpServers"]["sandlot"]["args"][:0] = extra
    assert entry == shown


def test_all_hosts_are_listed_with_what_to_do_after_connecting() -> None:
    rows = re.findall(r"^\| ([^|]+) \| `([a-z-]+)` \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert rows == [(each.title, each.key, each.afterwards) for each in HOSTS]


def test_each_mode_is_offered() -> None:
    for mode in StartupMode:
        assert f"| `{mode}` |" in PAGE
