"""A workspace as answers show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandlot.model.base import Origin
from sandlot.model.isolation import IsolationLevel
from sandlot.model.workspace import WorkspaceRecord, WorkspaceState
from sandlot.operations.limited import LimitInfo, describe_limits
from sandlot.operations.networking import NetworkInfo, network_info, network_warnings
from sandlot.operations.secreted import SecretInfo, describe_secrets, secret_warnings
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import state_of
from sandlot.workspaces.limits import warnings_of
from sandlot.workspaces.reaper import deadline, note_stopped

__all__ = ["Deadline", "WorkspaceInfo", "describe"]

SOON = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Deadline:
    """What happens to a workspace next if nobody uses it, and when (UTC)."""

    action: str
    """``stop`` or ``delete``."""
    at: str


@dataclass(frozen=True, slots=True)
class WorkspaceInfo:
    """The facts about a workspace that create, list, status and the like answer with."""

    id: str
    name: str | None
    labels: dict[str, str]
    state: WorkspaceState
    runtime: str
    isolation: IsolationLevel
    storage: str
    origin: Origin
    created_at: str
    active_at: str
    deadline: Deadline | None
    idle_timeout_s: int | None
    retention_s: int | None
    snapshots: tuple[str, ...]
    toolchains: tuple[str, ...]
    forked_from: str | None
    warnings: tuple[str, ...] = ()
    network: NetworkInfo = NetworkInfo()
    secrets: tuple[SecretInfo, ...] = ()
    limits: tuple[LimitInfo, ...] = ()
    environment: str = "host"
    """What is inside besides the project: ``host``, or name and digest."""


def describe(context: Context, record: WorkspaceRecord) -> WorkspaceInfo:
    """The public facts of a record, with its true state."""
    record = note_stopped(context, record)
    state = state_of(context, record)
    due = deadline(record)
    warnings = []
    if due is not None and due[0] == "delete" and datetime.fromisoformat(due[1]) - datetime.now(UTC) < SOON:
        warnings.append(f"will be deleted at {due[1]} unless it is used")
    if record.storage == "copy":
        warnings.append("this machine has no usable overlay: create, reset and fork copy the whole tree")
    warnings += warnings_of(record)
    warnings += network_warnings(context, record)
    warnings += secret_warnings(record)
    return WorkspaceInfo(
        id=record.id,
        name=record.name,
        labels=record.labels,
        state=state,
        runtime=record.runtime,
        isolation=record.isolation,
        storage=record.storage,
        origin=record.origin,
        created_at=record.created_at,
        active_at=record.active_at,
        deadline=Deadline(*due) if due else None,
        idle_timeout_s=record.lifetime.idle_timeout_s,
        retention_s=record.lifetime.retention_s,
        snapshots=tuple(each.name for each in record.snapshots),
        toolchains=record.toolchains,
        forked_from=record.forked_from,
        warnings=tuple(warnings),
        network=network_info(context, record),
        secrets=describe_secrets(record),
        limits=describe_limits(record),
        environment=record.environment,
    )
