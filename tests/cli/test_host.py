"""``sandlot host``: the commands, their answers, and what they refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandlot.hosts.catalog import HOSTS
from tests.conftest import SOURCE, CompletedProcess

Host = Callable[..., CompletedProcess]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which nothing has ever run, and a project in it."""
    (tmp_path / "home" / "project").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def host(home: Path, tmp_path: Path) -> Host:
    """Run ``sandlot host ...`` in the project of that home."""

    def run(*words: str) -> CompletedProcess:
        env = {
            "HOME": str(home),
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join([str(SOURCE), *(path for path in sys.path if "site-packages" in path)]),
            "SANDLOT_STATE_DIR": str(tmp_path / "state"),
        }
        argv = [sys.executable, "-m", "sandlot", "host", *words]
        return subprocess.run(argv, env=env, cwd=home / "project", capture_output=True, timeout=120, check=False)

    return run


def answer(done: CompletedProcess) -> Any:
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_list_names_every_host_and_who_is_connected(host: Host, home: Path) -> None:
    host("connect", "codex", "--mode", "inspect")
    rows = {row["host"]: row for row in answer(host("list", "--json"))["hosts"]}
    assert list(rows) == [each.key for each in HOSTS]
    assert rows["codex"]["scopes"] == ["user"]
    assert rows["codex"]["surface"] == "inspect"
    assert rows["zed"]["scopes"] == []
    text = host("list").stdout.decode()
    assert "~/.codex/config.toml" in text
    assert str(home) not in text


def test_connect_shows_the_whole_command_and_what_is_written(host: Host, home: Path) -> None:
    done = host("connect", "codex", "--mode", "repro-fix")
    assert done.returncode == 0
    out = done.stdout.decode()
    assert "codex will start: " in out
    assert "mcp serve --mode repro-fix" in out
    assert "+ [mcp_servers.sandlot]" in out
    assert out.endswith(f"Codex: connected, user scope, {home}/.codex/config.toml\n")
    assert b"next: start a new session of Codex" in done.stderr
    assert b"backup" not in done.stderr
    again = host("connect", "codex", "--mode", "repro-fix")
    assert again.stdout.decode() == f"Codex: already connected, user scope, {home}/.codex/config.toml\n"
    assert again.stderr == b""


def test_a_dry_run_writes_nothing(host: Host, home: Path) -> None:
    done = host("connect", "codex", "--dry-run")
    assert b"nothing written: Codex: connected" in done.stdout
    assert not (home / ".codex").exists()
    assert not (home.parent / "state").exists()


def test_disconnect_is_the_way_back(host: Host, home: Path) -> None:
    host("connect", "zed")
    assert answer(host("disconnect", "zed", "--json"))["disconnected"][0]["did"] == "disconnected"
    assert not (home / ".config" / "zed" / "settings.json").exists()
    assert b"not connected" in host("disconnect", "zed").stdout


def test_print_config_prints_the_entry_alone(host: Host, home: Path) -> None:
    done = host("print-config", "claude-desktop", "--profile", "workspace-full", "--read-only")
    entry = json.loads(done.stdout)["mcpServers"]["sandlot"]
    assert entry["args"][-5:] == ["mcp", "serve", "--profile", "workspace-full", "--read-only"]
    assert done.stderr == b"for ~/.config/Claude/claude_desktop_config.json\n"
    assert answer(host("print-config", "goose", "--json"))["keys"] == ["extensions"]
    assert not list(home.rglob("*.json"))


def test_a_projects_entry_goes_into_the_project(host: Host, home: Path) -> None:
    answer(host("connect", "vscode", "--mode", "inspect", "--scope", "project", "--json"))
    text = (home / "project" / ".vscode" / "mcp.json").read_text()
    assert json.loads(text)["servers"]["sandlot"] == {
        "type": "stdio",
        "command": "sandlot",
        "args": ["mcp", "serve", "--mode", "inspect", "--project-path", "${workspaceFolder}"],
    }


def test_an_entry_of_the_users_can_be_for_one_project(host: Host, home: Path) -> None:
    outcome = answer(host("connect", "cursor", "--project-path", str(home / "project"), "--json"))
    assert outcome["command"].endswith(f"mcp serve --project-path {home}/project")


def test_doctor_tells_each_check_and_its_status_is_the_verdict(host: Host, home: Path) -> None:
    host("connect", "zed", "--mode", "inspect")
    done = host("doctor", "zed", "--json")
    assert done.returncode == 0
    found = answer(done)
    assert found["ok"] is True
    assert {each["check"] for each in found["findings"]} >= {"entry.current", "start.legacy", "start.modern"}
    path = home / ".config" / "zed" / "settings.json"
    path.write_text(path.read_text().replace('"command": "', '"command": "/gone'))
    done = host("doctor")
    assert done.returncode == 1
    assert b"FAIL  command.found" in done.stdout
    assert b"hint: sandlot host repair zed" in done.stdout


