"""``host doctor``: each seeded fault is named by its own check, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sandlot.hosts import checks
from sandlot.hosts.around import Around
from sandlot.hosts.catalog import HOSTS, find_host
from sandlot.hosts.checks import CHECKS, check
from sandlot.hosts.connecting import connect
from sandlot.hosts.formats.base import JsonValue
from sandlot.hosts.host import Host, HostFinding, State
from sandlot.hosts.launch import SERVER, Allow, Launch, Scope
from sandlot.hosts.records import Records
from sandlot.modes import StartupMode
from tests.hosts.conftest import script
from tests.hosts.servers import server

INSPECT = Launch(StartupMode.INSPECT)
LONG = 60.0
CODEX, CLAUDE, GEMINI = find_host("codex"), find_host("claude-code"), find_host("gemini-cli")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast this machine is at the moment is no matter of these tests."""
    monkeypatch.setattr(checks, "SLOW_MS", 1e9)


def joined(host: Host, around: Around, records: Records, scope: Scope = Scope.USER, allow: Allow = Allow.NONE) -> Path:
    launch = INSPECT if scope is Scope.USER else replace(INSPECT, project_path=host.project_path)
    return Path(connect(host, around, records, host.place(around, scope), launch, allow).file)


def change(host: Host, around: Around, key: str, value: JsonValue, scope: Scope = Scope.USER) -> None:
    """Edit our entry by hand."""
    place = host.place(around, scope)
    place.path.write_text(place.form.put(place.path.read_text(), (*place.keys, SERVER, key), value))


def looked(host: Host, around: Around, records: Records, patience_s: float = LONG) -> dict[str, HostFinding]:
    """The worst finding of each check."""
    found: dict[str, HostFinding] = {}
    rank = [State.OK, State.SKIPPED, State.WARNING, State.FAILED]
    for each in check(host, around, records, patience_s=patience_s):
        assert each.check in CHECKS
        assert each.host == host.key
        if each.check not in found or rank.index(each.state) > rank.index(found[each.check].state):
            found[each.check] = each
    return found


def bad(found: dict[str, HostFinding]) -> set[str]:
    return {name for name, each in found.items() if each.state in (State.WARNING, State.FAILED)}


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.key)
def test_a_connected_host_is_in_order_but_for_the_program_that_is_not_here(
    host: Host, around: Around, records: Records
) -> None:
    joined(host, around, records)
    found = looked(host, around, records)
    assert bad(found) <= {"binary.found", "approval.state"}
    assert found["entry.present"].state is State.OK
    assert found["start.legacy"].detail == found["start.modern"].detail
    assert " tools, sha256 " in found["start.modern"].detail


def test_a_host_that_is_not_connected_is_told_how(around: Around, records: Records) -> None:
    found = looked(CODEX, around, records)
    assert found["entry.present"].state is State.FAILED
    assert found["entry.present"].hint == "sandlot host connect codex --mode repro-fix"
    assert "start.legacy" not in found


def test_the_hosts_program_and_version_are_named(around: Around, records: Records, tmp_path: Path) -> None:
    program = script(tmp_path / "bin" / "codex", '#!/bin/sh\necho "codex-cli 9.9"\necho more\n')
    there = replace(around, environ={**around.environ, "PATH": f"{program.parent}:{around.environ['PATH']}"})
    assert looked(CODEX, there, records)["binary.found"].detail == f"{program}, codex-cli 9.9"
    assert looked(CODEX, around, records)["binary.found"].state is State.FAILED
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    assert looked(CODEX, there, records)["binary.found"].detail == f"{program}: broken"


def test_a_broken_file_is_named_with_its_place(around: Around, records: Records) -> None:
    path = joined(CODEX, around, records)
    path.write_text(path.read_text() + "oops\n")
    finding = looked(CODEX, around, records)["config.parses"]
    assert finding.state is State.FAILED
    assert f"{path} is no TOML: line 7, column 5" in finding.detail
    assert finding.repairable


def test_a_file_that_was_broken_before_we_came_is_not_for_us_to_repair(around: Around, records: Records) -> None:
    path = around.home / ".codex" / "config.toml"
    path.parent.mkdir()
    path.write_text("oops\n")
    finding = looked(CODEX, around, records)["config.parses"]
    assert finding.state is State.FAILED
    assert not finding.repairable


def test_entries_in_several_scopes_are_duplicates(around: Around, records: Records) -> None:
    joined(CLAUDE, around, records)
    joined(CLAUDE, around, records, Scope.PROJECT)
    state = json.loads((around.home / ".claude.json").read_text())
    state["projects"] = {str(around.project): {"mcpServers": {"sandlot": state["mcpServers"]["sandlot"]}}}
    (around.home / ".claude.json").write_text(json.dumps(state))
    finding = looked(CLAUDE, around, records)["entry.duplicates"]
    assert finding.state is State.WARNING
    assert finding.detail.startswith("in 3 places")
    assert finding.repairable


