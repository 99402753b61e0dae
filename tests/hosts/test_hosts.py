"""All hosts: the entry goes in, is brought up to date, and goes out, in each host's own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import HostConflict, UsageError
from sandlot.hosts.around import Around
from sandlot.hosts.catalog import HOSTS, find_host
from sandlot.hosts.connecting import Outcome, connect, disconnect
from sandlot.hosts.files import read
from sandlot.hosts.formats.base import JsonObject, get
from sandlot.hosts.host import Host, read_only_tools
from sandlot.hosts.launch import SERVER, Allow, Launch, Scope, own_program
from sandlot.hosts.records import Records
from sandlot.modes import StartupMode

INSPECT = Launch(StartupMode.INSPECT)
FIX = Launch(StartupMode.REPRO_FIX)
COMMAND = "/opt/sandlot/bin/sandlot"
ARGS = ["mcp", "serve", "--mode", "inspect"]
PASSED = ["SANDLOT_STATE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"]

# What each host reads, as seen with the real ones or in their documentation: file, path of the entry, entry.
GOLDEN: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "claude-code": (
        ".claude.json",
        ("mcpServers",),
        {"type": "stdio", "command": COMMAND, "args": ARGS, "timeout": 900000, "alwaysLoad": True},
    ),
    "codex": (
        ".codex/config.toml",
        ("mcp_servers",),
        {"command": COMMAND, "args": ARGS, "env_vars": PASSED, "startup_timeout_sec": 20, "tool_timeout_sec": 900},
    ),
    "opencode": (
        ".config/opencode/opencode.jsonc",
        ("mcp",),
        {"type": "local", "command": [COMMAND, *ARGS], "enabled": True, "timeout": 900000},
    ),
    "gemini-cli": (".gemini/settings.json", ("mcpServers",), {"command": COMMAND, "args": ARGS, "timeout": 900000}),
    "copilot-cli": (
        ".copilot/mcp-config.json",
        ("mcpServers",),
        {"type": "local", "command": COMMAND, "args": ARGS, "tools": ["*"], "timeout": 900000},
    ),
    "cursor": (".cursor/mcp.json", ("mcpServers",), {"type": "stdio", "command": COMMAND, "args": ARGS}),
    "vscode": (".config/Code/User/mcp.json", ("servers",), {"type": "stdio", "command": COMMAND, "args": ARGS}),
    "zed": (
        ".config/zed/settings.json",
        ("context_servers",),
        {"source": "custom", "command": COMMAND, "args": ARGS, "env": {}},
    ),
    "windsurf": (
        ".codeium/windsurf/mcp_config.json",
        ("mcpServers",),
        {"command": COMMAND, "args": ARGS, "env": {}},
    ),
    "claude-desktop": (
        ".config/Claude/claude_desktop_config.json",
        ("mcpServers",),
        {"command": COMMAND, "args": ARGS},
    ),
    "cline": (
        ".cline/data/settings/cline_mcp_settings.json",
        ("mcpServers",),
        {"transport": {"type": "stdio", "command": COMMAND, "args": ARGS}},
    ),
    "goose": (
        ".config/goose/config.yaml",
        ("extensions",),
        {
            "name": "sandlot", "type": "stdio", "cmd": COMMAND, "args": ARGS, "envs": {}, "enabled": True,
            "timeout": 900, "description": "isolated workspaces",
        },
    ),
}  # fmt: skip
EVERY = pytest.mark.parametrize("host", HOSTS, ids=[each.key for each in HOSTS])
WITH_PROJECTS = pytest.mark.parametrize(
    "host", [each for each in HOSTS if Scope.PROJECT in each.scopes], ids=lambda host: host.key
)


@pytest.fixture(autouse=True)
def _program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries do not depend on where this checkout lies."""

    def program(scope: Scope) -> tuple[str, ...]:
        return (COMMAND,) if scope is Scope.USER else own_program(scope)

    monkeypatch.setattr("sandlot.hosts.host.own_program", program)