def test_repair_says_what_it_did_and_how_to_take_it_back(host: Host, home: Path) -> None:
    host("connect", "zed", "--mode", "inspect")
    path = home / ".config" / "zed" / "settings.json"
    good = path.read_text()
    broken = good.replace('"command": "', '"command": "/gone')
    path.write_text(broken)
    done = host("repair", "zed")
    assert b"command.found, entry.current" in done.stdout
    assert b"undo: sandlot host repair zed --undo" in done.stderr
    assert path.read_text() == good
    assert host("repair", "zed").stdout == b""
    assert b"brought back" in host("repair", "zed", "--undo").stdout
    assert path.read_text() == broken
    assert answer(host("repair", "zed", "--json"))["repaired"][0]["checks"] == ["command.found", "entry.current"]


@pytest.mark.parametrize(
    ("words", "status", "code", "text"),
    [
        (["connect"], 2, "invalid_argument", "HOST"),
        (["connect", "claud-code"], 2, "invalid_argument", "no host 'claud-code'"),
        (["connect", "codex", "--mode", "fast"], 2, "invalid_argument", "--mode cannot be 'fast'"),
        (
            ["connect", "codex", "--mode", "inspect", "--profile", "workspace-full"],
            2,
            "invalid_argument",
            "not allowed",
        ),
        (["connect", "codex", "--force"], 2, "invalid_argument", "--force"),
        (["connect", "goose", "--scope", "project"], 2, "invalid_argument", "no configuration of project scope"),
        (["connect", "zed", "--allow", "all"], 2, "invalid_argument", "no setting for --allow"),
        (["connect", "codex", "--project-path", "/nowhere"], 2, "invalid_argument", "is no folder"),
        (["repair", "codex", "entry.presnt"], 2, "invalid_argument", "no check 'entry.presnt'"),
        (["repair", "codex", "entry.current", "--undo"], 2, "invalid_argument", "--undo"),
        (["doctor"], 2, "invalid_argument", "no host is connected"),
        (["conect", "codex"], 2, "invalid_argument", "unknown command 'conect'"),
    ],
)
def test_what_is_wrong_is_one_sentence(words: list[str], status: int, code: str, text: str, host: Host) -> None:
    done = host(*words, "--json")
    assert done.returncode == status
    error = answer(done)["error"]
    assert error["code"] == code
    assert text in error["message"]
    assert b"Traceback" not in done.stderr


def test_a_broken_file_is_one_sentence_with_its_place(host: Host, home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text('{\n  "mcpServers": {\n')
    done = host("connect", "cursor")
    assert done.returncode == 5
    assert b"mcp.json is no JSON: line 3, column 1" in done.stderr


def test_control_characters_of_a_configuration_reach_no_terminal(host: Host, home: Path) -> None:
    (home / ".cursor").mkdir()
    evil = {"mcpServers": {"sandlot": {"command": "/x\x1b]0;evil\x07", "args": ["mcp", "serve", "\x1b[2J"]}}}
    (home / ".cursor" / "mcp.json").write_text(json.dumps(evil))
    for words in (["doctor", "cursor"], ["list"], ["repair", "cursor"]):
        done = host(*words)
        assert b"\x1b" not in done.stdout + done.stderr


def test_an_ordinary_user_connects_and_checks(ordinary_user: Callable[[Sequence[str]], CompletedProcess]) -> None:
    done = ordinary_user(["-m", "sandlot", "host", "connect", "cursor", "--mode", "inspect", "--json"])
    assert answer(done)["did"] == "connected"
    done = ordinary_user(["-m", "sandlot", "host", "doctor", "cursor", "--json"])
    assert {each["state"] for each in answer(done)["findings"] if each["check"].startswith("start.")} <= {
        "ok",
        "warning",
    }
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["list", "connect", "disconnect", "print-config", "doctor", "repair"])
def test_every_command_explains_itself_with_examples(name: str, host: Host) -> None:
    done = host(name, "--help")
    assert done.returncode == 0
    assert f"sandlot host {name}".encode() in done.stdout.split(b"examples:")[1]


def test_connecting_loads_neither_workspaces_nor_the_server(home: Path, tmp_path: Path) -> None:
    probe = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from sandlot.cli.main import main\nmain()\n"
    )
    env = {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": str(SOURCE), "SANDLOT_STATE_DIR": str(tmp_path / "s")}
    argv = [sys.executable, "-S", "-c", probe, "host", "connect", "claude-code", "--mode", "inspect"]
    done = subprocess.run(argv, env=env, cwd=home, capture_output=True, timeout=120, check=True)
    names = set(done.stderr.decode().split())
    rooms = {name for name in names if name.startswith("sandlot.")}
    assert not {name for name in rooms if name.startswith(("sandlot.workspaces", "sandlot.mcpserver", "sandlot.sdk"))}
    assert not names & {"tomlkit", "ruamel", "asyncio", "rich", "sqlite3"}