def test_a_second_entry_of_another_name_is_a_duplicate_that_is_the_users_own(around: Around, records: Records) -> None:
    path = joined(CLAUDE, around, records)
    state = json.loads(path.read_text())
    state["mcpServers"]["boxes"] = {"command": "uvx", "args": ["sandlot", "mcp", "serve"]}
    path.write_text(json.dumps(state))
    finding = looked(CLAUDE, around, records)["entry.duplicates"]
    assert "'boxes'" in finding.detail
    assert not finding.repairable


def test_drift_is_named_key_by_key(around: Around, records: Records) -> None:
    joined(CODEX, around, records)
    change(CODEX, around, "startup_timeout_sec", 1)
    change(CODEX, around, "args", ["mcp", "serve", "--mode", "inspect", "--frobnicate"])
    finding = looked(CODEX, around, records)["entry.current"]
    assert finding.state is State.WARNING
    assert finding.repairable
    assert "startup_timeout_sec is 1, not 20" in finding.detail
    assert '"--frobnicate"' in finding.detail


def test_a_mode_asked_for_that_is_not_there_is_drift(around: Around, records: Records) -> None:
    joined(CODEX, around, records)
    wanted = Launch(StartupMode.REPRO_FIX)
    findings = check(CODEX, around, records, launch=wanted, patience_s=LONG)
    assert [each.check for each in findings if each.state is State.WARNING] == ["entry.current"]


def test_what_the_user_added_is_no_drift(around: Around, records: Records) -> None:
    joined(CODEX, around, records)
    change(CODEX, around, "env", {"RUST_LOG": "info"})
    change(CODEX, around, "required", True)
    assert looked(CODEX, around, records)["entry.current"].state is State.OK


def test_an_entry_that_is_switched_off_is_named(around: Around, records: Records) -> None:
    joined(CODEX, around, records)
    change(CODEX, around, "enabled", False)
    found = looked(CODEX, around, records)
    assert bad(found) == {"binary.found", "entry.enabled"}


def test_a_program_that_is_gone_is_named(around: Around, records: Records) -> None:
    joined(CODEX, around, records)
    change(CODEX, around, "command", "/gone/bin/sandlot")
    found = looked(CODEX, around, records)
    assert found["command.found"].state is State.FAILED
    assert found["command.found"].repairable
    assert "start.legacy" not in found


def test_a_name_that_the_hosts_path_does_not_have_is_named(around: Around, records: Records) -> None:
    joined(CODEX, around, records, Scope.PROJECT)
    found = looked(CODEX, around, records)
    assert found["command.found"].state is State.FAILED
    assert "pipx install sandlot" in found["command.found"].hint


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("legacy-only", {"start.modern", "start.time"}),
        ("gone", {"start.legacy", "start.modern", "start.time"}),
        ("silent", {"start.legacy", "start.modern", "start.time"}),
    ],
)
def test_a_server_that_does_not_answer_is_named_by_era(
    kind: str, expected: set[str], around: Around, records: Records, tmp_path: Path
) -> None:
    joined(CODEX, around, records)
    change(CODEX, around, "command", str(server(tmp_path, kind)))
    found = looked(CODEX, around, records, 0.5 if kind == "silent" else LONG)
    assert bad(found) == {"binary.found", "entry.current", *expected}
    assert all(found[name].repairable for name in expected)


