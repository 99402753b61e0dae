"""What an export may not put into the project: things that run by themselves as soon as somebody looks.

A tree from inside may hold a repository with hooks, or settings of an editor, a shell or an agent that name programs.
Below a folder of the user's project these would be found by the user's own tools. An archive does nothing until the
user unpacks it, so it may hold anything.

Suites of evals, and the targets that they are given to, are such things too: they name keys, folders and hosts, and are
found by lying there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandlot.bases.trees import remove_tree
from sandlot.errors import UnsafePath
from sandlot.mcpserver.exported import remembered

if TYPE_CHECKING:
    from sandlot.sdk import Sandlot

__all__ = ["LIVELY", "exported_safely"]

LIVELY = frozenset({
    ".agentv", ".claude", ".codex", ".cursor", ".devcontainer", ".envrc", ".gemini", ".git", ".idea", ".mcp.json",
    ".opencode", ".sandlot", ".vscode", ".windsurf", ".zed", "targets.yaml",
})  # fmt: skip
"""Names that tools act upon by themselves, in any folder they come across."""
_ARCHIVES = (".tar", ".tar.gz", ".tgz")


@contextlib.contextmanager
def exported_safely(fields: dict[str, Any], sandlot: Sandlot, state: str) -> Iterator[None]:
    """Refuse an export that holds one of them: before anything is replaced, and once more when it is there.

    The second look is the one that counts (what runs inside can change the tree after the first); its find is removed.
    ``state``: the state folder, where it is remembered what chats have exported. Raises UnsafePath, StateUnwritable.
    """
    destination = fields["destination"]
    if destination.endswith(_ARCHIVES):
        yield
        return
    if fields.get("overwrite"):  # later there is no way back to what was there
        for name in sorted(LIVELY):
            found = sandlot.call(
                "file_list", workspace=fields["workspace"], path=fields["path"], recursive=True, hidden=True,
                glob=f"**/{name}", limit=1,
            )  # fmt: skip
            if found.entries:
                raise _refused(name)
    with remembered(state, destination):
        yield
        planted = _lively_in(destination)
        if planted is not None:
            remove_tree(Path(destination))
            raise _refused(planted)


def _lively_in(path: str) -> str | None:
    if os.path.isfile(path):
        return _lively(os.path.dirname(path), os.path.basename(path))
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            if found := _lively(folder, name):
                return found
    return None


def _lively(folder: str, name: str) -> str | None:
    from sandlot.evals.discovery import is_suite

    path = Path(folder, name)
    if name.casefold() in LIVELY or (path.is_file() and is_suite(path)):
        return name
    return None


def _refused(name: str) -> UnsafePath:
    return UnsafePath(
        f"what is to be exported holds {name.casefold()}, which tools of the user act upon",
        hint="export a folder without it, or to a destination that ends in .tar.gz",
    )