def join(
    host: Host, around: Around, records: Records, launch: Launch = INSPECT, scope: Scope = Scope.USER,
    allow: Allow = Allow.NONE, **options: Any,
) -> Outcome:  # fmt: skip
    return connect(host, around, records, host.place(around, scope), launch, allow, **options)


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_there_are_twelve_hosts_with_names_of_their_own() -> None:
    assert {each.key for each in HOSTS} == set(GOLDEN)
    assert len(HOSTS) == 12
    with pytest.raises(UsageError) as caught:
        find_host("claude")
    assert "claude-code" in caught.value.hint


@EVERY
def test_the_entry_is_what_the_host_reads(host: Host, around: Around, records: Records) -> None:
    name, keys, entry = GOLDEN[host.key]
    outcome = join(host, around, records)
    assert outcome.did == "connected"
    assert outcome.file == str(around.home / name)
    place = host.place(around, Scope.USER)
    assert get(read(around.home / name, place.form).value, (*keys, SERVER)) == entry
    invocation = host.read(get(read(around.home / name, place.form).value, (*keys, SERVER)))
    assert invocation is not None
    assert (invocation.command, list(invocation.arguments)) == (COMMAND, ARGS)


@EVERY
def test_connecting_again_changes_nothing(host: Host, around: Around, records: Records) -> None:
    join(host, around, records)
    before = tree(around.home)
    again = join(host, around, records)
    assert (again.did, again.writes) == ("already connected", ())
    assert tree(around.home) == before


@EVERY
def test_another_mode_is_written_in_its_place(host: Host, around: Around, records: Records) -> None:
    join(host, around, records, FIX)
    outcome = join(host, around, records, INSPECT)
    assert outcome.did == "updated"
    name, keys, entry = GOLDEN[host.key]
    assert get(read(around.home / name, host.place(around, Scope.USER).form).value, (*keys, SERVER)) == entry


@EVERY
def test_disconnecting_leaves_nothing_behind(host: Host, around: Around, records: Records) -> None:
    join(host, around, records)
    assert [each.did for each in disconnect(host, around, records)] == ["disconnected"]
    assert tree(around.home) == {}
    assert [each.did for each in disconnect(host, around, records)] == ["not connected"]


@EVERY
def test_a_dry_run_says_everything_and_writes_nothing(host: Host, around: Around, records: Records) -> None:
    outcome = join(host, around, records, dry_run=True)
    assert outcome.did == "connected"
    assert outcome.command == " ".join([COMMAND, *ARGS])
    assert COMMAND in "\n".join(outcome.writes[0].lines)
    assert tree(around.home) == {}


@EVERY
def test_what_is_written_is_shown_before(host: Host, around: Around, records: Records) -> None:
    seen: list[tuple[Outcome, dict[str, str]]] = []
    join(host, around, records, show=lambda outcome: seen.append((outcome, tree(around.home))))
    assert len(seen) == 1
    assert seen[0][1] == {}
    shown = "\n".join(line.removeprefix("+ ") for line in seen[0][0].writes[0].lines)
    place = host.place(around, Scope.USER)
    assert place.form.parse(shown) == read(place.path, place.form).value


@WITH_PROJECTS
def test_a_projects_entry_names_no_path_of_this_machine(host: Host, around: Around, records: Records) -> None:
    outcome = join(host, around, records, Launch(StartupMode.INSPECT, project_path=host.project_path), Scope.PROJECT)
    assert outcome.command.startswith("sandlot mcp serve --mode inspect --project-path ")
    for name, text in tree(around.home).items():
        assert name.startswith("project/")
        assert str(around.home) not in text
        assert "/opt/" not in text
    [gone] = disconnect(host, around, records, Scope.PROJECT)
    assert gone.did == "disconnected"
    assert tree(around.home) == {}


@EVERY
def test_hosts_without_projects_say_so(host: Host, around: Around, records: Records) -> None:
    if Scope.PROJECT not in host.scopes:
        with pytest.raises(UsageError, match="no configuration of project scope"):
            join(host, around, records, scope=Scope.PROJECT)


LOOSENING = ("trust", "approve", "allow", "autoApprove", "alwaysAllow", "yolo")


@EVERY
def test_nothing_is_allowed_unless_somebody_says_so(host: Host, around: Around, records: Records) -> None:
    join(host, around, records)
    for text in tree(around.home).values():
        assert not [word for word in LOOSENING if word in text]


