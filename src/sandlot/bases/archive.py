"""Seeding from an archive: judged as a whole first, then unpacked; nothing in it is believed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sandlot.bases import manifest
from sandlot.bases.building import build_lock
from sandlot.bases.content import CHUNK, Truncated, write_stream
from sandlot.bases.descent import FOLDER, Descent, tree_order
from sandlot.bases.manifest import Rows
from sandlot.bases.members import Inventory, Member, normal_path, refused
from sandlot.bases.progress import Progress
from sandlot.bases.scan import MAX_SKIPPED, RACY_NS, Scan, shown
from sandlot.bases.source import Source
from sandlot.bases.tree import draft_layer
from sandlot.bases.workshop import Workshop, fingerprint
from sandlot.bases.writing import link_beneath
from sandlot.errors import PathNotFound, SeedUnreadable
from sandlot.model.base import Base, Origin, OriginKind

__all__ = ["seed_archive"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def seed_archive(shop: Workshop, source: Source) -> Base:
    """The base of an archive's content. Raises PathNotFound, SeedUnreadable, ArchiveRefused, OSError for our side."""
    path = Path(source.location)
    started = Scan()  # for its clock: what changed right before now may change again unseen
    with _open(path) as file:
        info = os.fstat(file.fileno())
        facts = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        quick = fingerprint("archive", source.location, repr(facts))
        base = shop.known(quick)
        if base is not None:
            return base
        with build_lock(shop.paths, quick):
            by_content = fingerprint(
                "archive content", _suffix(path), source.location, _hash(file, path, shop.progress)
            )
            base = shop.known(quick) or shop.known(by_content) or _build(shop, source, path, file)
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != facts[2:]:
            raise SeedUnreadable(f"{shown(path, b'')} changed while it was read")
        shop.remember(by_content, base)
        if info.st_ctime_ns < started.started_ns - RACY_NS:
            shop.remember(quick, base)
        return base


