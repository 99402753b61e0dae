"""What must not be there after a repair: processes, folders, layers and trash that no record stands for."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from sandlot.model.workspace import WorkspaceRecord
from sandlot.sdk import Sandlot

PATIENCE_S = 20.0
"""How long processes that end by themselves (a killed caller's git, a sweeper) may take to do so."""


def find_leaks(state: Path) -> list[str]:
    """One line for each thing that is there and should not be, or should be there and is not."""
    with Sandlot(state) as sandlot:
        records = sandlot._context.store.everything()
        unfinished = sandlot._context.store.unfinished()
        return [
            *_processes(state, records),
            *(f"{record.id} was left in phase {phase}" for record, phase in unfinished),
            *_damage(state),
            *_strays(state, records),
            *_layers(state, records),
        ]


def _damage(state: Path) -> Iterator[str]:
    with sqlite3.connect(state / "state.db") as connection:
        answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    if answer != "ok":
        yield f"the database is damaged: {answer}"


def _strays(state: Path, records: list[WorkspaceRecord]) -> Iterator[str]:
    known = {record.id: record for record in records}
    for folder in (state / "workspaces").iterdir():
        if folder.name not in known:
            yield f"{folder} has no record"
            continue
        generations = {entry.name for entry in folder.iterdir() if entry.name[0] == "g" and entry.name[1:].isdigit()}
        if generations != {f"g{known[folder.name].generation}"}:
            yield f"{folder} has the generations {generations}, its record says {known[folder.name].generation}"
        if not (folder / "record.json").is_file():
            yield f"{folder} has no mirror of its record"
        yield from (f"{entry} was left half-written" for entry in folder.glob(".record.*"))
    for record in records:
        if not (state / "workspaces" / record.id).is_dir():
            yield f"{record.id} has no folder"
        if record.retired is not None:
            yield f"{record.id} still has a retired instance"
    yield from (
        f"{entry} is half-made" for entry in (state / "building").iterdir() if not entry.name.startswith("lock-")
    )
    yield from (f"{entry} is in the trash" for entry in (state / "trash").iterdir())


def _layers(state: Path, records: list[WorkspaceRecord]) -> Iterator[str]:
    used = {layer for record in records for layer in (*record.layers, *record.baseline)}
    used |= {layer for record in records for snapshot in record.snapshots for layer in snapshot.layers}
    there = {entry.name for entry in (state / "layers").iterdir()}
    yield from (f"layer {layer} is missing" for layer in used - there)
    yield from (f"private layer {layer} is used by nobody" for layer in there - used if layer.startswith("s"))


def _processes(state: Path, records: list[WorkspaceRecord]) -> Iterator[str]:
    end = time.monotonic() + PATIENCE_S
    while strangers := _strangers(state, records):
        if time.monotonic() > end:
            yield from strangers
            return
        time.sleep(0.05)


def _strangers(state: Path, records: list[WorkspaceRecord]) -> list[str]:
    """Processes that have something of the state folder open or mounted, and belong to no recorded instance."""
    instances = [record.instance for record in records if record.instance is not None]
    expected = {pid for instance in instances for pid in (instance.agent_pid, instance.monitor_pid)}
    expected.add(os.getpid())
    namespaces = {_link(f"/proc/{instance.agent_pid}/ns/pid") for instance in instances}
    namespaces.discard(_link("/proc/self/ns/pid"))  # QEMU's is the host's
    found = []
    for pid in using(state):
        if pid not in expected and _link(f"/proc/{pid}/ns/pid") not in namespaces:
            found.append(f"process {pid} is still at work: {command_line(pid)}")
    return found


def using(state: Path) -> list[int]:
    """Processes that have something of the state folder open or mounted, or sweep its trash."""
    needle = str(state)
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _uses(int(name), needle)]


def _uses(pid: int, needle: str) -> bool:
    if needle in _link(f"/proc/{pid}/cwd") or f"{needle}/trash" in command_line(pid):  # the second is a sweeper
        return True
    try:
        if any(needle in _link(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")):
            return True
        return needle in Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:  # gone, or not ours to look at
        return False


def command_line(pid: int) -> str:
    """What a process was started as; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
