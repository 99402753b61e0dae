"""The one backup of each file that we changed: what it was before our last change, and what we made of it.

It lies in sandlot's own state folder, readable by the user alone: these files hold keys of other servers, and a copy
beside a project's file would be committed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from sandlot.errors import StateUnwritable
from sandlot.paths import Paths

__all__ = ["Made", "Record", "Records"]


class Made(StrEnum):
    """What we had to make around our entry; gone again, if empty, when the entry goes."""

    NOTHING = ""
    CONTAINER = "container"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Record:
    """One file: the text before (None: there was none) and after our last change."""

    path: str
    made: Made
    before: str | None
    after: str | None
    host: str


class Records:
    """All of them."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._first: dict[str, str | None] | None = None

    @contextlib.contextmanager
    def one_change(self) -> Iterator[None]:
        """What is saved in here is one change: the text before is that before all of it."""
        self._first = {}
        try:
            yield
        finally:
            self._first = None

    def folder(self, path: Path) -> Path:
        """Where the backup of a file is."""
        return self._paths.hosts / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]

    def find(self, path: Path) -> Record | None:
        """What is known of a file; None also where that is damaged."""
        folder = self.folder(path)
        try:
            about = json.loads((folder / "record.json").read_text())
            texts = {
                name: (folder / name).read_bytes().decode() if about[name] else None for name in ("before", "after")
            }
            return Record(about["path"], Made(about["made"]), texts["before"], texts["after"], about["host"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, record: Record) -> Path | None:
        """Keep it in the place of an earlier one; where the text before is, if any. Raises StateUnwritable."""
        if self._first is not None:
            record = replace(record, before=self._first.setdefault(record.path, record.before))
        folder = self.folder(Path(record.path))
        draft = folder.with_name(f"{folder.name}.{os.urandom(4).hex()}")
        try:
            self._paths.ensure()
            self._paths.hosts.mkdir(mode=0o700, exist_ok=True)
            draft.mkdir(mode=0o700)
            about = asdict(record)
            for name in ("before", "after"):
                text = about[name]
                about[name] = text is not None
                if text is not None:
                    _private(draft / name, text)
            _private(draft / "record.json", json.dumps(about))
            self.forget(Path(record.path))
            draft.rename(folder)
        except OSError as error:
            raise StateUnwritable(f"cannot keep a backup in {folder}: {error.strerror}") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return folder / "before" if record.before is not None else None

    def forget(self, path: Path) -> None:
        """Drop it."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder(path))


def _private(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(text.encode())
