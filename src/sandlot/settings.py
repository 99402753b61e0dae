"""User settings; each value remembers where it came from.

Precedence, highest first: environment (``SANDLOT_<NAME>``), ``$XDG_CONFIG_HOME/sandlot/config.toml``, default.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path

from sandlot.errors import UsageError

__all__ = ["Settings", "Where", "duration", "seconds", "size"]

_DURATION = re.compile(
    r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,12})(?:s|$))?(?:(\d{1,15})ms)?", re.ASCII
)
_SIZE = re.compile(r"(\d{1,18})([KMGT]?)(?:iB|B)?", re.IGNORECASE | re.ASCII)
LARGEST = 1 << 62
LONGEST_S = 100 * 365 * 86400
"""Longer than this is a mistake, and beyond what dates and timers can count."""

RUNTIMES = ("bubblewrap", "qemu", "auto")
LEVELS = ("none", "process", "kernel", "vm-emulated", "vm")
"""The words of ``RuntimeChoice`` and ``IsolationLevel`` (model/isolation.py), which nothing this low may ask."""


class Where(StrEnum):
    """Where a setting's value comes from."""

    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


def duration(text: str) -> int | None:
    """Whole seconds, rounded up, of what ``seconds`` reads. Raises UsageError."""
    exact = seconds(text)
    return None if exact is None else math.ceil(exact)