def test_a_slow_start_is_named(around: Around, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    joined(CODEX, around, records)
    monkeypatch.setattr(checks, "SLOW_MS", -1)
    found = looked(CODEX, around, records)
    assert bad(found) == {"binary.found", "start.time"}
    assert found["start.time"].state is State.WARNING
    assert not found["start.time"].repairable  # the entry is right: nothing that we could write is faster


def test_the_server_is_started_with_what_its_host_hands_on(around: Around, records: Records, tmp_path: Path) -> None:
    """Codex hands on six variables and those that the entry names; the others all of theirs."""
    program = server(tmp_path, "good")
    text = program.read_text().replace(
        '{"name": "one"}', '{"name": n} for n in (open("env", "w").write(repr(dict(os.environ))),)'
    )
    program.write_text(text.replace("import json, sys", "import json, os, sys"))
    rich = replace(around, environ={**around.environ, "TOKEN": "s3cret", "GEMINI_API_KEY": "k3y"})
    seen = {}
    for host in (CODEX, CLAUDE, GEMINI):
        joined(host, rich, records)
        change(host, rich, "command", str(program))
        looked(host, rich, records)
        seen[host.key] = (around.project / "env").read_text()
    assert "TOKEN" not in seen["codex"]
    assert "SANDLOT_STATE_DIR" in seen["codex"]
    assert "TOKEN" in seen["claude-code"]
    assert "TOKEN" in seen["gemini-cli"]
    assert "GEMINI_API_KEY" not in seen["gemini-cli"]


def test_values_of_the_environment_are_in_no_finding(around: Around, records: Records) -> None:
    joined(CODEX, around, records)
    change(CODEX, around, "env", {"TOKEN": "s3cret"})
    assert "s3cret" not in repr(check(CODEX, around, records, patience_s=LONG))


def test_codex_reads_a_projects_entry_only_where_it_trusts(around: Around, records: Records) -> None:
    joined(CODEX, around, records, Scope.PROJECT)
    assert looked(CODEX, around, records)["approval.state"].state is State.FAILED
    user = around.home / ".codex" / "config.toml"
    user.parent.mkdir()
    user.write_text(f'[projects."{around.project}"]\ntrust_level = "trusted"\n')
    assert looked(CODEX, around, records)["approval.state"].state is State.OK


@pytest.mark.parametrize(
    ("trusted", "state"),
    [({}, State.WARNING), ({"home": "TRUST_FOLDER"}, State.OK), ({"project": "DO_NOT_TRUST"}, State.FAILED)],
)
def test_gemini_starts_nothing_in_folders_it_does_not_trust(
    trusted: dict[str, str], state: State, around: Around, records: Records
) -> None:
    path = joined(GEMINI, around, records)
    folders = {"home": str(around.home), "project": str(around.project)}
    (path.parent / "trustedFolders.json").write_text(json.dumps({folders[k]: v for k, v in trusted.items()}))
    assert looked(GEMINI, around, records)["approval.state"].state is state


def test_what_is_allowed_is_said(around: Around, records: Records) -> None:
    joined(GEMINI, around, records, allow=Allow.ALL)
    found = looked(GEMINI, around, records)
    assert found["approval.allowed"].detail == "every tool runs without asking"
    assert found["entry.current"].state is State.OK


def test_a_hosts_own_check_that_does_not_see_us_is_a_failure(around: Around, records: Records, tmp_path: Path) -> None:
    program = script(tmp_path / "bin" / "opencode", '#!/bin/sh\n[ "$1" = --version ] && echo 1 || echo "$(cat out)"\n')
    there = replace(around, environ={**around.environ, "PATH": f"{program.parent}:{around.environ['PATH']}"})
    host = find_host("opencode")
    joined(host, there, records)
    out = around.home / "out"
    out.write_text("\x1b[32m✓\x1b[0m sandlot \x1b[90mconnected\n")
    assert looked(host, there, records)["host.probe"].state is State.OK
    out.write_text("✗ sandlot failed\n    MCP error -32000: Connection closed\n")
    finding = looked(host, there, records)["host.probe"]
    assert finding.state is State.FAILED
    assert "sandlot failed" in finding.detail


HOSTILE: list[dict[str, JsonValue]] = [
    {"command": "./evil"},
    {"command": "sandlot", "env": {"PATH": "."}},
    {"command": "sandlot", "args": ["-c", "evil", "mcp", "serve"]},
]


@pytest.mark.parametrize("key", ["claude-code", "gemini-cli", "cursor"])
@pytest.mark.parametrize("entry", HOSTILE, ids=str)
def test_nothing_is_run_because_a_project_says_so(
    key: str, entry: dict[str, JsonValue], around: Around, records: Records
) -> None:
    """A checkout of somebody else's must not be dangerous to look at."""
    for name in ("evil", "sandlot"):
        script(around.project / name, f"#!/bin/sh\necho {name} >> {around.home}/ran\n")
    host = find_host(key)
    place = host.place(around, Scope.PROJECT)
    place.path.parent.mkdir(exist_ok=True)
    hostile: JsonValue = {"args": ["mcp", "serve"], **entry}
    place.path.write_text(place.form.put("", (*place.keys, SERVER), hostile))
    found = looked(host, around, records)
    assert not (around.home / "ran").exists()
    assert found["entry.current"].state is not State.OK or found["start.legacy"].state is not State.OK


def test_hosts_are_not_asked_in_a_project_where_they_would_start_whatever_it_names(
    around: Around, records: Records, tmp_path: Path
) -> None:
    program = script(tmp_path / "bin" / "opencode", '#!/bin/sh\npwd >> "$HOME/asked-in"\necho sandlot connected\n')
    script(tmp_path / "bin" / "sandlot", server(tmp_path, "good").read_text())
    there = replace(around, environ={**around.environ, "PATH": f"{program.parent}:{around.environ['PATH']}"})
    host = find_host("opencode")
    joined(host, there, records, Scope.PROJECT)
    found = looked(host, there, records)
    assert found["start.legacy"].state is State.OK
    assert found["host.probe"].state is State.SKIPPED
    joined(host, there, records)
    looked(host, there, records)
    assert str(around.project) not in (around.home / "asked-in").read_text().split("\n")


def test_a_host_is_not_asked_about_a_server_that_does_not_start(
    around: Around, records: Records, tmp_path: Path
) -> None:
    """It would wait for it, up to a minute."""
    program = script(tmp_path / "bin" / "opencode", '#!/bin/sh\necho "$@" >> "$HOME/asked"\necho 1\n')
    there = replace(around, environ={**around.environ, "PATH": f"{program.parent}:{around.environ['PATH']}"})
    host = find_host("opencode")
    joined(host, there, records)
    place = host.place(around, Scope.USER)
    gone: JsonValue = [str(server(tmp_path, "gone")), "mcp", "serve", "--mode", "inspect"]
    place.path.write_text(place.form.put(place.path.read_text(), (*place.keys, SERVER, "command"), gone))
    assert "host.probe" not in looked(host, there, records)
    assert (around.home / "asked").read_text() == "--version\n"
