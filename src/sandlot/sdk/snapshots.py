"""The saved states of a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandlot.operations import snapshot_create, snapshot_list
    from sandlot.sdk.workspace import Workspace

__all__ = ["Snapshots"]


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The saved states of one workspace."""

    _workspace: Workspace

    def create(self, name: str) -> snapshot_create.Result:
        """Save the present files and home. Raises NameTaken, WorkspaceBusy."""
        result: snapshot_create.Result = self._workspace.call("snapshot_create", name=name)
        return result

    def list(self) -> list[snapshot_list.SnapshotInfo]:
        """Oldest first; the baseline is always there and not listed."""
        return list(self._workspace.call("snapshot_list").snapshots)

    def delete(self, name: str) -> None:
        """Forget one. Raises SnapshotNotFound."""
        self._workspace.call("snapshot_delete", name=name)
