"""The records of all workspaces, their commands and events.

The database is the truth; ``record.json`` in a workspace's folder mirrors its row, so that a lost database can be
rebuilt. Who changes a record holds the workspace's lock, except for activity and history, which only ever add.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum

from sandlot.errors import CommandNotFound, LimitReached, NameTaken, StateUnwritable, WorkspaceNotFound
from sandlot.model.command import CommandKind, CommandOutcome, CommandRecord
from sandlot.model.workspace import WorkspaceRecord
from sandlot.paths import Paths
from sandlot.workspaces import records
from sandlot.workspaces.database import Database

__all__ = ["Phase", "Store", "now"]


class Phase(StrEnum):
    """Whether a record stands for a workspace, or for one on its way in or out (the reaper finishes those)."""

    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"


def now() -> str:
    """The time as records hold it: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """Reads and writes records."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.database = Database(paths.database)

    def add(self, record: WorkspaceRecord, limit: int) -> None:
        """Insert a workspace that is being created. Raises NameTaken, and LimitReached when ``limit`` exist already."""
        try:
            with self.database.write() as connection:
                if connection.execute("SELECT COUNT(*) FROM workspaces").fetchone()[0] >= limit:
                    raise LimitReached(
                        f"{limit} workspaces exist already",
                        hint="sandlot workspace delete ID, or raise SANDLOT_MAX_WORKSPACES",
                    )
                connection.execute(
                    "INSERT INTO workspaces VALUES (?, ?, ?, ?, ?, ?)",
                    (record.id, record.name, Phase.CREATING, record.active_at, record.created_at, records.dump(record)),
                )
        except sqlite3.IntegrityError as error:
            raise self._taken(record) from error

    def _taken(self, record: WorkspaceRecord) -> NameTaken:
        return NameTaken(f"a workspace named {record.name!r} exists already", hint="choose another name, or delete it")

    def save(self, record: WorkspaceRecord, phase: Phase = Phase.READY) -> None:
        """Replace a workspace's record, its time of activity excepted. Raises NameTaken."""
        try:
            with self.database.write() as connection:
                changed = connection.execute(
                    "UPDATE workspaces SET name = ?, phase = ?, record = ? WHERE id = ?",
                    (record.name, phase, records.dump(record), record.id),
                )
                if changed.rowcount == 0:
                    raise WorkspaceNotFound(f"workspace {record.id} was deleted")
        except sqlite3.IntegrityError as error:
            raise self._taken(record) from error
        self.mirror(record)

    def mirror(self, record: WorkspaceRecord) -> None:
        """Write the record into the workspace's folder. The caller holds its lock. Raises StateUnwritable."""
        own = self._paths.workspace(record.id)
        target, temporary = own.record, own.record_draft
        try:
            temporary.write_text(records.dump(record))
            os.replace(temporary, target)
        except FileNotFoundError:
            return  # the folder is on its way to the trash
        except OSError as error:
            raise StateUnwritable(f"cannot write {target}: {error.strerror}") from error

    def restore(self, record: WorkspaceRecord, history: Iterable[CommandRecord] = ()) -> None:
        """Insert a record found in a workspace's folder into a database that was lost.

        It loses its name when another one has it by now.
        """
        with self.database.write() as connection:
            if connection.execute("SELECT 1 FROM workspaces WHERE name = ?", (record.name,)).fetchone():
                record = replace(record, name=None)
            connection.execute(
                "INSERT INTO workspaces VALUES (?, ?, ?, ?, ?, ?)",
                (record.id, record.name, Phase.READY, record.active_at, record.created_at, records.dump(record)),
            )
            connection.executemany(
                "INSERT INTO commands VALUES (?, ?, ?, ?)",
                [(record.id, each.number, each.outcome is not None, records.dump(each)) for each in history],
            )

    def remove(self, workspace_id: str) -> None:
        """Forget a workspace, its commands and events."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM workspaces WHERE id = ?", (workspace_id,))

    def find(self, key: str) -> WorkspaceRecord:
        """The workspace with this id or name. Raises WorkspaceNotFound."""
        if not key.isascii():  # names and ids are; and sqlite takes no bytes that are not UTF-8
            raise WorkspaceNotFound(f"no workspace has the id or name {key!r}")
        rows = self.database.read(
            "SELECT record, active_at FROM workspaces WHERE (id = ? OR name = ?) AND phase = ?", (key, key, Phase.READY)
        )
        if not rows:
            raise WorkspaceNotFound(f"no workspace has the id or name {key!r}")
        return self._load(rows[0])

    def secretive(self, key: str) -> bool:
        """Whether the workspace with this id or name, if there is one, has secrets: asked by every operation."""
        if not key.isascii():
            return False
        rows = self.database.read(
            # Records are compact JSON, where quotes inside of texts are escaped: this is the field and nothing else.
            "SELECT 1 FROM workspaces WHERE (id = ? OR name = ?) AND instr(record, '\"secrets\":[{')",
            (key, key),
        )
        return bool(rows)

    def all(self) -> list[WorkspaceRecord]:
        """Every workspace, most recently active first."""
        rows = self.database.read(
            "SELECT record, active_at FROM workspaces WHERE phase = ? ORDER BY active_at DESC, created_at DESC, id",
            (Phase.READY,),
        )
        return [self._load(row) for row in rows]

    def unfinished(self) -> list[tuple[WorkspaceRecord, Phase]]:
        """Workspaces whose creation or deletion has not ended (or was cut off)."""
        rows = self.database.read("SELECT record, active_at, phase FROM workspaces WHERE phase <> ?", (Phase.READY,))
        return [(self._load(row), Phase(str(row[2]))) for row in rows]

    def everything(self) -> list[WorkspaceRecord]:
        """Every record, unfinished ones included: whatever may refer to a layer."""
        return [self._load(row) for row in self.database.read("SELECT record, active_at FROM workspaces")]

    def count(self) -> int:
        """How many workspaces exist."""
        return int(str(self.database.read("SELECT COUNT(*) FROM workspaces")[0][0]))

    @staticmethod
    def _load(row: tuple[object, ...]) -> WorkspaceRecord:
        return replace(records.load_workspace(str(row[0])), active_at=str(row[1]))

    def touch(self, workspace_id: str) -> None:
        """Note activity."""
        with self.database.write() as connection:
            connection.execute("UPDATE workspaces SET active_at = ? WHERE id = ?", (now(), workspace_id))

    def add_command(self, workspace_id: str, make: Callable[[int], CommandRecord]) -> CommandRecord:
        """Append to the history, as the next number, and note activity.

        ``make`` builds the record, and whatever must exist before anybody can see the record.
        """
        with self.database.write() as connection:
            row = connection.execute(
                "SELECT COALESCE(MAX(number), 0) + 1 FROM commands WHERE workspace = ?", (workspace_id,)
            ).fetchone()
            record = make(int(row[0]))
            try:
                connection.execute(
                    "INSERT INTO commands VALUES (?, ?, 0, ?)", (workspace_id, record.number, records.dump(record))
                )
            except sqlite3.IntegrityError as error:
                raise WorkspaceNotFound(f"workspace {workspace_id} was deleted") from error
            connection.execute("UPDATE workspaces SET active_at = ? WHERE id = ?", (record.started_at, workspace_id))
        return record

    def finish_command(self, workspace_id: str, record: CommandRecord, outcome: CommandOutcome) -> CommandRecord:
        """Note how a command ended; the first one to say so wins. Raises WorkspaceNotFound when it was deleted."""
        finished = replace(record, outcome=outcome)
        with self.database.write() as connection:
            changed = connection.execute(
                "UPDATE commands SET finished = 1, record = ? WHERE workspace = ? AND number = ? AND finished = 0",
                (records.dump(finished), workspace_id, record.number),
            )
            known = connection.execute("UPDATE workspaces SET active_at = ? WHERE id = ?", (now(), workspace_id))
            if known.rowcount == 0:
                raise WorkspaceNotFound(f"workspace {workspace_id} was deleted")
        return finished if changed.rowcount else self.command(workspace_id, record.number)

    def command(self, workspace_id: str, number: int) -> CommandRecord:
        """One entry of the history. Raises CommandNotFound."""
        rows = self.database.read(
            "SELECT record FROM commands WHERE workspace = ? AND number = ?", (workspace_id, number)
        )
        if not rows:
            raise CommandNotFound(f"the workspace has no command {number}", hint="sandlot workspace logs ID")
        return records.load_command(str(rows[0][0]))

    def commands(self, workspace_id: str, *, after: int = 0, limit: int = 1 << 62) -> list[CommandRecord]:
        """The history in order, from behind number ``after``."""
        rows = self.database.read(
            "SELECT record FROM commands WHERE workspace = ? AND number > ? ORDER BY number LIMIT ?",
            (workspace_id, after, limit),
        )
        return [records.load_command(str(row[0])) for row in rows]

    def unfinished_commands(self, workspace_id: str) -> list[CommandRecord]:
        """Commands nobody has reported the end of."""
        rows = self.database.read(
            "SELECT record FROM commands WHERE workspace = ? AND finished = 0 ORDER BY number", (workspace_id,)
        )
        return [records.load_command(str(row[0])) for row in rows]

    def commands_of_kind(self, workspace_id: str, kind: CommandKind) -> list[CommandRecord]:
        """The services, or the shells, that the history holds, in order."""
        rows = self.database.read(
            "SELECT record FROM commands WHERE workspace = ? AND json_extract(record, '$.kind') = ? ORDER BY number",
            (workspace_id, kind.value),
        )
        return [records.load_command(str(row[0])) for row in rows]

    def last_command(self, workspace_id: str) -> int:
        """The highest number so far, 0 without any."""
        rows = self.database.read("SELECT COALESCE(MAX(number), 0) FROM commands WHERE workspace = ?", (workspace_id,))
        return int(str(rows[0][0]))

    def add_event(self, workspace_id: str, kind: str, detail: str) -> None:
        """Note something the summary tells: an export, a sync, an apply."""
        with self.database.write() as connection:
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (workspace_id, now(), kind, detail))

    def events(self, workspace_id: str, since: str = "") -> list[tuple[str, str, str]]:
        """(time, kind, detail) in order, from time ``since`` on."""
        rows = self.database.read(
            "SELECT at, kind, detail FROM events WHERE workspace = ? AND at >= ? ORDER BY rowid", (workspace_id, since)
        )
        return [(str(at), str(kind), str(detail)) for at, kind, detail in rows]

    def layers_in_use(self) -> set[str]:
        """Every layer some workspace or snapshot stands on."""
        return {layer for record in self.everything() for layer in record.all_layers}
