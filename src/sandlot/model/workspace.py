"""A workspace as the records know it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sandlot.model.base import Origin
from sandlot.model.isolation import IsolationLevel
from sandlot.model.limits import Limits
from sandlot.model.network import Network
from sandlot.model.secret import SecretBinding

__all__ = ["Instance", "Lifetime", "Snapshot", "WorkspaceRecord", "WorkspaceState"]


class WorkspaceState(StrEnum):
    """``running``: its processes exist. ``stopped``: only its files do."""

    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a workspace is stopped and when it is deleted, in seconds; None means never."""

    idle_timeout_s: int | None = 2 * 3600
    retention_s: int | None = 14 * 86400


@dataclass(frozen=True, slots=True)
class Instance:
    """One start of a workspace: the processes that carry it, and the token that tells starts apart."""

    token: str
    agent_pid: int
    agent_start: int
    monitor_pid: int
    monitor_start: int
    boot: str
    enforcement: dict[str, str] = field(default_factory=dict)
    """Limit -> who holds it to that (a word of ``Enforcement``), as the start found out."""
    cgroups: tuple[str, ...] = ()
    """Folders of its control groups, removed with it."""
    gateway_pid: int = 0
    """The process on the host that serves its network; 0: it has none."""
    gateway_start: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A named saved state: the layers to stand on."""

    name: str
    layers: tuple[str, ...]
    created_at: str


@dataclass(frozen=True, slots=True)
class WorkspaceRecord:
    """The durable facts about one workspace."""

    id: str
    name: str | None
    labels: dict[str, str]
    origin: Origin
    baseline: tuple[str, ...]
    """Layers of the state right after create (or the last sync): what ``diff`` and ``reset`` go back to."""
    layers: tuple[str, ...]
    """Layers below the current upper."""
    generation: int
    storage: str
    """``overlay`` or ``copy``."""
    runtime: str
    isolation: IsolationLevel
    lifetime: Lifetime
    created_at: str
    active_at: str
    """Last time an operation read or changed its content."""
    stopped_at: str | None = None
    stopped_uptime: tuple[str, float] | None = None
    """(boot id, seconds since boot) at the stop: time that no clock change can move."""
    reset_at: str | None = None
    reset_from: int = 0
    """Number of the last command before the last reset: the summary starts after it."""
    instance: Instance | None = None
    retired: Instance | None = None
    """An instance that a reset has replaced and that may still have to be ended."""
    owner: tuple[int, int, str] | None = None
    """Identity of the process a one-shot workspace belongs to; it is deleted when that process is gone."""
    toolchains: tuple[str, ...] = ()
    forked_from: str | None = None
    """Id of the workspace it was forked from."""
    snapshots: tuple[Snapshot, ...] = field(default=())
    secrets: tuple[SecretBinding, ...] = ()
    """Names, hosts and placeholders; the values are in the vault alone."""
    limits: Limits = Limits()
    network: Network = Network()
    environment: str = "host"
    """What is inside besides the project: ``host``, or name and digest, such as ``debian:12@<digest>``."""
    building: bool = False
    """Made to run a setup: its environment's root can be changed."""

    @property
    def all_layers(self) -> frozenset[str]:
        """Every layer that this workspace or one of its snapshots stands on."""
        return frozenset((*self.layers, *self.baseline, *(layer for each in self.snapshots for layer in each.layers)))

    @property
    def label(self) -> str:
        """The name if it has one, else the id: what messages call it."""
        return self.name or self.id
