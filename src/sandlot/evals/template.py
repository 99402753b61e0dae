"""What is in a template, as a hash: the same files give the same prepared base, wherever they lie, however old.

Reading 20,000 files takes a second and looking at them a tenth of it. So the hash is remembered under what tells that
something changed (sizes, times, inodes), and files are only read when that is new.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import Conflict, StateUnwritable
from sandlot.evals.staging import left_out

__all__ = ["Template", "look", "stamps"]

_SUFFIX = ".template"
_DIGEST = re.compile(r"[0-9a-f]{64}")
KEPT_S = 30 * 86400.0
"""A hash that nobody asked for that long is forgotten."""
SETTLED_S = 0.1
"""A file younger than that could change once more within one tick of the file system's clock, and look the same."""


def _entries(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """(path, facts) of all that is copied, in an order of its own; links are not followed."""
    pending = [folder]
    without = left_out(folder)
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.path in without:
                    continue
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    pending.append(entry.path)
                yield entry.path, info


def stamps(folder: str) -> str:
    """Hash over what tells that a folder changed, without opening a file: names, modes, sizes, times, inodes."""
    return _stamped(folder)[0]


def _stamped(folder: str) -> tuple[str, float]:
    """(stamps, when the youngest file changed)."""
    found, youngest = hashlib.sha256(), 0.0
    try:
        for path, info in _entries(folder):
            facts: tuple[int, ...] = (info.st_mode,)
            if not stat.S_ISDIR(info.st_mode):
                facts = (info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
                youngest = max(youngest, info.st_ctime)
            found.update(os.fsencode(path[len(folder) :]) + repr(facts).encode() + b"\0")
    except OSError as error:
        raise StateUnwritable(f"cannot read the template {folder}: {error.strerror}") from error
    return found.hexdigest(), youngest


@dataclass(frozen=True, slots=True)
class Template:
    """A folder at one moment."""

    stamps: str
    """Another one as soon as anything was written."""
    content: str
    """Hash of names, modes, links and contents; times do not count."""


def look(folder: str, remembered: Path) -> Template:
    """What is in a template now. ``remembered``: our folder for such hashes.

    Raises StateUnwritable when something cannot be read, Conflict when it changes meanwhile.
    """
    before, youngest = _stamped(folder)
    note = remembered / f"{before}{_SUFFIX}"
    with contextlib.suppress(OSError):
        text = note.read_text()
        if _DIGEST.fullmatch(text):
            os.utime(note)
            return Template(before, text)
    found = _read(folder)
    if stamps(folder) != before:
        raise Conflict(f"the template {folder} changed while it was read", hint="run it again")
    if time.time() - youngest > SETTLED_S:
        with contextlib.suppress(OSError):  # then it is read again next time
            _remember(note, found)
    return Template(before, found)


def _read(folder: str) -> str:
    found = hashlib.sha256()
    try:
        for path, info in _entries(folder):
            found.update(os.fsencode(path[len(folder) :]) + f"\0{info.st_mode:o}\0".encode())
            if stat.S_ISLNK(info.st_mode):
                found.update(os.fsencode(os.readlink(path)) + b"\0")
            elif stat.S_ISREG(info.st_mode):
                with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise StateUnwritable(f"cannot read the template {folder}: {error.strerror}") from error
    return found.hexdigest()


def _remember(note: Path, digest: str) -> None:
    """Whole or not at all; what is old goes at this occasion."""
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in note.parent.glob(f"*{_SUFFIX}"):
        if time.time() - each.stat().st_mtime > KEPT_S:
            each.unlink(missing_ok=True)
    fresh = note.with_name(f".{note.name}.{os.getpid()}")
    fresh.write_text(digest)
    os.replace(fresh, note)
