"""The state database: one SQLite file in WAL mode, opened once per thread.

Every transaction is short and begins by taking the write lock, so processes queue instead of failing. A killed process
leaves whole transactions only. ``synchronous=NORMAL``: a power cut may lose the last moments, never consistency.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from sandlot.errors import StateCorrupt, StateError, StateTooNew, StateUnwritable

__all__ = ["Database"]

BUSY_S = 60.0

MIGRATIONS = (
    """
    CREATE TABLE workspaces (
        id TEXT PRIMARY KEY,
        name TEXT UNIQUE,
        phase TEXT NOT NULL,
        active_at TEXT NOT NULL,
        created_at TEXT NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE commands (
        workspace TEXT NOT NULL REFERENCES workspaces(id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        finished INTEGER NOT NULL DEFAULT 0,
        record TEXT NOT NULL,
        PRIMARY KEY (workspace, number)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        workspace TEXT NOT NULL REFERENCES workspaces(id) ON DELETE CASCADE,
        at TEXT NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE INDEX events_by_workspace ON events(workspace);
    """,
)
"""Append-only: migration n brings the schema from version n to n + 1."""


class Database:
    """Connections to the state database, one per thread and process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._all: list[tuple[threading.Thread, int, sqlite3.Connection]] = []
        self._guard = threading.Lock()

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._guard:
            for _, _, connection in self._all:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
            self._all.clear()
            self._local = threading.local()

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, opened and migrated at first use."""
        found = getattr(self._local, "connection", None)
        if found is None or self._local.pid != os.getpid():
            found = self._open()
            self._local.connection = found
            self._local.pid = os.getpid()  # a connection must not be used across fork
            with self._guard:
                self._close_abandoned()
                self._all.append((threading.current_thread(), os.getpid(), found))
        return found

    def _close_abandoned(self) -> None:
        """Close the connections of threads that have ended, so that a caller with many short threads keeps few open."""
        for entry in list(self._all):
            thread, pid, connection = entry
            if pid == os.getpid() and not thread.is_alive():
                self._all.remove(entry)
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    def _open(self) -> sqlite3.Connection:
        with self._translated():
            connection = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            try:
                connection.execute("PRAGMA foreign_keys = ON")
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version != len(MIGRATIONS):
                    self._migrate(connection)
                connection.execute("PRAGMA synchronous = NORMAL")
            except BaseException:
                connection.close()
                raise
            return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        _write_ahead(connection)
        connection.execute("BEGIN IMMEDIATE")  # two first starts at once: the second finds the work done
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise StateTooNew(f"{self.path} has schema {version}; this sandlot knows up to {len(MIGRATIONS)}")
            for script in MIGRATIONS[version:]:
                for statement in script.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """sqlite3's errors become ours."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            text = str(error)
            if "malformed" in text:
                raise StateCorrupt(f"{self.path} is damaged: {text}") from error
            if "full" in text or "readonly" in text or "unable to open" in text or "disk I/O" in text:
                raise StateUnwritable(f"cannot write {self.path}: {text}") from error
            raise StateError(f"{self.path}: {text}") from error
        except sqlite3.ProgrammingError as error:
            raise StateError(f"{self.path} was closed while it was used", hint="") from error
        except sqlite3.DatabaseError as error:
            raise StateCorrupt(f"{self.path} is damaged: {error}") from error

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start."""
        with self._translated():
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # sqlite has ended it by itself when the disk is full
                    connection.execute("ROLLBACK")
                raise

    def check(self) -> None:
        """Read everything. Raises StateCorrupt when something is damaged, StateTooNew."""
        with self._translated():
            found = self.connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found is None or found[0] != "ok":
                raise StateCorrupt(f"{self.path} is damaged: {found and found[0]}")

    def read(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """The rows of one query."""
        with self._translated():
            return self.connection.execute(statement, values).fetchall()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite does not wait for others when it changes the mode, so we do."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.002)
        else:
            return