@EVERY
@pytest.mark.parametrize("allow", [Allow.ALL, Allow.READ_ONLY])
def test_allowing_works_where_the_host_can_and_is_taken_back_by_connecting_without(
    host: Host, allow: Allow, around: Around, records: Records
) -> None:
    if allow not in host.allows:
        with pytest.raises(UsageError) as caught:
            join(host, around, records, allow=allow)
        assert caught.value.hint
        assert tree(around.home) == {}
        return
    plain = join(host, around, records)
    before = tree(around.home)
    outcome = join(host, around, records, allow=allow)
    assert outcome.did == "updated"
    assert [word for word in LOOSENING if word in "\n".join(tree(around.home).values())]
    entry = outcome.entry
    assert entry is not None
    assert host.allowed(entry, around) is allow
    join(host, around, records)
    stripped = {name: text.rstrip() for name, text in tree(around.home).items()}  # TOML: a blank line at the end
    assert stripped == {name: text.rstrip() for name, text in before.items()}
    assert plain.did == "connected"


@WITH_PROJECTS
def test_nobody_decides_for_others_what_runs_without_asking(host: Host, around: Around, records: Records) -> None:
    with pytest.raises(UsageError, match="each user's own decision"):
        join(host, around, records, scope=Scope.PROJECT, allow=Allow.ALL)


def test_reading_alone_is_allowed_as_a_whole_where_the_server_does_nothing_else(
    around: Around, records: Records
) -> None:
    gemini = find_host("gemini-cli")
    outcome = join(gemini, around, records, Launch(StartupMode.INSPECT, read_only=True), allow=Allow.READ_ONLY)
    assert outcome.entry is not None
    assert outcome.entry["trust"] is True
    assert "--read-only" in outcome.command


def test_claude_is_allowed_by_rules_beside_those_of_the_user(around: Around, records: Records) -> None:
    settings = around.home / ".claude" / "settings.json"
    settings.parent.mkdir()
    mine = {"permissions": {"deny": ["WebFetch"], "allow": ["Bash(ls:*)"]}, "model": "opus"}
    settings.write_text(json.dumps(mine, indent=2))
    claude = find_host("claude-code")
    join(claude, around, records, allow=Allow.READ_ONLY)
    rules = json.loads(settings.read_text())["permissions"]["allow"]
    assert rules == ["Bash(ls:*)", *(f"mcp__sandlot__{name}" for name in read_only_tools(INSPECT))]
    assert "mcp__sandlot__workspace_exec" not in rules
    assert "mcp__sandlot__workspace_delete" not in rules
    join(claude, around, records, allow=Allow.ALL)
    assert json.loads(settings.read_text())["permissions"]["allow"] == ["Bash(ls:*)", "mcp__sandlot"]
    disconnect(claude, around, records)
    assert json.loads(settings.read_text()) == mine


def test_codex_allows_tools_one_by_one_and_leaves_what_the_user_forbade(around: Around, records: Records) -> None:
    codex = find_host("codex")
    join(codex, around, records)
    config = around.home / ".codex" / "config.toml"
    mine = config.read_text() + '\n[mcp_servers.sandlot.tools.workspace_exec]\napproval_mode = "prompt" # always\n'
    config.write_text(mine)
    outcome = join(codex, around, records, allow=Allow.READ_ONLY)
    assert outcome.entry is not None
    tools = outcome.entry["tools"]
    assert isinstance(tools, dict)
    assert tools["file_read"] == {"approval_mode": "approve"}
    assert tools["workspace_exec"] == {"approval_mode": "prompt"}
    join(codex, around, records)
    assert codex.place(around, Scope.USER).form.parse(config.read_text()) == codex.place(around, Scope.USER).form.parse(
        mine
    )


@EVERY
def test_an_entry_of_somebody_else_is_never_overwritten(host: Host, around: Around, records: Records) -> None:
    place = host.place(around, Scope.USER)
    join(host, around, records)
    text = place.path.read_text().replace('"serve"', '"shave"')
    place.path.write_text(text)
    for act in (lambda: join(host, around, records), lambda: disconnect(host, around, records)):
        with pytest.raises(HostConflict, match="does not start sandlot"):
            act()
    assert place.path.read_text() == text


