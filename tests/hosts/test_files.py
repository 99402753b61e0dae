"""Files of somebody else's: read with care, replaced in one step, and only where they really are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sandlot.errors import HostConfigUnreadable, HostConflict, UnsafePath
from sandlot.hosts.around import Around
from sandlot.hosts.catalog import find_host
from sandlot.hosts.connecting import connect
from sandlot.hosts.files import read, read_text, replace
from sandlot.hosts.formats.jsonc import Jsonc
from sandlot.hosts.launch import Launch, Scope
from sandlot.hosts.records import Made, Record, Records


def test_mode_bits_and_links_stay(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "settings.json"
    real.parent.mkdir()
    real.write_text("{}")
    real.chmod(0o640)
    link = tmp_path / "settings.json"
    link.symlink_to(real)
    replace(link, "{}", '{"a": 1}')
    assert link.is_symlink()
    assert real.read_text() == '{"a": 1}'
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert os.listdir(real.parent) == ["settings.json"]


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"theirs": 1}')
    with pytest.raises(HostConflict):
        replace(path, "{}", '{"ours": 1}')
    assert path.read_text() == '{"theirs": 1}'


def test_a_link_in_a_project_cannot_make_us_change_a_file_elsewhere(around: Around, records: Records) -> None:
    secret = around.home / ".claude.json"
    secret.write_text('{"oauth": "x"}')
    (around.project / ".mcp.json").symlink_to(secret)
    claude = find_host("claude-code")
    with pytest.raises(UnsafePath, match="leads out of its project"):
        connect(claude, around, records, claude.place(around, Scope.PROJECT), Launch())
    assert secret.read_text() == '{"oauth": "x"}'


def test_a_linked_folder_in_a_project_neither(around: Around, records: Records) -> None:
    (around.home / ".codex").mkdir()
    (around.project / ".codex").symlink_to(around.home / ".codex")
    codex = find_host("codex")
    with pytest.raises(UnsafePath):
        connect(codex, around, records, codex.place(around, Scope.PROJECT), Launch())
    assert list((around.home / ".codex").iterdir()) == []


def test_no_entry_is_written_through_a_dangling_link_of_a_project(around: Around, records: Records) -> None:
    (around.project / ".mcp.json").symlink_to(around.home / "new.json")
    claude = find_host("claude-code")
    with pytest.raises(UnsafePath):
        connect(claude, around, records, claude.place(around, Scope.PROJECT), Launch())
    assert not (around.home / "new.json").exists()


@pytest.mark.parametrize("kind", ["fifo", "folder", "binary"])
def test_what_is_no_text_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b'{\n "a": "\xff"}')
    with pytest.raises(HostConfigUnreadable):
        read(path, Jsonc())


def test_text_in_another_encoding_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(b'{\n "a": "\xff"}')
    with pytest.raises(HostConfigUnreadable, match="line 2, column 8"):
        read_text(path)


def test_a_broken_file_is_refused_with_its_place_and_left_alone(around: Around, records: Records) -> None:
    codex = find_host("codex")
    place = codex.place(around, Scope.USER)
    place.path.parent.mkdir()
    place.path.write_text("a = 1\nb = = 2\n")
    with pytest.raises(HostConfigUnreadable, match=r"config\.toml is no TOML: line 2, column 5"):
        connect(codex, around, records, place, Launch())
    assert place.path.read_text() == "a = 1\nb = = 2\n"


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_no_draft(around: Around, records: Records) -> None:
    (around.home / ".cursor").write_text("a file where a folder should be")
    cursor = find_host("cursor")
    with pytest.raises(HostConfigUnreadable, match="cannot write"):
        connect(cursor, around, records, cursor.place(around, Scope.USER), Launch())
    assert sorted(os.listdir(around.home)) == [".cursor", "project"]


def test_backups_are_private_and_there_is_one_for_each_file(tmp_path: Path, records: Records) -> None:
    path = tmp_path / "settings.json"
    for number in range(3):
        backup = records.save(Record(str(path), Made.NOTHING, f"before {number}", "after", "codex"))
    assert backup is not None
    assert backup.read_text() == "before 2"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert stat.S_IMODE(backup.parent.stat().st_mode) == 0o700
    assert [each.name for each in backup.parent.parent.iterdir()] == [backup.parent.name]
    found = records.find(path)
    assert found is not None
    assert (found.before, found.after) == ("before 2", "after")


def test_a_damaged_record_counts_as_none(tmp_path: Path, records: Records) -> None:
    path = tmp_path / "settings.json"
    backup = records.save(Record(str(path), Made.NOTHING, "x", "y", "codex"))
    assert backup is not None
    (backup.parent / "record.json").write_text("{")
    assert records.find(path) is None
    records.save(Record(str(path), Made.NOTHING, "x", "z", "codex"))
    found = records.find(path)
    assert found is not None
    assert found.after == "z"
