"""Proof, not hope: that a trial is gone, and that what the next one starts from was not touched.

A trial is a fork: its changes lie in an upper of its own, and the layers below belong to the host and are never
written. So two looks suffice, both at the host's own folders: the fork has no folder and no record any more, and the
uppers of the prepared workspace are empty. ``seal`` is the slow proof, made inside: every name, mode, time and content.
"""

from __future__ import annotations

import contextlib
import os

from sandlot.errors import StateCorrupt, WorkspaceFailure, WorkspaceNotFound
from sandlot.sdk import Sandlot, Workspace

__all__ = ["check_gone", "is_untouched", "seal", "size_of"]

_SEAL = r"""
cd / && find workspace home/agent -mindepth 1 -printf '%p\0%y %m %s %T@ %l\0' | LC_ALL=C sort -z | sha256sum
find workspace home/agent -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum | sha256sum
"""


def check_gone(sandlot: Sandlot, workspace_id: str) -> None:
    """Raise WorkspaceFailure when anything of a deleted workspace is still there: record or folder.

    ``delete`` itself raises when a process of it cannot be ended.
    """
    with contextlib.suppress(WorkspaceNotFound):
        sandlot.get(workspace_id)
        raise WorkspaceFailure(f"workspace {workspace_id} of a trial is still there", hint="sandlot repair")
    if os.path.lexists(sandlot.paths.workspace(workspace_id).root):
        raise WorkspaceFailure(f"files of the trial in {workspace_id} are still there", hint="sandlot repair")


def is_untouched(sandlot: Sandlot, workspace: Workspace) -> bool:
    """Whether nothing ever changed the files or home of a prepared workspace since it was made.

    With storage by copies there are no uppers to look into; there a command in its history, or a process, speaks.
    """
    status = workspace.status()
    if status.commands or status.running or status.services:
        return False
    own = sandlot.paths.workspace(workspace.id)
    generations = [entry for entry in own.root.iterdir() if own.is_generation(entry)]
    uppers = [folder / area / "upper" for folder in generations for area in ("workspace", "home")]
    return all(not upper.is_dir() or not os.listdir(upper) for upper in uppers)


def size_of(workspace: Workspace) -> int:
    """Bytes of all files in a workspace and its home, ``.git`` included; 0 when that cannot be said."""
    said = workspace.exec("du -scb /workspace /home/agent 2>/dev/null | tail -n 1", timeout=600).stdout.text.split()
    return int(said[0]) if said and said[0].isdigit() else 0


def seal(workspace: Workspace) -> str:
    """Hash over all that a workspace shows: names, types, modes, sizes, times, links, contents, ``.git`` included.

    Costs as much as the tree is large. Raises StateCorrupt when it cannot be made.
    """
    done = workspace.exec(_SEAL, timeout=600)
    if done.command.outcome is None or done.command.outcome.exit_code != 0:
        raise StateCorrupt(f"the workspace could not be read: {done.stderr.text[:300]}")
    return done.stdout.text
