"""Prepared bases: one stopped workspace for each fingerprint, from which trials are forked.

``sandlot workspace list`` shows them like any other, with the label ``sandlot.eval.kind=pool``. One that no run has
used for the retention time goes by itself, as every workspace does.

The commit point is one step of the SDK: a workspace with the pool's label comes into being complete (template, repos,
``before_all``) or not at all. A lock for each fingerprint keeps processes apart: who prepares holds it alone, a run
that uses the base shares it, and ``prune`` takes it only when nobody does. The kernel drops it with its holder;
the empty file stays, since removing one that somebody waits for would give the next two a lock each.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandlot.errors import StateUnwritable, WorkspaceBusy, WorkspaceNotFound
from sandlot.evals.ownership import abandoned, left_behind, owning
from sandlot.sdk import Sandlot, Workspace

if TYPE_CHECKING:
    from sandlot.operations.described import WorkspaceInfo
    from sandlot.workspaces.cancellation import Cancellation

__all__ = [
    "BASE", "BYTES",
    "FINGERPRINT",
    "KIND",
    "OWNER",
    "RUN",
    "Pool",
    "find",
    "fingerprint",
    "lock",
    "owner",
    "pools",
    "prune",
    "sweep",
]  # fmt: skip

KIND = "sandlot.eval.kind"
"""Label: ``pool`` for a prepared base; ``making``, ``temp``, ``trial``, ``grading`` for what dies with its run."""
FINGERPRINT = "sandlot.eval.fingerprint"
OWNER = "sandlot.eval.owner"
"""Label: whose run it belongs to, by the name of a lock (see ``ownership``)."""
WAIT_S = 3600.0
"""How long to wait for another process that prepares the same base, hooks included."""
RUN = "sandlot.eval.run"
BYTES = "sandlot.eval.bytes"
BASE = "sandlot.eval.base"
"""Label: the base that was made for it alone, from a folder that is gone; removed with it."""
VERSION = 1
"""Part of every fingerprint; another number when preparation comes to mean something else."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One prepared base, as ``sandlot pool list`` shows it."""

    fingerprint: str
    workspace: str
    created_at: str
    used_at: str
    bytes: int
    """Of all its files: template, repos and what ``before_all`` added."""
    base: str
    """Id of the base that goes with it; empty when its template has one of its own."""
    trials: int
    """Workspaces that stand on it now."""


@contextmanager
def owner(sandlot: Sandlot) -> Iterator[str]:
    """For the label: within the block nobody sweeps what bears it. Raises StateUnwritable."""
    with owning(sandlot.paths.evals) as name:
        yield name
    _sweep(sandlot, name)  # its file at least


def sweep(sandlot: Sandlot) -> int:
    """Delete the workspaces of runs whose process is no more (kill -9, a crash); how many there were."""
    return sum(_sweep(sandlot, name) for name in left_behind(sandlot.paths.evals))


def _sweep(sandlot: Sandlot, name: str) -> int:
    gone = 0
    # One that is busy ends the block by its exception, so that the owner's file stays for the next who looks.
    with contextlib.suppress(WorkspaceBusy), abandoned(sandlot.paths.evals, name) as dead:
        for info in sandlot.list(labels={OWNER: name}) if dead else ():
            with contextlib.suppress(WorkspaceNotFound):
                sandlot.call("workspace_delete", workspaces=(info.id,))
                gone += 1
    return gone


def fingerprint(facts: Mapping[str, Any]) -> str:
    """The name of the base that these facts make: 32 hex digits."""
    text = json.dumps({"version": VERSION, **facts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def find(sandlot: Sandlot, name: str) -> Workspace | None:
    """The prepared base with this fingerprint, if there is one. The caller holds its lock."""
    for info in sandlot.list(labels={KIND: "pool", FINGERPRINT: name}):
        return Workspace(sandlot, info)
    return None


@contextmanager
def lock(
    sandlot: Sandlot, name: str, *, alone: bool, wait_s: float = WAIT_S, cancellation: Cancellation | None = None
) -> Iterator[None]:
    """Hold the lock called ``name``, alone or shared with others. Raises WorkspaceBusy after ``wait_s`` seconds."""
    folder = sandlot.paths.evals
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateUnwritable(f"cannot lock in {folder}: {error.strerror}") from error
    try:
        _take(held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, time.monotonic() + wait_s, cancellation)
        yield
    finally:
        os.close(held)


def _take(held: int, kind: int, end: float, cancellation: Cancellation | None) -> None:
    pause = 0.001
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(held, kind | fcntl.LOCK_NB)
            return
        if cancellation is not None:
            cancellation.check()
        if time.monotonic() > end:
            raise WorkspaceBusy("another run is using or preparing the same workspace", hint="wait until it has ended")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def pools(sandlot: Sandlot) -> list[Pool]:
    """All prepared bases, the last used one first."""
    every = sandlot.list()
    return [_described(info, every) for info in every if info.labels.get(KIND) == "pool"]


def _described(info: WorkspaceInfo, every: list[WorkspaceInfo]) -> Pool:
    return Pool(
        fingerprint=info.labels.get(FINGERPRINT, ""),
        workspace=info.id,
        created_at=info.created_at,
        used_at=info.active_at,
        bytes=int(info.labels.get(BYTES) or 0),
        base=info.labels.get(BASE, ""),
        trials=sum(each.forked_from == info.id for each in every),
    )


def prune(sandlot: Sandlot, *, unused_for_s: float = 0.0, dry_run: bool = False) -> list[Pool]:
    """Delete prepared bases that no run holds and none has used for so long; which ones."""
    sweep(sandlot)
    gone = []
    for pool in pools(sandlot):
        age = (datetime.now(UTC) - datetime.fromisoformat(pool.used_at)).total_seconds()
        if age < unused_for_s:
            continue
        used = contextlib.suppress(WorkspaceBusy, WorkspaceNotFound)
        with used, lock(sandlot, pool.fingerprint, alone=True, wait_s=0):
            if not dry_run:
                sandlot.call("workspace_delete", workspaces=(pool.workspace,))
                forget(sandlot, pool.base)
            gone.append(pool)
    return gone


def forget(sandlot: Sandlot, base: str) -> None:
    """Remove the base that was made for a workspace that is gone, unless something else stands on it, too."""
    if base:
        sandlot.prune_bases(base)