def seconds(text: str) -> float | None:
    """Seconds of ``90``, ``90s``, ``15m``, ``2h``, ``14d``, ``1h30m``, ``500ms``; None for ``never``.

    Raises UsageError.
    """
    if text == "never":
        return None
    found = _DURATION.fullmatch(text)
    if not text or found is None or not any(found.groups()):
        raise UsageError(f"{text!r} is not a duration", hint="write 90s, 15m, 2h, 14d or never")
    days, hours, minutes, whole, thousandths = (int(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + whole + thousandths / 1000
    if total > LONGEST_S:
        raise UsageError(f"{text!r} is longer than 100 years", hint="write never")
    return total


def size(text: str) -> int:
    """Bytes of ``4096``, ``64K``, ``20M``, ``2GiB`` (powers of 1024). Raises UsageError."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is not a size", hint="write 4096, 64K, 20M or 2G")
    count = int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ")
    if count > LARGEST:
        raise UsageError(f"{text!r} is more than 4 EiB", hint="write a smaller size")
    return count


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{text!r} is not a whole number")
    return int(text)


def _share(text: str) -> str:
    """A size, a share such as ``75%``, or ``never``; what it amounts to depends on the machine."""
    if text != "never" and not re.fullmatch(r"(100|\d{1,2})(\.\d{1,3})?%", text, re.ASCII):
        size(text)
    return text


def _number(text: str) -> str:
    if text != "never" and not re.fullmatch(r"\d{1,4}(\.\d{1,3})?%?", text, re.ASCII):
        raise UsageError(f"{text!r} is not a number of processors", hint="write 2, 1.5 or never")
    return text


def _longest(text: str) -> str:
    seconds(text)
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise UsageError(f"{text!r} is none of: {', '.join(words)}")
        return text

    return parse


def _setting(default: object, parse: Callable[[str], object]) -> object:
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults a user may change for all workspaces."""

    max_workspaces: int = _setting(256, _count)  # type: ignore[assignment]  # field() with its parser beside it
    """How many workspaces may exist at once, stopped ones included."""
    idle_timeout: int | None = _setting(2 * 3600, duration)  # type: ignore[assignment]  # see above
    """Seconds without activity after which a workspace is stopped; None: never."""
    retention: int | None = _setting(14 * 86400, duration)  # type: ignore[assignment]  # see above
    """Seconds after which a stopped workspace is deleted; None: never."""
    output_quota: int = _setting(256 << 20, size)  # type: ignore[assignment]  # see above
    """Bytes of each output stream of a command that are kept on disk (and its last 64 KiB beyond)."""
    tmp_size: int = _setting(1 << 30, size)  # type: ignore[assignment]  # see above
    """Size limit of a workspace's /tmp and /dev/shm, each, in bytes of memory."""
    detach_keys: str = _setting("ctrl-],d", str)  # type: ignore[assignment]  # see above
    """Keys that detach a terminal from a shell: names or single characters, with commas between."""
    memory: str = _setting("75%", _share)  # type: ignore[assignment]  # see above
    """Memory of each workspace: a size, a share of what the machine has, or never."""
    cpus: str = _setting("never", _number)  # type: ignore[assignment]  # see above
    """Processors of each workspace, such as 1.5, or never."""
    processes: str = _setting("4096", _share)  # type: ignore[assignment]  # see above
    """Processes and threads of each workspace, or never."""
    open_files: str = _setting("65536", _share)  # type: ignore[assignment]  # see above
    """Open files of each process, or never."""
    disk: str = _setting("90%", _share)  # type: ignore[assignment]  # see above
    """Disk that a workspace's changes may take: a size, a share of what is free at its start, or never."""
    inodes: str = _setting("2M", _share)  # type: ignore[assignment]  # see above
    """Files and folders among a workspace's changes, or never."""
    max_duration: str = _setting("never", _longest)  # type: ignore[assignment]  # see above
    """Longest run of one command, or never."""
    runtime: str = _setting("bubblewrap", _one_of(*RUNTIMES))  # type: ignore[assignment]  # see above
    """What isolates a workspace: bubblewrap, qemu, or auto for the cheapest that isolates enough."""
    min_isolation: str = _setting("none", _one_of(*LEVELS))  # type: ignore[assignment]  # see above
    """The least isolation level of every new workspace; a demand of the caller's can only be higher."""
    environment: str = _setting("host", str)  # type: ignore[assignment]  # see above
    """What is inside a workspace besides its project: host, or a name of ``sandlot env list``."""
    environment_repro_fix: str = _setting("default", str)  # type: ignore[assignment]  # see above
    """The same for workspaces made by an MCP server in mode repro-fix; ``default``: as ``environment``."""
    environment_inspect: str = _setting("default", str)  # type: ignore[assignment]  # see above
    """The same in mode inspect."""
    environment_cold_start: str = _setting("default", str)  # type: ignore[assignment]  # see above
    """The same in mode cold-start."""
    environment_review_eval: str = _setting("default", str)  # type: ignore[assignment]  # see above
    """The same in mode review-eval."""
    sources: dict[str, Where] = field(default_factory=dict, compare=False)
    """Where each value above came from."""

    @classmethod
    def load(cls) -> Settings:
        """The calling user's settings. Raises UsageError for an unknown name or a value that does not parse."""
        known = {each.name: each.metadata["parse"] for each in fields(cls) if each.name != "sources"}
        values: dict[str, object] = {}
        sources = dict.fromkeys(known, Where.DEFAULT)
        for name, text in _file().items():
            if name not in known:
                raise UsageError(f"unknown setting {name!r} in {_config_path()}", hint="known: " + ", ".join(known))
            values[name], sources[name] = _parsed(f"{name} in {_config_path()}", str(text), known[name]), Where.FILE
        for name, parse in known.items():
            text = os.environ.get("SANDLOT_" + name.upper())
            if text is not None:
                variable = "SANDLOT_" + name.upper()
                values[name], sources[name] = _parsed(variable, text, parse), Where.ENVIRONMENT
        return cls(**values, sources=sources)  # type: ignore[arg-type]  # each parser returns its field's type


def _parsed(what: str, text: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(text)
    except UsageError as error:
        raise UsageError(f"{what}: {error.message}", hint=error.hint) from error


def _config_path() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(home, "sandlot", "config.toml")


def _file() -> dict[str, object]:
    path = _config_path()
    try:
        text = path.read_text(encoding="utf-8")
        import tomllib  # only few have such a file

        return tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError:
        return {}  # another user's home (su without -l): the defaults hold
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint="fix or remove the file") from error
