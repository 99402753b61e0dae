"""The contract between workspaces and whatever isolates them.

A runtime starts a workspace's agent behind its wall, hands out a channel to it, and ends it. It knows nothing of
names, history or snapshots. ``conformance.py`` is the suite that every implementation must pass.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sandlot.errors import IsolationUnavailable
from sandlot.model.isolation import IsolationLevel
from sandlot.model.limits import Limits
from sandlot.model.workspace import Instance

if TYPE_CHECKING:
    from sandlot.bases.progress import Report

__all__ = [
    "DISK_BYTES",
    "AreaMount",
    "Bounds",
    "Fetch",
    "Finding",
    "LaunchRequest",
    "ProbeReport",
    "Runtime",
    "StorageKind",
]

HOME = "/home/agent"
PROJECT = "/workspace"
TRUST = "/etc/sandlot"
"""Where a workspace is shown the certificates made for it."""
AREA_TARGETS = {"workspace": PROJECT, "home": HOME}
DISK_BYTES = 64 << 30
"""Length of every data disk of a guest: the same for all, since a template remembers it. What it may hold is the size
of the file system in it."""


@dataclass(frozen=True, slots=True)
class AreaMount:
    """One writable tree of a workspace: an overlay of ``lowers`` (lowest first) and ``upper``, or a plain folder."""

    target: str
    upper: Path
    """Storage GUEST: where a fetched copy goes; the runtime does not need it."""
    work: Path | None = None
    lowers: tuple[Path, ...] = ()

    @property
    def overlay(self) -> bool:
        return self.work is not None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that a guest may make the host take in at once."""

    bytes: int
    """Of content and attributes; holes are free."""
    entries: int


Fetch = Callable[[str, Path, Bounds], object]
"""``Runtime.fetch`` of one instance: of the area at a target, into a new folder, within bounds."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """Everything a runtime needs to start one workspace."""

    workspace_id: str
    areas: tuple[AreaMount, ...]
    socket: Path
    log: Path
    hostname: str = "sandlot"
    limits: Limits = Limits()
    """What it may use; the instance's ``enforcement`` says who holds it to that."""
    idle_timeout_s: int | None = None
    toolchains: tuple[Path, ...] = ()
    """Host folders (a Python or Node prefix, say) shown read-only at the same path."""
    trust: Path | None = None
    """Folder of certificates, shown read-only at TRUST."""
    root: Path | None = None
    """The root file system of an environment (curated, see bases/environments), shown read-only; None: what the host
    has."""
    environment: str = ""
    """Digest of that environment, for what a runtime keeps for it; empty for the host's."""
    building: AreaMount | None = None
    """A setup is to change the root: where its changes go. What is inside then thinks that it is root; nothing of the
    kind may be started twice on the same upper."""
    disk: Path | None = None
    """Storage GUEST: the image (raw, sparse, DISK_BYTES long, an ext4 in it) that holds its private changes. The
    runtime makes it when it is not there."""
    cold_bytes: int = 0
    """Storage GUEST: what the lowers that are not ``warm`` take on that disk."""
    warm: tuple[Path, ...] = ()
    """Storage GUEST: those of the areas' lowers, lowest first, that never change, are shared and so large that a
    template should hold them, instead of sending them at each start."""
    progress: Report | None = None
    """Told, once, of each step that takes more than a moment: what it is, 0, 0."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of doctor: what was tried, whether it works, why not, and the one line that fixes it."""

    check: str
    """Stable id, such as ``bubblewrap.userns``."""
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True


class StorageKind:
    """How a workspace's private changes are kept."""

    OVERLAY = "overlay"
    COPY = "copy"
    GUEST = "guest"
    """On a disk of the guest's own that the host does not look into; the host gets copies (``Runtime.fetch``)."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What really running something showed."""

    available: bool
    isolation: IsolationLevel
    storage: str
    findings: tuple[Finding, ...]
    version: str = ""
    enforcement: dict[str, str] = field(default_factory=dict)
    """Limit -> word of ``Enforcement``, as limiting a process showed."""
    known_gaps: tuple[str, ...] = field(default=())
    """Security cases of spec/security.md this runtime cannot stop, each with the reason."""

    @property
    def problem(self) -> Finding | None:
        """The first required check that failed."""
        return next((finding for finding in self.findings if finding.required and not finding.ok), None)

    def refusal(self, name: str) -> IsolationUnavailable:
        """The error for whoever wants the runtime ``name`` all the same, after a probe that found it not available."""
        problem = self.problem
        return IsolationUnavailable(
            problem.detail if problem else f"runtime {name} does not work here",
            hint=(problem.fix if problem else "") or "sandlot doctor",
        )


class Runtime(Protocol):
    """One way to isolate a workspace."""

    @property
    def name(self) -> str:
        """The word for ``--runtime``."""

    def probe(self, *, fresh: bool = False) -> ProbeReport:
        """What this machine allows, found out by running something; cached unless ``fresh``."""

    def launch(self, request: LaunchRequest) -> Instance:
        """Start a workspace's agent and return when it answers.

        Until ``release`` the instance is on a leash: it ends by itself when the calling process does, however that
        dies. The caller records the instance durably first and releases it then, so no start can leak.

        Raises IsolationUnavailable when the machine cannot isolate, StartFailed when it could not be started. Nothing
        is left running after an error.
        """

    def release(self, instance: Instance, socket: Path) -> None:
        """Let an instance outlive the calling process."""

    def alive(self, instance: Instance) -> bool:
        """Whether this very instance still runs (not merely its pid)."""

    def kill(self, instance: Instance) -> None:
        """End every process of the instance and return when they are gone. Ending an ended one is not an error.

        Raises WorkspaceFailure when a process survives the deadline.
        """

    def fetch(self, instance: Instance, socket: Path, target: str, folder: Path, bounds: Bounds) -> None:
        """Storage GUEST: copy the private changes of the area at ``target`` into the new folder ``folder``.

        They come in the form of an overlay's upper that the host can mount or view, and the guest is not trusted in
        making them: ``bounds`` holds. Runtimes with other storage are never asked. Raises WorkspaceFailure,
        StateUnwritable, FileRefused; ``folder`` is not there then.
        """

    def parting(self, instance: Instance, socket: Path) -> AbstractContextManager[Fetch | None]:
        """Storage GUEST: in the block what it has changed can be fetched, also when its agent has ended meanwhile.

        None where that cannot be, or is not needed. The caller kills the instance afterwards.
        """

    def show_trust(self, instance: Instance, socket: Path, folder: Path) -> None:
        """Storage GUEST: show inside, at TRUST, what the folder of certificates holds by now.

        Runtimes with other storage show the folder itself, and are never asked. Raises WorkspaceFailure.
        """

    def strays(self, known: frozenset[str], *, remove: bool = False) -> int:
        """How many things outside the state folder killed starts have left; with ``remove`` they are removed.

        ``known``: the tokens of all recorded instances.
        """
