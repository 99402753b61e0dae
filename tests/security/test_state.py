"""Case 14: damaged, newer or forged records, reused pids and full disks never cost what is alive."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sandlot.errors import StateCorrupt, StateError, StateTooNew
from sandlot.model.workspace import WorkspaceState
from sandlot.process import identify
from sandlot.sdk import Sandlot
from tests.conftest import NAMESPACES, Cli, clean_environment


def damage(state: Path, how: str) -> None:
    path = state / "state.db"
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    data = bytearray(path.read_bytes())
    if how == "garbage":
        path.write_bytes(os.urandom(len(data)))
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "pages":
        data[100:] = os.urandom(len(data) - 100)
        path.write_bytes(data)
    else:
        path.write_text("-- this is not a database\n")


@pytest.mark.parametrize("how", ["garbage", "truncated", "pages", "text"])
def test_a_damaged_database_is_named_and_repaired_and_nothing_live_is_lost(
    sandlot: Sandlot, cli: Cli, state_dir: Path, how: str
) -> None:
    workspace = sandlot.create(name="precious")
    workspace.exec("echo work > file")
    sandlot.close()
    damage(state_dir, how)
    failed = cli("workspace", "list", "--json")
    assert failed.returncode == 8
    assert json.loads(failed.stdout or failed.stderr)["error"]["code"] in ("state_corrupt", "state_error")
    assert b"Traceback" not in failed.stderr
    repaired = cli("repair", "--json")
    assert repaired.returncode == 0, repaired.stderr
    assert workspace.exec("cat file").stdout.text == "work\n"
    assert [info.name for info in sandlot.list()] == ["precious"]
    assert workspace.status().workspace.state is WorkspaceState.RUNNING
    assert [path.name for path in state_dir.iterdir() if "damaged" in path.name]


def test_a_database_of_a_newer_sandlot_is_left_alone(sandlot: Sandlot, state_dir: Path, cli: Cli) -> None:
    sandlot.create(name="precious")
    sandlot.close()
    path = state_dir / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with Sandlot(state_dir) as newer, pytest.raises(StateTooNew):
        newer.list()
    for words in (("workspace", "list"), ("repair",), ("workspace", "create"), ("workspace", "delete", "precious")):
        failed = cli(*words)
        assert failed.returncode == 8, (words, failed.stdout)
        assert b"newer" in failed.stderr or b"knows up to" in failed.stderr
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
        assert connection.execute("SELECT COUNT(*) FROM workspaces").fetchone() == (1,)
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_a_damaged_row_is_an_error_in_words(sandlot: Sandlot, state_dir: Path) -> None:
    workspace = sandlot.create()
    with sqlite3.connect(state_dir / "state.db") as connection:
        [row] = connection.execute("SELECT record FROM workspaces").fetchone()
        connection.execute("UPDATE workspaces SET record = '{'")
    with pytest.raises(StateCorrupt):
        workspace.status()
    with sqlite3.connect(state_dir / "state.db") as connection:
        connection.execute("UPDATE workspaces SET record = ?", (row,))
    connection.close()


@pytest.mark.parametrize("operation", ["delete", "stop", "reset", "start", "list", "exec", "status"])
def test_a_process_that_got_the_pid_of_a_workspace_is_never_touched(sandlot: Sandlot, operation: str) -> None:
    workspace = sandlot.create()
    store, runtime = sandlot._context.store, sandlot._context.runtime(workspace.info.runtime)
    record = store.find(workspace.id)
    assert record.instance is not None
    runtime.kill(record.instance)
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        forged = dataclasses.replace(record.instance, agent_pid=victim.pid, monitor_pid=victim.pid)
        store.save(dataclasses.replace(record, instance=forged, retired=forged))
        if operation == "list":
            assert sandlot.list()[0].state is WorkspaceState.STOPPED
            sandlot.repair()
        elif operation == "exec":
            assert workspace.exec("echo fine").stdout.text == "fine\n"
        else:
            getattr(workspace, operation)()
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_a_record_of_another_boot_names_nobody(sandlot: Sandlot) -> None:
    workspace = sandlot.create()
    store = sandlot._context.store
    record = store.find(workspace.id)
    assert record.instance is not None
    sandlot._context.runtime(workspace.info.runtime).kill(record.instance)
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        found = identify(victim.pid)
        assert found is not None
        forged = dataclasses.replace(
            record.instance, agent_pid=victim.pid, agent_start=found.start_time, monitor_pid=victim.pid,
            monitor_start=found.start_time, boot="another boot",
        )  # fmt: skip
        store.save(dataclasses.replace(record, instance=forged))
        assert workspace.status().workspace.state is WorkspaceState.STOPPED
        workspace.delete()
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


FULL = """
import json, os, subprocess, sys
state = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", state], check=True)
from sandlot.errors import SandlotError
from sandlot.sdk import Sandlot
told = {}
with Sandlot(state) as made:
    workspace = made.create(name="first")
    workspace.files.write("small", "kept")
    def attempt(name, action):
        try:
            value = action()
            told[name] = "done"
            return value
        except SandlotError as error:
            told[name] = error.code
    done = attempt("fill", lambda: workspace.exec("head -c 100M /dev/zero > big; echo $?"))
    told["inside"] = done.stdout.text if done else ""
    ballast = os.open(state + "/ballast", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(ballast, bytes(4096))
    except OSError:
        os.close(ballast)
    attempt("write", lambda: workspace.files.write("other", "x" * 100000))
    attempt("create", lambda: made.create(name="second"))
    attempt("snapshot", lambda: workspace.snapshots.create("full"))
    attempt("reset", lambda: workspace.reset())
    attempt("fork", lambda: workspace.fork())
    attempt("status", lambda: workspace.status())
    attempt("exec", lambda: workspace.exec("true"))
    attempt("list", lambda: made.list())
    os.unlink(state + "/ballast")
    attempt("repair", lambda: made.repair())
    told["names"] = sorted(info.name or "" for info in made.list())
    told["folders"] = len(os.listdir(state + "/workspaces"))
    attempt("delete", lambda: made.get("first").delete())
    attempt("repair again", lambda: made.repair())
    told["left"] = os.listdir(state + "/workspaces") + os.listdir(state + "/trash")
    attempt("after", lambda: made.create(name="third").delete())
print(json.dumps(told))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root to be mounted")
@NAMESPACES  # what guests are made from would have to be on that disk, too
def test_a_full_disk_is_an_error_in_words_and_leaves_nothing_half_done(state_dir: Path) -> None:
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")  # nobody outlives the script
    ran = subprocess.run(
        [*alone, sys.executable, "-c", FULL, str(state_dir)],
        env=clean_environment(state_dir), capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    if b"unshare" in ran.stderr or b"mount:" in ran.stderr:
        pytest.skip("no mount namespace of our own here")
    assert ran.returncode == 0, ran.stderr.decode()[-3000:]
    told = json.loads(ran.stdout)
    allowed = {"done", "state_unwritable", "file_refused", "start_failed"}
    assert {
        name: code for name, code in told.items() if isinstance(code, str) and name != "inside" and code not in allowed
    } == {}
    assert told["create"] != "done"
    assert told["status"] == "done"
    assert told["list"] == "done"
    assert told["names"] == ["first"]
    assert told["folders"] == 1
    assert told["left"] == []
    for name in ("delete", "repair again", "after"):  # the disk is full of what the workspace holds: deleting helps
        assert told[name] == "done", told


def test_a_state_folder_that_cannot_be_written_is_an_error_in_words(host_folder: Path) -> None:
    blocked = host_folder / "file"
    blocked.write_text("in the way")
    with Sandlot(blocked / "state") as made, pytest.raises(StateError) as caught:
        made.create()
    assert caught.value.exit_status == 8
    assert caught.value.hint
