"""The records: what is stored comes back, whoever writes at the same time, and damage is named and repaired."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.errors import (
    CommandNotFound,
    LimitReached,
    NameTaken,
    StateCorrupt,
    StateError,
    StateTooNew,
    WorkspaceNotFound,
)
from sandlot.model.base import Origin, OriginKind
from sandlot.model.command import CommandOutcome, CommandRecord, CommandState
from sandlot.model.isolation import IsolationLevel
from sandlot.model.workspace import Instance, Lifetime, Snapshot, WorkspaceRecord
from sandlot.paths import Paths
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import database, records
from sandlot.workspaces.store import Phase, Store, now
from tests.chaos.leaks import find_leaks
from tests.conftest import Cli, clean_environment
from tests.workspaces.conftest import folder_of, record_of

LIMIT = 100


def workspace_record(number: int = 1, **changes: object) -> WorkspaceRecord:
    """Some workspace."""
    record = WorkspaceRecord(
        id=f"ws-{number:016x}",
        name=None,
        labels={"a": "b"},
        origin=Origin(OriginKind.GIT, "/somewhere", "0" * 40, "main", True, 3, 4, ("pipe",)),
        baseline=("b1",),
        layers=("b1", "s2"),
        generation=3,
        storage="overlay",
        runtime="bubblewrap",
        isolation=IsolationLevel.KERNEL,
        lifetime=Lifetime(None, 5),
        created_at=now(),
        active_at=now(),
        stopped_at=now(),
        stopped_uptime=("boot", 1.5),
        instance=Instance("token", 1, 2, 3, 4, "boot"),
        retired=Instance("old", 1, 2, 3, 4, "boot"),
        owner=(1, 2, "boot"),
        toolchains=("/opt/tool",),
        snapshots=(Snapshot("one", ("b1", "s3"), now()),),
    )
    return replace(record, **changes)  # type: ignore[arg-type]  # fields by name


def command_record(number: int) -> CommandRecord:
    return CommandRecord(number, ("echo", "\udcff\n"), "/workspace", False, now(), 0, 1, "token")


OUTCOME = CommandOutcome(CommandState.EXITED, 0, None, 1, 2, 3, 4, 5)


@pytest.fixture
def store(state_dir: Path) -> Iterator[Store]:
    paths = Paths.at(state_dir)
    paths.ensure()
    made = Store(paths)
    yield made
    made.database.close()


def add(store: Store, record: WorkspaceRecord) -> WorkspaceRecord:
    store.add(record, LIMIT)
    store.save(record)
    return record


# --- records ------------------------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_stored(store: Store) -> None:
    record = add(store, workspace_record(name="named"))
    assert store.find(record.id) == store.find("named") == record
    assert records.load_workspace(records.dump(record)) == record


@given(
    st.text(),
    st.dictionaries(st.text(), st.text()),
    st.lists(st.text()),
    st.none() | st.tuples(st.text(), st.floats(0, 1e9)),
)
def test_any_text_survives_as_json(
    text: str, labels: dict[str, str], paths: list[str], uptime: tuple[str, float] | None
) -> None:
    record = workspace_record(name=text, labels=labels, toolchains=tuple(paths), stopped_uptime=uptime, owner=None)
    assert records.load_workspace(records.dump(record)) == record
    command = replace(command_record(1), argv=tuple(paths), cwd=text, outcome=OUTCOME)
    assert records.load_command(records.dump(command)) == command


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '"x"', "1", '{"id": 1}'])
def test_a_damaged_record_is_called_that(text: str) -> None:
    with pytest.raises(StateCorrupt):
        records.load_workspace(text)
    with pytest.raises(StateCorrupt):
        records.load_command(text)


@pytest.mark.parametrize("field", ["origin", "isolation", "snapshots", "lifetime", "instance"])
def test_a_record_with_a_wrong_field_is_called_damaged(field: str) -> None:
    data = json.loads(records.dump(workspace_record()))
    for wrong in (7, {"unknown": 1}):
        with pytest.raises(StateCorrupt):
            records.load_workspace(json.dumps({**data, field: wrong}))
    del data[field]
    with pytest.raises(StateCorrupt):
        records.load_workspace(json.dumps(data))


# --- workspaces ---------------------------------------------------------------------------------------------------


def test_a_workspace_in_the_making_has_its_name_but_cannot_be_found(store: Store) -> None:
    store.add(workspace_record(1, name="taken"), LIMIT)
    with pytest.raises(NameTaken):
        store.add(workspace_record(2, name="taken"), LIMIT)
    with pytest.raises(WorkspaceNotFound):
        store.find("taken")
    assert store.all() == []
    assert [phase for _, phase in store.unfinished()] == [Phase.CREATING]
    assert store.layers_in_use() == {"b1", "s2", "s3"}  # so nobody removes what it stands on


def test_many_may_have_no_name(store: Store) -> None:
    for number in range(3):
        add(store, workspace_record(number))
    assert len(store.all()) == 3


def test_the_limit_is_kept_by_the_database_itself(store: Store) -> None:
    store.add(workspace_record(1), 2)
    store.add(workspace_record(2), 2)
    with pytest.raises(LimitReached):
        store.add(workspace_record(3), 2)
    assert store.count() == 2


def test_a_removed_workspace_takes_its_history_along_and_cannot_be_saved(store: Store) -> None:
    record = add(store, workspace_record())
    command = store.add_command(record.id, command_record)
    store.add_event(record.id, "export", "x")
    store.remove(record.id)
    with pytest.raises(WorkspaceNotFound):
        store.save(record)
    with pytest.raises(WorkspaceNotFound):
        store.add_command(record.id, command_record)
    with pytest.raises(WorkspaceNotFound):
        store.finish_command(record.id, command, OUTCOME)
    with pytest.raises(CommandNotFound):
        store.command(record.id, 1)
    assert store.commands(record.id) == []
    assert store.events(record.id) == []
    add(store, record)
    assert store.last_command(record.id) == 0


def test_saving_does_not_turn_back_the_time_of_activity(store: Store) -> None:
    record = add(store, workspace_record(active_at="2001-01-01T00:00:00.000Z"))
    store.touch(record.id)
    touched = store.find(record.id).active_at
    store.save(replace(record, name="x"))
    assert store.find(record.id).active_at == touched > "2020"


# --- history ------------------------------------------------------------------------------------------------------


def test_the_first_to_say_how_a_command_ended_is_believed(store: Store) -> None:
    record = add(store, workspace_record())
    command = store.add_command(record.id, command_record)
    assert store.unfinished_commands(record.id) == [command]
    store.finish_command(record.id, command, OUTCOME)
    late = replace(OUTCOME, state=CommandState.INTERRUPTED)
    assert store.finish_command(record.id, command, late).outcome == OUTCOME
    assert store.unfinished_commands(record.id) == []


def test_a_command_whose_files_cannot_be_made_has_no_number(store: Store) -> None:
    record = add(store, workspace_record())

    def fail(_: int) -> CommandRecord:
        raise OSError

    with pytest.raises(OSError):
        store.add_command(record.id, fail)
    assert store.add_command(record.id, command_record).number == 1


def test_numbers_are_given_once_whoever_asks_at_the_same_time(store: Store, state_dir: Path) -> None:
    record = add(store, workspace_record())
    script = (
        "import sys\nfrom pathlib import Path\nfrom sandlot.paths import Paths\n"
        "from sandlot.workspaces.store import Store\nfrom tests.workspaces.test_store import command_record\n"
        "store = Store(Paths.at(Path(sys.argv[1])))\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "print(*[store.add_command(sys.argv[2], command_record).number for _ in range(30)])"
    )
    environment = {**clean_environment(state_dir), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = [sys.executable, "-c", script, str(state_dir), record.id]
    processes = [
        subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for each in processes:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    given: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: given.extend(store.add_command(record.id, command_record).number for _ in range(30))
        )
        for _ in range(2)
    ]
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in processes:
        given += map(int, each.communicate()[0].split())
    assert sorted(given) == list(range(1, 151))
    assert [each.number for each in store.commands(record.id)] == list(range(1, 151))


# --- the database -------------------------------------------------------------------------------------------------


def test_threads_that_ended_leave_no_open_connection(store: Store) -> None:
    store.all()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        thread = threading.Thread(target=store.all)
        thread.start()
        thread.join()
    assert len(os.listdir("/proc/self/fd")) <= before + 3  # the last one's file, log and index


def test_a_forked_child_opens_a_connection_of_its_own(store: Store, state_dir: Path) -> None:
    record = add(store, workspace_record())
    script = (  # in a process of its own: this one has threads
        "import os, sys\nfrom pathlib import Path\nfrom sandlot.paths import Paths\n"
        "from sandlot.workspaces.store import Store\nstore = Store(Paths.at(Path(sys.argv[1])))\nstore.all()\n"
        "mine = store.database.connection\nchild = os.fork()\n"
        "if child == 0:\n"
        "    store.touch(sys.argv[2])\n    os._exit(0 if store.database.connection is not mine else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or len(store.all()) - 1)"
    )
    argv = [sys.executable, "-c", script, str(state_dir), record.id]
    assert subprocess.run(argv, env=clean_environment(state_dir), check=False).returncode == 0
    assert store.find(record.id).active_at > record.active_at


def test_closing_is_not_the_end(store: Store) -> None:
    record = add(store, workspace_record())
    store.database.close()
    assert store.all() == [record]


def test_a_transaction_that_fails_changes_nothing(store: Store) -> None:
    record = add(store, workspace_record())

    def fail() -> None:
        with store.database.write() as connection:
            connection.execute("DELETE FROM workspaces")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert store.all() == [record]


def test_a_statement_of_ours_that_is_wrong_is_not_called_damage(store: Store) -> None:
    with pytest.raises(StateError) as caught:
        store.database.read("SELECT nothing FROM nowhere")
    assert type(caught.value) is StateError


def test_the_schema_of_version_one_can_be_read_for_ever(store: Store) -> None:
    """The first schema as released: a migration may follow it, but not change it."""
    import hashlib

    digest = hashlib.sha256(" ".join(database.MIGRATIONS[0].split()).encode()).hexdigest()
    assert digest == "956a238665ead1cc7e2e34b39d41c6ed2ce160045a47ab64344cd9ad59ba691d"


def test_every_migration_ends_with_its_version(store: Store) -> None:
    store.all()
    assert store.database.read("PRAGMA user_version") == [(len(database.MIGRATIONS),)]
    assert store.database.read("PRAGMA journal_mode") == [("wal",)]


def test_a_newer_schema_is_refused_and_left_alone(state_dir: Path, sandlot: Sandlot, cli: Cli) -> None:
    sandlot.list()
    sandlot.close()
    with sqlite3.connect(state_dir / "state.db") as connection:
        connection.execute(f"PRAGMA user_version = {len(database.MIGRATIONS) + 1}")
    connection.close()
    for use in (sandlot.list, sandlot.repair):
        with pytest.raises(StateTooNew, match="schema"):
            use()
    done = cli("workspace", "list")
    assert done.returncode == 8
    assert b"upgrade sandlot" in done.stderr
    with sqlite3.connect(state_dir / "state.db") as connection:
        connection.execute(f"PRAGMA user_version = {len(database.MIGRATIONS)}")
    connection.close()
    assert sandlot.list() == []


@pytest.mark.parametrize("damage", ["header", "middle", "cut", "row", "gone", "empty"])
def test_a_damaged_or_lost_database_is_rebuilt_from_the_folders(
    sandlot: Sandlot, state_dir: Path, tmp_path: Path, damage: str
) -> None:
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "file").write_text("seeded\n")
    first = sandlot.create(tmp_path / "seed", name="first", labels={"a": "b"})
    first.exec("echo changed > file; echo printed; exit 3")
    first.snapshots.create("saved")
    first.exec("echo again > file")
    sandlot.create(name="second").stop()
    before = {info.id: replace(record_of(sandlot.get(info.id)), active_at="") for info in sandlot.list()}
    for number in range(300):  # enough for several pages
        sandlot._context.store.add_event(first.id, "test", "x" * 200 + str(number))
    sandlot.close()
    file = state_dir / "state.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if damage == "row":
            connection.execute("UPDATE workspaces SET record = '{' WHERE name = 'first'")
    connection.close()
    content = file.read_bytes()
    if damage == "header":
        file.write_bytes(b"garbage" + content[7:])
    elif damage == "middle":
        file.write_bytes(content[:8192] + bytes(1000) + b"\xff" * 3000 + content[12192:])
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "gone":
        file.unlink()

    if damage in ("header", "row"):
        with pytest.raises(StateCorrupt) as caught:
            sandlot.list()
        assert caught.value.hint == "sandlot repair"
    found = sandlot.repair()
    assert found.rebuilt == 2
    after = {info.id: replace(record_of(sandlot.get(info.id)), active_at="") for info in sandlot.list()}
    assert after == before
    again = sandlot.get("first")
    assert again.exec("cat file").stdout.text == "again\n"  # the very same instance
    assert again.logs(1).output == "printed\n"
    outcome = again.logs().commands[0].outcome
    assert outcome is not None
    assert outcome.exit_code == 3
    again.reset("saved")
    assert again.exec("cat file").stdout.text == "changed\n"
    assert not find_leaks(state_dir)
    assert bool(list(state_dir.glob("state.db.damaged-*"))) == (damage not in ("gone", "empty"))


def test_a_lost_database_is_found_out_by_the_next_use(sandlot: Sandlot, workspace: Workspace, state_dir: Path) -> None:
    workspace.exec("echo kept > file")
    sandlot.close()
    for file in state_dir.glob("state.db*"):
        file.unlink()
    with Sandlot(state_dir) as other:
        assert [info.id for info in other.list()] == [workspace.id]
        assert other.get(workspace.id).exec("cat file").stdout.text == "kept\n"


def test_two_folders_that_claim_one_name_are_both_kept(sandlot: Sandlot, state_dir: Path) -> None:
    first, second = sandlot.create(name="first"), sandlot.create(name="second")
    mirror = folder_of(second) / "record.json"
    mirror.write_text(mirror.read_text().replace('"second"', '"first"'))
    sandlot.close()
    for file in state_dir.glob("state.db*"):
        file.unlink()
    sandlot.repair()
    assert {info.id for info in sandlot.list()} == {first.id, second.id}
    assert sorted(info.name or "" for info in sandlot.list()) == ["", "first"]


def test_the_mirror_follows_every_change_of_the_record(sandlot: Sandlot, workspace: Workspace) -> None:
    changes: list[Callable[[], object]] = [
        lambda: workspace.update(name="x"), lambda: workspace.snapshots.create("s"), workspace.reset, workspace.stop,
        workspace.start, lambda: workspace.snapshots.delete("s"),
    ]  # fmt: skip
    for change in changes:
        change()
        mirror = records.load_workspace((folder_of(workspace) / "record.json").read_text())
        assert replace(mirror, active_at="") == replace(record_of(workspace), active_at="")


def test_first_uses_at_the_same_moment_wait_for_each_other(tmp_path: Path) -> None:
    """SQLite's busy timeout does not cover the change to WAL mode: seen as "database is locked"."""
    barrier = threading.Barrier(6, timeout=60)

    def first_use(path: Path) -> object:
        barrier.wait()
        opened = database.Database(path)
        try:
            return opened.read("SELECT count(*) FROM workspaces")[0][0]
        finally:
            opened.close()

    with ThreadPoolExecutor(6) as pool:
        for number in range(40):
            path = tmp_path / f"{number}.db"
            assert list(pool.map(first_use, [path] * 6)) == [0] * 6
