"""Where one trial runs, what it changed, and the second place in which it is graded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandlot.errors import Refused, SandlotError, WorkspaceNotFound
from sandlot.evals.graders.patches import without
from sandlot.sdk import Workspace

if TYPE_CHECKING:
    from sandlot.model.changes import FileChange

__all__ = ["START", "Changes", "TrialPlace", "discard"]

MOST_PATCH_BYTES = 128 << 20
"""It is held in memory, by each trial that is graded: a target must not choose how much of that there is."""
START = "sandlot-trial-start"
"""The snapshot a target starts from when ``before_each`` has changed something."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a target did to the files."""

    patch: bytes
    """What ``git apply`` takes; all of it."""
    files: tuple[FileChange, ...]
    ignored: int = 0
    """New files left out because git ignores them, where the workspace itself is a repository."""

    @property
    def omitted(self) -> tuple[str, ...]:
        """Changed files that fit into no patch, each with the reason."""
        return tuple(f"{each.path}: {each.omitted}" for each in self.files if each.omitted)


@dataclass(slots=True)
class TrialPlace:
    """A trial's own workspace, from the moment ``before_each`` has run until it is deleted."""

    workspace: Workspace
    _baseline: str
    _clean: Callable[[], contextlib.AbstractContextManager[Workspace]]
    warnings: list[str] = field(default_factory=list)
    """What went wrong without spoiling the trial: a failed ``after_each``, changes that could not be brought back."""
    hook_output: dict[str, str] = field(default_factory=dict)
    _changes: Changes | None = None

    def starts_from(self, baseline: str, clean: Callable[[], contextlib.AbstractContextManager[Workspace]]) -> None:
        """Changes are compared with that snapshot, and graded on top of what ``clean`` makes."""
        self._baseline, self._clean = baseline, clean

    def capture(self) -> Changes:
        """End every process of the trial, then compare its files with those the target was given.

        Afterwards nothing that it left can wait for the graders. The second call answers with the same.
        """
        if self._changes is None:
            self.workspace.stop()
            found = self.workspace.diff(to=self._baseline, max_bytes=MOST_PATCH_BYTES)
            if found.handle is not None:
                raise Refused(f"the target's change is larger than {MOST_PATCH_BYTES >> 20} MiB and cannot be graded")
            self._changes = Changes(os.fsencode(found.patch), found.files, found.ignored)
        return self._changes

    @contextmanager
    def grading(self, leave_out: Callable[[str], bool] | None = None) -> Iterator[Workspace]:
        """Another workspace: what the target was given, with its captured change on top and nothing else of it.

        No process, no ``.git``, no home, no /tmp of the target's is there: only files, as a patch has them. Graders put
        theirs in; it is deleted afterwards. ``leave_out``: paths whose changes are not brought along, such as those
        that steer test tools. Raises Refused when the change holds files that no patch can.
        """
        changes = self.capture()
        if changes.omitted:
            raise Refused("the change holds files that do not fit into a patch", details=changes.omitted)
        with self._clean() as workspace:
            patch = changes.patch if leave_out is None or not changes.patch else without(changes.patch, leave_out)
            if patch:
                workspace.patch(patch)
            yield workspace


def discard(workspace: Workspace) -> str:
    """Delete it; what went wrong, if something did."""
    try:
        workspace.delete()
    except WorkspaceNotFound:
        pass
    except SandlotError as error:
        return f"workspace {workspace.id} could not be deleted: {error.message}"
    return ""
