"""What chats have put on the host: remembered, because what lies there is not the user's word.

A suite of the user's may take tests from whatever lies beside it (``tests: cases/*.yaml``). An export can make such a
file, and no look at a file alone tells whether a suite will ever name it; so ``eval_run`` asks here. One file in the
state folder, ``exports.json``, maps each path to the device and inode that the export has made there: whatever the user
has put in its place since is the user's again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

from sandlot.errors import StateCorrupt, StateUnwritable

__all__ = ["comes_from_chat", "remembered"]

Known = dict[str, list[int] | None]
"""None: the export is not through yet, so anything at that path counts."""
_FILE = "exports.json"


@contextlib.contextmanager
def remembered(state: str, path: str) -> Iterator[None]:
    """The block exports to ``path``, with the lock of exports held: known before anything is there, killed or not."""
    _write(state, {**_read(state), path: None})
    try:
        yield
    finally:
        known = {**_read(state), path: _identity(path)}
        _write(state, {each: what for each, what in known.items() if what is not None and _identity(each) == what})


def comes_from_chat(state: str, path: str) -> bool:
    """Whether a real path is, or lies in, what a chat has exported. Raises StateCorrupt."""
    return any(
        (path == each or path.startswith(each + os.sep)) and (what is None or _identity(each) == what)
        for each, what in _read(state).items()
    )


def _identity(path: str) -> list[int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def _read(state: str) -> Known:
    try:
        with open(os.path.join(state, _FILE), "rb") as file:
            found = json.load(file)
        if isinstance(found, dict):
            return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        pass
    # To go on without it would be to trust everything.
    raise StateCorrupt(f"{_FILE} in the state folder cannot be read", hint="the user deletes it")


def _write(state: str, known: Known) -> None:
    path = os.path.join(state, _FILE)
    draft = f"{path}.{os.getpid()}"
    try:
        with open(draft, "w", encoding="ascii") as file:
            json.dump(known, file)
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise StateUnwritable(f"cannot write {path}: {error.strerror}") from error
