"""Looking for values of secrets in files that are about to leave a workspace.

Only a command that was given a value by ``--reveal`` can have written it. What leaves as files is not blanked out: a
file that is silently another one is worse than a refusal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from sandlot.bases.view import Entry, View
from sandlot.errors import SecretExposed
from sandlot.workspaces.redaction import Redactor

__all__ = ["refuse_exposed"]

LISTED = 20


def refuse_exposed(redactor: Redactor, stack: Sequence[Path], paths: Iterable[bytes], what: str) -> None:
    """Raise SecretExposed if a file at or below one of these paths holds a value, in itself, its name or its target."""
    found: list[str] = []
    with View(stack) as view:
        for path in paths:
            entry = view.lookup(path) if path else None
            if path and entry is None:
                continue
            below = view.walk(path) if entry is None or entry.is_folder else ()
            for each in chain((entry,) if entry else (), below):
                if _holds(redactor, view, each):
                    found.append(os.fsdecode(redactor.mask(each.path)))
                    if len(found) > LISTED:
                        break
    if found:
        more = ("...",) if len(found) > LISTED else ()
        raise SecretExposed(f"{what} holds the value of a secret", details=(*found[:LISTED], *more))


def _holds(redactor: Redactor, view: View, entry: Entry) -> bool:
    if redactor.found_in(entry.path.rpartition(b"/")[2]):
        return True
    with suppress(FileNotFoundError):  # deleted inside while we look
        if entry.is_symlink:
            return redactor.found_in(view.readlink(entry))
        if entry.is_file:
            with open(view.open(entry), "rb", buffering=0) as file:
                return redactor.holds(file.read)
    return False
