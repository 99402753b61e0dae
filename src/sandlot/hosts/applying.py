"""Carrying a plan out: one backup for each file, then our own writing or the host's own command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from subprocess import TimeoutExpired

from sandlot import process
from sandlot.errors import HostFailed, SandlotError
from sandlot.hosts.around import Around
from sandlot.hosts.files import read, read_text, replace
from sandlot.hosts.formats.base import get, without
from sandlot.hosts.launch import SERVER
from sandlot.hosts.planning import Plan, Step
from sandlot.hosts.records import Made, Record, Records

__all__ = ["apply"]

HOST_COMMAND_S = 60.0


def apply(plan: Plan, around: Around, records: Records) -> tuple[Path, ...]:
    """Do it; where the backups are. Raises HostConflict, HostFailed, UnsafePath, StateUnwritable."""
    kept: list[Path] = []
    for step in plan.steps:
        earlier = records.find(step.path)
        # What was made for an entry that is gone by now was somebody else's ever since.
        made = earlier.made if earlier is not None and plan.existed and step.made is Made.NOTHING else step.made
        record = Record(str(step.path), made, step.before, step.after, plan.host.key)
        if (backup := records.save(record)) is not None:
            kept.append(backup)
        if step.commands:
            after = _by_host(plan, step, around)
            records.save(Record(record.path, made, step.before, after, plan.host.key))
        else:
            replace(step.path, step.before, step.after, within=step.within)
    return tuple(kept)


def _by_host(plan: Plan, step: Step, around: Around) -> str | None:
    """Let the host write, and look whether it wrote what it was told and nothing else of ours."""
    try:
        for command in step.commands:
            cwd = around.home if plan.place.scope == "user" else around.project
            done = process.run(command, env=around.environ, cwd=cwd, timeout=HOST_COMMAND_S)
            if done.returncode != 0:
                text = (done.stderr or done.stdout).decode("utf-8", "replace").strip().split("\n")[0]
                raise HostFailed(f"{shlex.join(command[:4])}: {text}")
        file = read(plan.place.path, plan.place.form)
        base = (*plan.place.keys, SERVER)
        others = without(plan.place.form.parse(step.before or ""), base)
        if get(file.value, base) != plan.entry:
            raise HostFailed(f"{plan.host.title} has not written what it was told: {json.dumps(get(file.value, base))}")
        if (get(without(file.value, base), plan.place.keys) or {}) != (get(others, plan.place.keys) or {}):
            raise HostFailed(f"{plan.host.title} has changed other servers in {plan.place.path}")
    except (SandlotError, OSError, TimeoutExpired) as error:
        _restore(step)
        if isinstance(error, SandlotError):
            raise
        raise HostFailed(f"{shlex.join(step.commands[0][:4])}: {error}") from None
    return file.text


def _restore(step: Step) -> None:
    try:
        present = read_text(step.path)
        if present != step.before:
            replace(step.path, present, step.before)
    except SandlotError:  # the first failure says more
        pass