def _open(path: Path) -> BinaryIO:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise PathNotFound(f"no archive at {shown(path, b'')}") from error
    except OSError as error:
        raise SeedUnreadable(f"cannot read {shown(path, b'')}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SeedUnreadable(f"{shown(path, b'')} is no file")
    return open(fd, "rb")


def _suffix(path: Path) -> str:
    return "zip" if path.name.lower().endswith(".zip") else "tar"


def _hash(file: BinaryIO, path: Path, progress: Progress) -> bytes:
    digest = hashlib.sha256()
    total = os.fstat(file.fileno()).st_size
    try:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            progress("reading the archive", file.tell(), total)
    except OSError as error:
        raise SeedUnreadable(f"cannot read {shown(path, b'')}: {error.strerror}") from error
    return digest.digest()


def _members(file: BinaryIO, path: Path) -> Iterator[Member]:
    file.seek(0)
    if _suffix(path) == "zip":
        from sandlot.bases.zipball import zip_members

        return zip_members(file)
    from sandlot.bases.tarball import tar_members

    return tar_members(file, path.name, os.fstat(file.fileno()).st_size)


def _build(shop: Workshop, source: Source, path: Path, file: BinaryIO) -> Base:
    inventory = Inventory(os.fstat(file.fileno()).st_size)
    for number, member in enumerate(_members(file, path)):
        shop.progress("checking the archive", number)
        inventory.add(member)
    folder = shop.folder / "tree"
    (folder / "workspace").mkdir(parents=True)
    target = os.open(folder / "workspace", FOLDER)
    try:
        unpacking = _Unpacking(target, inventory, shop.progress)
        with unpacking.place:
            for member in _members(file, path):
                unpacking.take(member)
            unpacking.settle_folders()
    finally:
        os.close(target)
    rows = _led_by_first(unpacking.rows)
    draft = draft_layer(folder, "tree", rows, unpacking.written)
    files, size = manifest.tally(rows)
    skipped = tuple(os.fsdecode(name) for name in inventory.skipped[:MAX_SKIPPED])
    origin = Origin(OriginKind.ARCHIVE, source.location, files=files, bytes=size, skipped=skipped)
    return shop.finish((manifest.tree_id("tree", rows),), (draft.layer,), (draft,), origin)


class _Unpacking:
    """Writes members that were judged good into an empty folder."""

    def __init__(self, target: int, inventory: Inventory, progress: Progress) -> None:
        self.rows: Rows = {}
        self.written = 0
        self.place = Descent(target)
        self._target = target
        self._expected = inventory.kinds
        self._total = len(inventory.kinds)
        self._progress = progress
        self._folders: dict[bytes, tuple[int, int]] = {}

    def take(self, member: Member) -> None:
        """Write one member. Raises SeedUnreadable when it is not the one that was judged."""
        self._progress("unpacking", len(self.rows), self._total)
        path = normal_path(member.name)
        expected = self._expected.get(path)
        if expected != ("f" if member.kind == "h" else member.kind) or path in self.rows:
            raise SeedUnreadable("the archive changed while it was read")
        if member.kind == "s":
            return
        *above, name = path.split(b"/")
        self._enter(above, member.mtime_ns)
        if member.kind == "d":
            self._enter([*above, name] if name else above, member.mtime_ns)
            self._folders[path] = (member.mode, member.mtime_ns)
            self.rows[path] = manifest.folder_row(member.mode, member.mtime_ns)
        elif member.kind == "l":
            os.symlink(member.target, name, dir_fd=self.place.fd)
            os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=self.place.fd, follow_symlinks=False)
            self.rows[path] = manifest.symlink_row(member.mtime_ns, member.target)
        elif member.kind == "h":
            leader = normal_path(member.target)
            link_beneath(self._target, leader, self.place.fd, name)
            row = self.rows[leader]
            self.rows[path] = row if row.startswith(b"h") else manifest.link_row(leader)
        else:
            self._file(member, path, name)

    def _enter(self, parts: list[bytes], mtime_ns: int) -> None:
        """Go to a folder, making what is missing of it."""
        if parts == self.place.parts:
            return
        for depth in range(len(parts)):
            folder = b"/".join(parts[: depth + 1])
            if folder not in self._folders:
                self.place.goto(parts[:depth])
                os.mkdir(parts[depth], 0o700, dir_fd=self.place.fd)
                self._folders[folder] = (0o755, mtime_ns)
        self.place.goto(parts)

    def _file(self, member: Member, path: bytes, name: bytes) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=self.place.fd)
        try:
            digest, written = write_stream(member.read or (lambda _: b""), member.size, fd)
            os.fchmod(fd, member.mode)
            os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
        except Truncated as error:
            raise refused(member.name, "is shorter than it says") from error
        finally:
            os.close(fd)
        self.written += written
        self.rows[path] = manifest.file_row(member.mode, member.size, member.mtime_ns, digest)

    def settle_folders(self) -> None:
        """Give the folders their modes and times, innermost first."""
        newest = max((mtime for _, mtime in self._folders.values()), default=0)
        self._folders.setdefault(b"", (0o755, newest))
        for path in sorted(self._folders, key=tree_order, reverse=True):
            mode, mtime_ns = self._folders[path]
            *above, name = path.split(b"/")
            self.place.goto(above)
            fd = self.place.open(name or b".")
            try:
                os.fchmod(fd, mode)
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)
            self.rows[path] = manifest.folder_row(mode, mtime_ns)


def _led_by_first(rows: Rows) -> Rows:
    """The same rows with the first name of each file in order as its ``f``, whatever order the archive had."""
    for leader, others in manifest.link_groups(rows).items():
        first = min([leader, *others], key=tree_order)
        row = rows[leader]
        for name in (leader, *others):
            rows[name] = row if name == first else manifest.link_row(first)
    return rows