@EVERY
def test_keys_that_the_user_added_to_the_entry_stay(host: Host, around: Around, records: Records) -> None:
    place = host.place(around, Scope.USER)
    join(host, around, records, FIX)
    base = (*place.keys, SERVER)
    place.path.write_text(place.form.put(place.path.read_text(), (*base, "note"), "mine"))
    env: JsonObject = {"RUST_LOG": "debug"}
    name = {"goose": "envs", "opencode": "environment"}.get(host.key, "env")
    place.path.write_text(place.form.put(place.path.read_text(), (*base, name), env))
    join(host, around, records, INSPECT)
    value = read(place.path, place.form).value
    assert get(value, (*base, "note")) == "mine"
    assert get(value, (*base, name)) == env


@EVERY
def test_nothing_of_other_servers_is_shown(host: Host, around: Around, records: Records) -> None:
    place = host.place(around, Scope.USER)
    place.path.parent.mkdir(parents=True, exist_ok=True)
    other: JsonObject = {"command": "x", "env": {"TOKEN": "s3cret"}}
    place.path.write_text(place.form.put("", (*place.keys, "other"), other))
    outcomes = [join(host, around, records), *disconnect(host, around, records)]
    for outcome in outcomes:
        assert "s3cret" not in repr(outcome)
    assert read(place.path, place.form).value == place.form.parse(place.form.put("", (*place.keys, "other"), other))


def test_a_server_that_was_switched_off_is_switched_on_by_connecting(around: Around, records: Records) -> None:
    for key, off in (("codex", ("enabled", False)), ("windsurf", ("disabled", True)), ("opencode", ("enabled", False))):
        host = find_host(key)
        place = host.place(around, Scope.USER)
        join(host, around, records)
        text = place.form.put(place.path.read_text(), (*place.keys, SERVER, off[0]), off[1])
        place.path.write_text(text)
        outcome = join(host, around, records)
        assert outcome.did == "updated"
        assert outcome.entry is not None
        assert outcome.entry.get("enabled", True) is True
        assert "disabled" not in outcome.entry


@pytest.mark.parametrize(
    ("key", "variable", "file"),
    [
        ("claude-code", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("codex", "CODEX_HOME", "config.toml"),
        ("opencode", "XDG_CONFIG_HOME", "opencode/opencode.jsonc"),
        ("gemini-cli", "GEMINI_CLI_HOME", ".gemini/settings.json"),
        ("copilot-cli", "COPILOT_HOME", "mcp-config.json"),
        ("goose", "XDG_CONFIG_HOME", "goose/config.yaml"),
    ],
)
def test_folders_that_variables_name_are_used(
    key: str, variable: str, file: str, around: Around, tmp_path: Path
) -> None:
    moved = Around(around.home, {**around.environ, variable: str(tmp_path / "moved")}, around.project, "linux")
    assert find_host(key).place(moved, Scope.USER).path == tmp_path / "moved" / file


def test_opencode_is_written_where_its_settings_already_are(around: Around, records: Records) -> None:
    host = find_host("opencode")
    existing = around.config / "opencode" / "opencode.json"
    existing.parent.mkdir(parents=True)
    existing.write_text('{"model": "x"}\n')
    assert join(host, around, records).file == str(existing)
    assert host.place(around, Scope.PROJECT).path == around.project / "opencode.json"


def test_the_extension_of_cline_has_a_shape_of_its_own(around: Around, records: Records) -> None:
    folder = around.config / "Code" / "User" / "globalStorage" / "saoudrizwan.claude-dev"
    folder.mkdir(parents=True)
    outcome = join(find_host("cline"), around, records)
    assert outcome.file == str(folder / "settings" / "cline_mcp_settings.json")
    assert outcome.entry == {"command": COMMAND, "args": ARGS, "env": {}}


def test_desktop_applications_of_a_mac_are_found(around: Around) -> None:
    mac = Around(around.home, around.environ, around.project, "darwin")
    support = around.home / "Library" / "Application Support"
    assert find_host("claude-desktop").place(mac, Scope.USER).path == support / "Claude" / "claude_desktop_config.json"
    assert find_host("vscode").place(mac, Scope.USER).path == support / "Code" / "User" / "mcp.json"
