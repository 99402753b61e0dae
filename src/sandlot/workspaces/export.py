"""Copy paths out of a workspace to the host: as files, or as one archive.

What comes out is built under a temporary name beside the destination and put in place by one rename. Nothing is ever
written through a symlink, and nothing that only an operating system needs comes along: no devices, FIFOs or sockets,
no setuid bits, no extended attributes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sandlot.bases.beneath import FOLDER_FLAGS
from sandlot.bases.copying import Copying
from sandlot.bases.links import escapes
from sandlot.bases.renaming import rename_new, swap
from sandlot.bases.trees import remove_tree
from sandlot.bases.view import Entry, View
from sandlot.errors import FileRefused, PathNotFound, TargetExists, UnsafePath, UsageError
from sandlot.workspaces.archive import ArchiveWriter

__all__ = ["ARCHIVE_SUFFIXES", "LISTED", "Exported", "archive_out", "copy_out"]

ARCHIVE_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz")
LISTED: Final = 100
"""Names that ``skipped`` and ``escaping_links`` hold at most."""
_PERMISSIONS: Final = 0o777


@dataclass(frozen=True, slots=True)
class Exported:
    """What was copied out."""

    files: int
    """Regular files and symlinks."""
    bytes: int
    """Their data, holes not counted."""
    skipped: tuple[str, ...] = ()
    """FIFOs, sockets and devices, which stay behind (at most LISTED)."""
    escaping_links: tuple[str, ...] = ()
    """Symlinks that were copied but lead out of what was copied (at most LISTED)."""


def copy_out(stack: Sequence[Path], path: bytes, destination: Path, *, overwrite: bool = False) -> Exported:
    """Copy the file or folder at ``path`` of the merged tree to the host path ``destination``.

    ``path`` is relative to the workspace; ``b""`` is all of it. Modes, mtimes, symlinks, hard links, holes and empty
    folders are kept. With ``overwrite`` whatever is at ``destination`` is replaced, as a whole.

    Raises PathNotFound for either side, TargetExists, UnsafePath, and FileRefused when something cannot be read or
    written; nothing is left behind then.
    """
    with _source(stack, path) as (view, entry), _Destination(destination, overwrite=overwrite) as place:
        report = _Report()
        if entry is None or entry.is_folder:
            os.mkdir(place.temporary, 0o700, dir_fd=place.parent)
            target = os.open(place.temporary, FOLDER_FLAGS, dir_fd=place.parent)
        else:
            target = os.dup(place.parent)
        with Copying(target, permissions=_PERMISSIONS, plain=True) as copy:
            if entry is None or entry.is_folder:
                _copy_folder(view, entry, copy, report)
            else:
                _copy_single(view, entry, copy, place.temporary, report)
            copy.finish()
            place.publish()
            return Exported(copy.files, copy.bytes, tuple(report.skipped), tuple(report.escaping))


def archive_out(stack: Sequence[Path], path: bytes, destination: Path, *, overwrite: bool = False) -> Exported:
    """Write the file or folder at ``path`` into one archive, ``destination``, whose name ends in ARCHIVE_SUFFIXES.

    Members are named from the last component of ``path`` on, or from ``.`` for the whole workspace; otherwise the
    rules and errors of ``copy_out``. Raises UsageError for another suffix.
    """
    if not destination.name.endswith(ARCHIVE_SUFFIXES):
        raise UsageError(f"{destination.name!r} does not end in one of {', '.join(ARCHIVE_SUFFIXES)}")
    with _source(stack, path) as (view, entry), _Destination(destination, overwrite=overwrite) as place:
        report = _Report()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(place.temporary, flags, 0o666, dir_fd=place.parent)
        with ArchiveWriter(file, compressed=not destination.name.endswith(".tar")) as archive:
            base = path.rpartition(b"/")[0]
            cut = len(base) + 1 if base else 0
            for one in _all_of(view, entry, path):
                if _kept(view, one, path, report):
                    archive.add(view, one, one.path[cut:] or b".")
            archive.finish()
        place.publish()
        return Exported(archive.files, archive.bytes, tuple(report.skipped), tuple(report.escaping))


@dataclass(slots=True)
class _Report:
    skipped: list[str] = field(default_factory=list)
    escaping: list[str] = field(default_factory=list)


def _copy_folder(view: View, entry: Entry | None, copy: Copying, report: _Report) -> None:
    top = b"" if entry is None else entry.path
    copy.root(os.fstat(view.folder(len(view.layers) - 1, b"")) if entry is None else entry.info)
    cut = len(top) + 1 if top else 0
    for one in view.walk(top):
        if _kept(view, one, top, report):
            try:
                copy.add(view.folder(one.layer, one.path.rpartition(b"/")[0]), one.path[cut:], one.info)
            except FileNotFoundError:  # deleted inside while we read
                pass


def _copy_single(view: View, entry: Entry, copy: Copying, name: bytes, report: _Report) -> None:
    parent, _, last = entry.path.rpartition(b"/")
    if not _kept(view, entry, parent, report):
        raise FileRefused(f"{os.fsdecode(entry.path)!r} is neither a file, a folder nor a symlink")
    copy.add(view.folder(entry.layer, parent), name, entry.info, last)


def _all_of(view: View, entry: Entry | None, path: bytes) -> Iterator[Entry]:
    top = len(view.layers) - 1
    yield Entry(b"", os.fstat(view.folder(top, b"")), top) if entry is None else entry
    yield from view.walk(path)


def _kept(view: View, entry: Entry, top: bytes, report: _Report) -> bool:
    """Whether this entry comes along; notes the ones that do not, and links that lead out of ``top``."""
    if not (entry.is_folder or entry.is_file or entry.is_symlink):
        if len(report.skipped) < LISTED:
            report.skipped.append(os.fsdecode(entry.path))
        return False
    if entry.is_symlink and len(report.escaping) < LISTED:
        cut = len(top) + 1 if top else 0
        try:
            if escapes(entry.path[cut:], view.readlink(entry), _reader(view, top)):
                report.escaping.append(os.fsdecode(entry.path))
        except OSError:  # gone, or no symlink any more: what is copied next says so
            pass
    return True


def _reader(view: View, top: bytes) -> Callable[[bytes], bytes | None]:
    def readlink(path: bytes) -> bytes | None:
        entry = view.lookup(top + b"/" + path if top else path)
        return view.readlink(entry) if entry is not None and entry.is_symlink else None

    return readlink


@contextmanager
def _source(stack: Sequence[Path], path: bytes) -> Iterator[tuple[View, Entry | None]]:
    """The view and what is at ``path``; None stands for the whole workspace."""
    name = os.fsdecode(path)
    if path and any(part in (b"", b".", b"..") for part in path.split(b"/")):
        raise UnsafePath(f"{name!r} is not a path inside the workspace")
    try:
        with View(stack) as view:
            entry = view.lookup(path) if path else None
            if path and entry is None:
                raise PathNotFound(f"{name!r} does not exist in the workspace", hint="sandlot workspace file list ID")
            if entry is not None and not (entry.is_folder or entry.is_file or entry.is_symlink):
                raise FileRefused(f"{name!r} is neither a file, a folder nor a symlink")
            yield view, entry
    except OSError as error:
        at = f" {os.fsdecode(error.filename)!r}" if error.filename else ""
        raise FileRefused(f"cannot export {name or 'the workspace'!r}:{at} {error.strerror or error}") from error


class _Destination:
    """A host path to be: a temporary name beside it now, one rename later the real thing, or nothing at all."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._path = path
        self._overwrite = overwrite
        self._name = os.fsencode(path.name)
        if self._name in (b"", b".", b".."):
            raise UsageError(f"{str(path)!r} has no name for the export", hint="name the file or folder to be made")
        self.temporary = b".sandlot-" + os.urandom(8).hex().encode()
        self.parent = -1
        """Descriptor of the folder both names are in."""

    def __enter__(self) -> _Destination:
        folder = self._path.parent
        try:
            # The caller's own path may lead through symlinks; from here on nothing does.
            self.parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PathNotFound(f"{folder} is not a folder on the host", hint=f"mkdir -p {folder}") from error
        if not self._overwrite and self._existing() is not None:
            os.close(self.parent)
            raise self._exists()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            # After a swap this is what was there before; after a failure, what we had made so far.
            remove_tree(Path(f"/proc/self/fd/{self.parent}") / os.fsdecode(self.temporary))
        finally:
            os.close(self.parent)

    def publish(self) -> None:
        """Put what was built under the temporary name in place."""
        if self._existing() is None or not self._overwrite:
            try:
                rename_new(self.parent, self.temporary, self.parent, self._name)
            except FileExistsError as error:
                raise self._exists() from error
        else:
            swap(self.parent, self.temporary, self.parent, self._name)

    def _existing(self) -> os.stat_result | None:
        try:
            return os.stat(self._name, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _exists(self) -> TargetExists:
        return TargetExists(f"{self._path} exists", hint="choose another path, or replace it with --overwrite")
