"""``host repair``: what doctor has named is put right, nothing else is touched, and one step takes it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandlot.errors import HostConflict, UsageError
from sandlot.hosts import checks
from sandlot.hosts.around import Around
from sandlot.hosts.catalog import HOSTS, find_host
from sandlot.hosts.connecting import connect, disconnect
from sandlot.hosts.formats.base import get
from sandlot.hosts.host import Host, State
from sandlot.hosts.launch import SERVER, Allow, Launch, Scope
from sandlot.hosts.records import Records
from sandlot.hosts.repairing import repair, undo
from sandlot.modes import StartupMode
from tests.hosts.servers import server
from tests.hosts.test_checks import change, joined, looked

CODEX, CLAUDE = find_host("codex"), find_host("claude-code")
EVERY = pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.key)
NOT_OURS = {"binary.found", "approval.state"}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SLOW_MS", 1e9)


def troubles(host: Host, around: Around, records: Records) -> set[str]:
    found = looked(host, around, records)
    return {name for name, each in found.items() if each.state in (State.WARNING, State.FAILED)} - NOT_OURS


@EVERY
def test_a_missing_program_is_replaced_by_this_one(host: Host, around: Around, records: Records) -> None:
    path = joined(host, around, records)
    good = path.read_text()
    path.write_text(good.replace("/bin/sandlot", "/gone/sandlot"))
    assert troubles(host, around, records) == {"entry.current", "command.found"}
    done = repair(host, around, records)
    assert [each.checks for each in done] == [("command.found", "entry.current")]
    assert path.read_text() == good
    assert troubles(host, around, records) == set()


def test_a_server_that_is_too_slow_is_replaced_by_this_one(
    around: Around, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(CODEX, around, records)
    change(CODEX, around, "command", str(server(tmp_path, "deaf")))
    found = checks.check(CODEX, around, records, patience_s=0.3)
    slow = {each.check for each in found if each.state is State.FAILED} - NOT_OURS
    assert slow == {"start.legacy", "start.modern", "start.time"}
    done = repair(CODEX, around, records, look=lambda: found)
    assert len(done) == 1
    assert troubles(CODEX, around, records) == set()


def test_drift_is_put_right_and_what_the_user_added_stays(around: Around, records: Records) -> None:
    path = joined(CODEX, around, records)
    path.write_text("# mine\n" + path.read_text().replace("= 20", "= 2 # too short") + 'env = { A = "1" } # mine too\n')
    assert troubles(CODEX, around, records) == {"entry.current"}
    repair(CODEX, around, records)
    text = path.read_text()
    assert text.startswith("# mine\n")
    assert text.endswith('env = { A = "1" } # mine too\n')
    assert "startup_timeout_sec = 20 # too short" in text
    assert troubles(CODEX, around, records) == set()


def test_the_mode_of_the_entry_stays_unless_another_is_asked_for(around: Around, records: Records) -> None:
    path = joined(CODEX, around, records)
    change(CODEX, around, "tool_timeout_sec", 1)
    repair(CODEX, around, records)
    assert '"inspect"' in path.read_text()
    repair(CODEX, around, records, launch=Launch(StartupMode.REPRO_FIX))
    assert '"repro-fix"' in path.read_text()


def test_what_an_entry_demands_of_isolation_is_not_lowered_by_putting_it_right(
    around: Around, records: Records
) -> None:
    launch = Launch(StartupMode.INSPECT, runtime="auto", min_isolation="vm-emulated")
    place = CODEX.place(around, Scope.USER)
    connect(CODEX, around, records, place, launch)
    for wanted in (None, Launch(StartupMode.REPRO_FIX), Launch(read_only=True)):
        change(CODEX, around, "tool_timeout_sec", 1)
        repair(CODEX, around, records, launch=wanted)
        assert '"--runtime", "auto", "--min-isolation", "vm-emulated"' in place.path.read_text()


@pytest.mark.parametrize(
    ("keep", "left"), [(None, {"user"}), (Scope.USER, {"user"}), (Scope.PROJECT, {"project"})], ids=str
)
def test_of_several_entries_one_stays(keep: Scope | None, left: set[str], around: Around, records: Records) -> None:
    joined(CLAUDE, around, records)
    joined(CLAUDE, around, records, Scope.PROJECT)
    state = json.loads((around.home / ".claude.json").read_text())
    state["projects"] = {str(around.project): {"mcpServers": dict(state["mcpServers"]), "allowedTools": []}}
    (around.home / ".claude.json").write_text(json.dumps(state))
    done = repair(CLAUDE, around, records, only=["entry.duplicates"], keep=keep)
    assert {each.checks for each in done} == {("entry.duplicates",)}
    entries, _ = checks.find_entries(CLAUDE, around, records)
    assert {each.place.scope for each in entries} == left
    after = json.loads((around.home / ".claude.json").read_text())
    assert after["projects"][str(around.project)]["allowedTools"] == []


def test_an_entry_that_is_not_there_cannot_be_kept(around: Around, records: Records) -> None:
    opencode = find_host("opencode")
    for name in ("opencode.json", "opencode.jsonc"):
        path = around.project / name
        path.write_text(
            json.dumps(
                {"mcp": {SERVER: opencode.entry(Launch(), Allow.NONE, Scope.PROJECT, opencode.places(around)[0])}}
            )
        )
    with pytest.raises(UsageError, match="no entry of user scope"):
        repair(opencode, around, records, only=["entry.duplicates"], keep=Scope.USER)


@EVERY
def test_a_broken_file_becomes_what_sandlot_last_wrote(host: Host, around: Around, records: Records) -> None:
    path = joined(host, around, records)
    good = path.read_text()
    path.write_text(good + "\n}{ = oops [\n")
    broken = path.read_text()
    assert "config.parses" in troubles(host, around, records)
    [done] = repair(host, around, records)
    assert done.checks == ("config.parses",)
    assert path.read_text() == good
    assert troubles(host, around, records) == set()
    undo(host, around, records)
    assert path.read_text() == broken


def test_only_the_checks_that_are_named_are_put_right(around: Around, records: Records) -> None:
    path = joined(CODEX, around, records)
    joined(CODEX, around, records, Scope.PROJECT)
    change(CODEX, around, "tool_timeout_sec", 1)
    before = path.read_text()
    assert repair(CODEX, around, records, only=["entry.enabled"]) == []
    assert path.read_text() == before
    with pytest.raises(UsageError, match="no check"):
        repair(CODEX, around, records, only=["entry.curent"])


def test_a_dry_run_says_what_it_would_do_and_does_nothing(around: Around, records: Records) -> None:
    path = joined(CODEX, around, records)
    change(CODEX, around, "tool_timeout_sec", 1)
    before = path.read_text()
    done = repair(CODEX, around, records, dry_run=True)
    assert [each.checks for each in done] == [("entry.current",)]
    assert path.read_text() == before


@EVERY
def test_connecting_is_undone_byte_for_byte(host: Host, around: Around, records: Records) -> None:
    place = host.place(around, Scope.USER)
    place.path.parent.mkdir(parents=True, exist_ok=True)
    mark = "// mine" if place.form.name == "JSON" else "# mine"
    text = f"{mark}\n" + place.form.put("", ("mine",), "x")
    place.path.write_text(text)
    connect(host, around, records, place, Launch())
    assert undo(host, around, records) == [place.path]
    assert place.path.read_text() == text
    assert undo(host, around, records) == []


def test_undoing_the_first_connection_removes_the_file(around: Around, records: Records) -> None:
    path = joined(CODEX, around, records)
    undo(CODEX, around, records)
    assert not path.exists()


def test_undoing_a_disconnection_connects_again(around: Around, records: Records) -> None:
    path = joined(CODEX, around, records)
    before = path.read_text()
    disconnect(CODEX, around, records)
    undo(CODEX, around, records)
    assert path.read_text() == before


@EVERY
def test_what_others_wrote_since_survives_undo(host: Host, around: Around, records: Records) -> None:
    path = joined(host, around, records)
    place = host.place(around, Scope.USER)
    path.write_text(place.form.put(path.read_text(), ("theirs",), "since"))
    undo(host, around, records)
    value = place.form.parse(path.read_text())
    assert value["theirs"] == "since"
    assert get(value, (*place.keys, SERVER)) is None


def test_undo_gives_up_where_the_file_is_broken_now(around: Around, records: Records) -> None:
    path = joined(CODEX, around, records)
    path.write_text("oops\n")
    with pytest.raises(Exception, match=r"line 1") as caught:
        undo(CODEX, around, records)
    assert caught.value.__class__.__name__ == "HostConfigUnreadable"
    assert path.read_text() == "oops\n"
    assert not isinstance(caught.value, HostConflict)


def test_rules_that_allowed_tools_are_undone_too(around: Around, records: Records) -> None:
    connect(CLAUDE, around, records, CLAUDE.place(around, Scope.USER), Launch(), Allow.ALL)
    settings = around.home / ".claude" / "settings.json"
    assert "mcp__sandlot" in settings.read_text()
    undo(CLAUDE, around, records)
    assert not settings.exists()
