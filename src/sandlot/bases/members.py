"""Judging the members of an archive, all of them, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from sandlot.errors import ArchiveRefused

__all__ = ["MAX_EXPANDED", "MAX_MEMBERS", "Inventory", "Member"]

MAX_EXPANDED = 20 << 30
"""Bytes all members together may expand to."""
MAX_MEMBERS = 2_000_000
"""Members, and folders that only appear in their paths."""
MAX_RATIO = 1000
RATIO_FROM = 100 << 20
"""Beyond this many bytes an archive may not expand to more than MAX_RATIO times its own size."""
MAX_NAME_BYTES = 512 << 20
"""All paths together, in bytes: what we must remember to tell collisions."""
MAX_DEPTH = 4096
MAX_COMPONENT = 255
MAX_TARGET = 4095


@dataclass(frozen=True, slots=True)
class Member:
    """One member as its format describes it."""

    name: bytes
    kind: str
    """``f`` file, ``d`` folder, ``l`` symlink, ``h`` hard link, ``s`` something to skip (device, FIFO)."""
    mode: int
    mtime_ns: int
    size: int = 0
    target: bytes = b""
    """Of a link."""
    read: Callable[[int], bytes] | None = None
    """The content of a file, from its start; only until the next member is asked for."""
    device: bool = False
    """Whether what is to be skipped is a device."""


class Inventory:
    """The paths of an archive, checked one after the other."""

    def __init__(self, archive_size: int) -> None:
        self.kinds: dict[bytes, str] = {}
        """What is at each path; ``i`` is a folder that only appears in other paths."""
        self.skipped: list[bytes] = []
        self.expanded = 0
        self._archive_size = archive_size
        self._name_bytes = 0

    def add(self, member: Member) -> None:
        """Take up a member. Raises ArchiveRefused, naming it."""
        path = normal_path(member.name)
        if member.size < 0:
            raise refused(member.name, "has a negative size")
        if path == b"":
            if member.kind != "d":
                raise refused(member.name, "has no name")
            self._put(path, "d", member)
            return
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            self._put_above(b"/".join(parts[:depth]), member)
        if member.kind == "s":
            self.skipped.append(path)
        elif member.kind == "h":
            leader = normal_path(member.target)
            if self.kinds.get(leader) != "f":
                raise refused(member.name, f"is a hard link to {_show(member.target)}, which is no file before it")
        elif member.kind == "l" and not 0 < len(member.target) <= MAX_TARGET:
            raise refused(member.name, "is a symlink with an unusable target")
        self._put(path, "f" if member.kind == "h" else member.kind, member)
        self.expanded += member.size
        self._check_limits(member)

    def _put(self, path: bytes, kind: str, member: Member) -> None:
        before = self.kinds.get(path)
        if before is not None and not (before == "i" and kind == "d"):
            raise refused(member.name, "occurs twice" if before != "i" else "is a folder elsewhere in the archive")
        if before is None:
            self._name_bytes += len(path)
        self.kinds[path] = kind

    def _put_above(self, folder: bytes, member: Member) -> None:
        kind = self.kinds.get(folder)
        if kind is None:
            self.kinds[folder] = "i"
            self._name_bytes += len(folder)
            self._check_limits(member)
        elif kind not in "di":
            what = "a symlink" if kind == "l" else "no folder"
            raise refused(member.name, f"is below {_show(folder)}, which is {what}")

    def _check_limits(self, member: Member) -> None:
        if len(self.kinds) > MAX_MEMBERS or self._name_bytes > MAX_NAME_BYTES:
            raise ArchiveRefused(f"the archive has more than {MAX_MEMBERS} members or very long names")
        too_much = self.expanded > MAX_EXPANDED
        if too_much or (self.expanded > RATIO_FROM and self.expanded > MAX_RATIO * self._archive_size):
            raise refused(member.name, f"makes the archive expand to more than {self.expanded >> 20} MiB")


def normal_path(name: bytes) -> bytes:
    """A member's path without ``.`` and empty parts; ``b""`` is the root. Raises ArchiveRefused."""
    if name.startswith(b"/"):
        raise refused(name, "is absolute")
    if b"\0" in name:
        raise refused(name, "has a zero byte in its name")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise refused(name, "leaves the archive's root")
    if len(parts) > MAX_DEPTH or any(len(part) > MAX_COMPONENT for part in parts):
        raise refused(name, "is too deep or has too long a name")
    return b"/".join(parts)


def refused(name: bytes, why: str) -> ArchiveRefused:
    """The error that names a member."""
    return ArchiveRefused(f"archive member {_show(name)} {why}", hint="unpack it yourself and seed the folder")


def _show(name: bytes) -> str:
    text = os.fsdecode(name[:200])
    return repr(text) if text.isprintable() else ascii(text)
