"""From the words of a user, or of the settings, to the limits of a workspace, for the machine as it is now."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sandlot.errors import UsageError
from sandlot.model.limits import LIMIT_NAMES, Limits
from sandlot.model.workspace import WorkspaceRecord
from sandlot.settings import seconds, size
from sandlot.workspaces.context import Context

__all__ = ["default_limits", "field_of", "limits_changed", "limits_of", "warnings_of"]

LEAST_MEMORY = 32 << 20
LEAST_PROCESSES = 4
LEAST_FILES = 64
"""Fewer, and the supervisor of a command could not open its pipes."""
LEAST_DISK = 1 << 20
LEAST_INODES = 100
LEAST_TMP = 1 << 20
LEAST_CPUS = 0.01


def default_limits(context: Context) -> Limits:
    """What the user's settings say."""
    return limits_of(context, {})


def limits_of(context: Context, words: Mapping[str, str | None]) -> Limits:
    """The limits that words name (``2G``, ``75%``, ``never``); None, or no word: the user's setting.

    A share is one of what there is: of the memory of the machine or of the control group we are in, of the processors,
    of what the state folder's file system has free. Raises UsageError.
    """
    return _fitting(_read(context, words))


def limits_changed(context: Context, words: Mapping[str, str | None], old: Limits) -> Limits:
    """The limits ``old`` with those that words name. Raises UsageError."""
    fresh = _read(context, words)
    named = [field_of(name) for name in LIMIT_NAMES if words.get(name) is not None]
    return _fitting(replace(old, **{name: getattr(fresh, name) for name in named}))


def field_of(name: str) -> str:
    """The field of Limits that a user's word for a limit means."""
    return "max_duration_s" if name == "max_duration" else name


def _fitting(limits: Limits) -> Limits:
    """Its memory file systems, two of one size, fit into its memory."""
    if limits.memory is None:
        return limits
    return replace(limits, tmp=min(limits.tmp, max(LEAST_TMP, limits.memory // 2)))


def _read(context: Context, words: Mapping[str, str | None]) -> Limits:
    settings = context.settings
    defaults = {name: getattr(settings, name) for name in LIMIT_NAMES if name != "tmp"}
    chosen = {name: _given(words.get(name)) or defaults.get(name) for name in LIMIT_NAMES}

    def amount(name: str, least: int, whole: int | None = None) -> int | None:
        return _amount(name, str(chosen[name]), least, whole)

    disk = os.statvfs(context.paths.state) if _shares(chosen["disk"]) or _shares(chosen["inodes"]) else None
    tmp = settings.tmp_size if chosen["tmp"] is None else amount("tmp", LEAST_TMP, _memory())
    if tmp is None:
        raise UsageError("tmp cannot be without a limit: it is memory", hint="write a size, such as 1G")
    return Limits(
        memory=amount("memory", LEAST_MEMORY, _memory() if _shares(chosen["memory"]) else None),
        cpus=_cpus(str(chosen["cpus"])),
        processes=amount("processes", LEAST_PROCESSES),
        open_files=amount("open_files", LEAST_FILES),
        disk=amount("disk", LEAST_DISK, disk.f_bavail * disk.f_frsize if disk else None),
        inodes=amount("inodes", LEAST_INODES, disk.f_favail if disk else None),
        tmp=tmp,
        max_duration_s=_duration(str(chosen["max_duration"])),
    )


def _given(word: str | None) -> str | None:
    if word == "":
        raise UsageError("a limit cannot be empty", hint="write a number such as 2G, or never")
    return word


def _shares(word: object) -> bool:
    return str(word).endswith("%")


def _amount(name: str, word: str, least: int, whole: int | None) -> int | None:
    if word == "never":
        return None
    try:
        if _shares(word):
            if whole is None:
                raise ValueError
            share = float(word[:-1])
            if not 0 < share <= 100:
                raise ValueError
            return max(least, int(whole * share / 100))
        value = size(word)
    except (ValueError, UsageError):
        raise UsageError(f"{name.replace('_', '-')} cannot be {word!r}", hint="write 4096, 20M, 2G, or never") from None
    if value < least:
        shown = f"{least >> 20}M" if least >= 1 << 20 else str(least)
        raise UsageError(f"{name.replace('_', '-')} must be at least {shown}", hint="never: no limit")
    return value


def _cpus(word: str) -> float | None:
    if word == "never":
        return None
    try:
        value = float(word[:-1]) / 100 * (os.cpu_count() or 1) if _shares(word) else float(word)
        if not LEAST_CPUS <= value <= 4096:
            raise ValueError
    except ValueError:
        raise UsageError(f"cpus cannot be {word!r}", hint="write a number such as 1.5, or never") from None
    return value


def _duration(word: str) -> float | None:
    value = seconds(word)
    if value is not None and value <= 0:
        raise UsageError("max-duration must be positive", hint="never: no limit")
    return value


def _memory() -> int:
    """Bytes of memory of this machine, or of the container we are in if that has less."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(name).read_text()))
        except (OSError, ValueError):
            continue  # not this version of control groups, or "max"
    return min(sizes)


def warnings_of(record: WorkspaceRecord) -> list[str]:
    """What nobody holds a running workspace to."""
    if record.instance is None:
        return []
    found = []
    limits, enforcement = record.limits, record.instance.enforcement
    for name in LIMIT_NAMES:
        value = getattr(limits, field_of(name))
        if value is not None and enforcement.get(name, "none") == "none":
            text = f"the limit {name.replace('_', '-')} is not enforced on this machine"
            if name == "cpus" and value % 1:
                text += f": without control groups only whole processors can be given, here {math.ceil(value)}"
            found.append(text)
    return found
