"""A host that writes its own file is watched: what it did wrong is taken back."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sandlot.errors import HostFailed
from sandlot.hosts import applying
from sandlot.hosts.around import Around
from sandlot.hosts.catalog import find_host
from sandlot.hosts.connecting import connect, disconnect
from sandlot.hosts.launch import Launch, Scope
from sandlot.hosts.records import Records
from tests.hosts.conftest import script

BEFORE = '{"numStartups": 3, "mcpServers": {"other": {"command": "x", "args": []}}}'

CLAUDE = f"""#!{sys.executable}
import json, os, sys
path = os.environ["HOME"] + "/.claude.json"
state = json.load(open(path))
with open(os.environ["HOME"] + "/calls", "a") as log:
    log.write(" ".join(sys.argv[1:6]) + "\\n")
servers = state.setdefault("mcpServers", {{}})
if sys.argv[2] == "remove":
    servers.pop("sandlot")
else:
    servers["sandlot"] = json.loads(sys.argv[6])
state["numStartups"] += 1
BEHAVIOUR
json.dump(state, open(path, "w"))
"""


def claude(around: Around, behaviour: str) -> Around:
    """A stand-in for the real program on PATH."""
    program = script(around.home / "bin" / "claude", CLAUDE.replace("BEHAVIOUR", behaviour))
    (around.home / ".claude.json").write_text(BEFORE)
    return replace(around, environ={**around.environ, "PATH": f"{program.parent}:{around.environ['PATH']}"})


def state(around: Around) -> Path:
    return around.home / ".claude.json"


def test_the_hosts_own_command_writes_its_state(around: Around, records: Records) -> None:
    there, host = claude(around, ""), find_host("claude-code")
    place = host.place(there, Scope.USER)
    outcome = connect(host, there, records, place, Launch())
    assert outcome.writes[0].by_host
    assert outcome.writes[0].lines[0].startswith("claude mcp add-json --scope user sandlot ")
    after = json.loads(state(around).read_text())
    assert after["mcpServers"]["sandlot"] == outcome.entry
    assert after["numStartups"] == 4  # its own business
    connect(host, there, records, place, Launch(read_only=True))
    disconnect(host, there, records)
    assert set(json.loads(state(around).read_text())["mcpServers"]) == {"other"}
    assert (around.home / "calls").read_text().split("\n") == [
        "mcp add-json --scope user sandlot",
        "mcp remove --scope user sandlot",
        "mcp add-json --scope user sandlot",
        "mcp remove --scope user sandlot",
        "",
    ]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("print('not today', file=sys.stderr); sys.exit(1)", "claude mcp add-json --scope: not today"),
        ("servers['sandlot']['args'] = []", "has not written what it was told"),
        ("servers.pop('other')", "has changed other servers"),
        ("json.dump({}, open(path, 'w')); sys.exit(1)", "claude mcp add-json"),
        ("open(path, 'w').write('{'); os._exit(0)", "is no JSON"),
    ],
)
def test_what_it_does_wrong_is_taken_back(behaviour: str, message: str, around: Around, records: Records) -> None:
    there, host = claude(around, behaviour), find_host("claude-code")
    with pytest.raises(Exception, match=message) as caught:
        connect(host, there, records, host.place(there, Scope.USER), Launch())
    assert caught.value.__class__.__name__ in ("HostFailed", "HostConfigUnreadable")
    assert state(around).read_text() == BEFORE


def test_a_command_that_never_ends_is_ended(around: Around, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "HOST_COMMAND_S", 0.3)
    there, host = claude(around, "import time; time.sleep(600)"), find_host("claude-code")
    with pytest.raises(HostFailed, match="timed out"):
        connect(host, there, records, host.place(there, Scope.USER), Launch())
    assert state(around).read_text() == BEFORE


def test_an_update_that_fails_half_way_leaves_the_old_entry(around: Around, records: Records) -> None:
    host = find_host("claude-code")
    there = claude(around, "")
    connect(host, there, records, host.place(there, Scope.USER), Launch())
    connected = state(around).read_text()
    program = around.home / "bin" / "claude"
    program.write_text(CLAUDE.replace("BEHAVIOUR", "if sys.argv[2] != 'remove': sys.exit(1)"))
    with pytest.raises(HostFailed):
        connect(host, there, records, host.place(there, Scope.USER), Launch(read_only=True))
    assert state(around).read_text() == connected
