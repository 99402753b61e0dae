"""The real clients: what we write is what they read, and what is wrong is found and put right."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandlot.bases.trees import remove_tree
from tests.hosts.clients import Scratch, client, text
from tests.hosts.conftest import script
from tests.hosts.servers import server

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Client:
    """How one client is asked what it knows of us."""

    key: str
    binary: str
    list: tuple[str, ...]
    shown: str
    """What stands in its list when all is well; for the three that connect, that they did."""
    file: str
    hand_written: str
    duplicate: str
    """Another file that it reads as well."""


CLIENTS = (
    Client(
        "claude-code", "claude", ("mcp", "list"), "- ✔ Connected", ".claude.json",
        '{"mine": {"a": 1}, "numStartups": 7, "mcpServers": {"other": {"type": "stdio", "command": "true"}}}',
        "project/.mcp.json",
    ),
    Client(
        "codex", "codex", ("mcp", "list", "--json"), '"name": "sandlot"', ".codex/config.toml",
        '# mine\nmodel = "gpt-5" # good\n\n[mcp_servers.other]\ncommand = "true" # theirs\n', "",
    ),
    Client(
        "opencode", "opencode", ("mcp", "list"), "sandlot connected", ".config/opencode/opencode.json",
        '// mine\n{\n    "autoupdate": false, // no\n}\n', "project/opencode.json",
    ),
    Client(
        "gemini-cli", "gemini", ("mcp", "list"), "- Connected", ".gemini/settings.json",
        '{\n    // mine\n    "ui": {"theme": "Default"} // dark\n}\n', "project/.gemini/settings.json",
    ),
)  # fmt: skip
EVERY = pytest.mark.parametrize("one", CLIENTS, ids=lambda one: one.key)


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    """Not below /tmp: Codex refuses to put its helpers there."""
    folder = Path(tempfile.mkdtemp(prefix="sl-host-", dir="/var/tmp"))
    made = Scratch(folder / "home", folder / "home" / "project", folder / "state", folder / "bin")
    made.project.mkdir(parents=True)
    made.bin.mkdir()
    script(made.bin / "sandlot", f'#!/bin/sh\nexec {sys.executable} -m sandlot "$@"\n')
    trust = made.home / ".gemini" / "trustedFolders.json"
    trust.parent.mkdir()
    trust.write_text(json.dumps({str(made.project): "TRUST_FOLDER"}))
    yield made
    remove_tree(folder)


def listed(one: Client, scratch: Scratch) -> str:
    return text(scratch.run(client(one.binary), *one.list))


def findings(one: Client, scratch: Scratch) -> set[str]:
    """The checks that are not in order."""
    answer = json.loads(scratch.sandlot("host", "doctor", one.key, "--json").stdout)
    return {each["check"] for each in answer["findings"] if each["state"] in ("warning", "failed")}


def connect(one: Client, scratch: Scratch, *more: str) -> None:
    done = scratch.sandlot("host", "connect", one.key, "--mode", "repro-fix", *more)
    assert done.returncode == 0, text(done)


@EVERY
def test_a_client_sees_us_from_connect_to_disconnect(one: Client, scratch: Scratch) -> None:
    client(one.binary)
    connect(one, scratch)
    shown = listed(one, scratch)
    assert "sandlot" in shown
    assert one.shown in shown
    assert findings(one, scratch) <= {"start.time"}  # this machine may be busy
    if one.binary in ("claude", "codex"):
        known = text(scratch.run(client(one.binary), "mcp", "get", "sandlot"))
        assert "mcp serve --mode repro-fix" in known
    connect(one, scratch, "--read-only")
    assert one.shown in listed(one, scratch)
    assert scratch.sandlot("host", "disconnect", one.key).returncode == 0
    assert "sandlot" not in listed(one, scratch)


@EVERY
def test_what_was_written_by_hand_is_there_afterwards(one: Client, scratch: Scratch) -> None:
    client(one.binary)
    path = scratch.home / one.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(one.hand_written)
    connect(one, scratch)
    assert one.shown in listed(one, scratch)
    scratch.sandlot("host", "disconnect", one.key)
    if one.binary == "claude":  # its own command writes this file, which it rewrites all the time
        after, before = json.loads(path.read_text()), json.loads(one.hand_written)
        after["mcpServers"]["other"] = {key: after["mcpServers"]["other"][key] for key in ("type", "command")}
        assert {key: after[key] for key in before} == before
    else:
        # OpenCode adds its schema to files that it reads.
        assert path.read_text().replace('    "$schema": "https://opencode.ai/config.json",\n', "") == one.hand_written


@EVERY
def test_seeded_faults_are_found_and_repaired(one: Client, scratch: Scratch) -> None:
    client(one.binary)
    connect(one, scratch)
    path = scratch.home / one.file
    if not path.exists():
        path = path.with_suffix(".jsonc")
    program = str(Path(sys.executable).parent / "sandlot")
    assert program in path.read_text()
    deaf = str(server(scratch.bin, "deaf"))
    for fault, new, expected in (
        ("missing program", "/gone/sandlot", "command.found"),
        ("slow start", deaf, "start.time"),
        ("drift", "", "entry.current"),
    ):
        old, new = (program, new) if new else ("repro-fix", "repro-fixx")
        path.write_text(path.read_text().replace(old, new))
        assert expected in findings(one, scratch), fault
        done = scratch.sandlot("host", "repair", one.key, "--mode", "repro-fix")
        assert done.returncode == 0, text(done)
        assert findings(one, scratch) <= {"start.time"}, fault
        assert one.shown in listed(one, scratch), fault


@EVERY
def test_a_broken_file_is_found_and_repaired(one: Client, scratch: Scratch) -> None:
    client(one.binary)
    connect(one, scratch)
    path = scratch.home / one.file
    if not path.exists():
        path = path.with_suffix(".jsonc")
    path.write_text(path.read_text() + "\n}{ oops")
    assert findings(one, scratch) >= {"config.parses"}
    assert scratch.sandlot("host", "repair", one.key).returncode == 0
    assert findings(one, scratch) <= {"start.time"}
    assert one.shown in listed(one, scratch)


@EVERY
def test_duplicates_across_scopes_are_found_and_repaired(one: Client, scratch: Scratch) -> None:
    client(one.binary)
    connect(one, scratch)
    connect(one, scratch, "--scope", "project")
    assert "entry.duplicates" in findings(one, scratch)
    assert scratch.sandlot("host", "repair", one.key, "entry.duplicates").returncode == 0
    assert findings(one, scratch) <= {"start.time"}
    assert one.shown in listed(one, scratch)


def test_an_entry_that_claude_keeps_for_one_project_is_found_and_repaired(scratch: Scratch) -> None:
    claude = client("claude")
    one = CLIENTS[0]
    connect(one, scratch)
    scratch.run(claude, "mcp", "add", "sandlot", "--", "sandlot", "mcp", "serve")
    assert "entry.duplicates" in findings(one, scratch)
    assert scratch.sandlot("host", "repair", one.key).returncode == 0
    assert findings(one, scratch) <= {"start.time"}
    assert "Scope: User config" in text(scratch.run(claude, "mcp", "get", "sandlot"))


def test_a_projects_server_waits_for_the_user_of_claude(scratch: Scratch) -> None:
    client("claude")
    one = CLIENTS[0]
    connect(one, scratch, "--scope", "project")
    found = json.loads(scratch.sandlot("host", "doctor", one.key, "--json").stdout)["findings"]
    probe = next(each for each in found if each["check"] == "host.probe")
    assert probe["state"] == "warning"
    assert "Pending approval" in probe["detail"]
