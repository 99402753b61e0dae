"""What an idle workspace costs in memory: its agent and bubblewrap's monitor."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.stage import Stage
from sandlot.process import ProcessIdentity

__all__ = ["LIMIT_BYTES", "IdleMemory", "idle_memory", "kilobytes"]

LIMIT_BYTES = 20 * 1024 * 1024
COUNT = 10


@dataclass(frozen=True, slots=True)
class IdleMemory:
    """Bytes for each of some idle workspaces; None where the kernel does not tell (an ordinary user may not ask)."""

    workspaces: int
    pss: tuple[int, ...] | None
    """Proportional set size now, monitor and agent together: shared pages are divided among those who share them."""
    peak_rss: tuple[int, ...]
    """Largest resident size so far, monitor and agent together, shared pages counted in full."""


def kilobytes(path: str, field: str) -> int:
    """Bytes of a field of a file in /proc; 0 where there is none."""
    with open(path) as file:
        found = re.search(rf"^{field}:\s+(\d+) kB", file.read(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def idle_memory(stage: Stage, count: int = COUNT) -> IdleMemory:
    """Measure ``count`` workspaces, each after one command."""
    made = [stage.sandlot.create(f"base:{stage.base}") for _ in range(count)]
    pss: list[int] | None = []
    peaks = []
    for workspace in made:
        workspace.exec(["true"])
    for workspace in made:
        instance = stage.sandlot._context.store.find(workspace.id).instance
        if instance is None:
            continue
        identities = (
            ProcessIdentity(instance.agent_pid, instance.agent_start, instance.boot),
            ProcessIdentity(instance.monitor_pid, instance.monitor_start, instance.boot),
        )
        pids = [each.pid for each in identities if each.alive()]
        peaks.append(sum(kilobytes(f"/proc/{pid}/status", "VmHWM") for pid in pids))
        try:
            if pss is not None:
                pss.append(sum(kilobytes(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids))
        except PermissionError:
            pss = None
    for workspace in made:
        workspace.delete()
    return IdleMemory(len(made), tuple(pss) if pss else None, tuple(peaks))
