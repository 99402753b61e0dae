"""file_write: put content into a file, all or nothing."""

from __future__ import annotations

import os
import stat

from sandlot.guest.tools import ToolError, bulk
from sandlot.guest.tools.arguments import Arguments, Naming, display
from sandlot.guest.tools.interruption import Interruptible
from sandlot.guest.tools.reading import kind_of
from sandlot.guest.tools.staged import StagedFile
from sandlot.guest.tools.tree import locate_target, make_parents, unmake_parents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandlot.guest.tools import Emit


def file_write(args: list[bytes], descriptor: int, _emit: Emit) -> list[bytes]:
    """Make or replace a file with what ``bulk`` carries, from its current position to its end.

    Arguments: root; path; permission bits in octal, or empty (an existing file keeps its own, a new one gets 0644
    without the umask's bits); parents (1: make missing folders); overwrite (0: refuse when the file exists).

    Items: none.

    Result: bytes written; created (1: there was no file); the absolute path that was written.

    A last symlink is followed, as an editor would: the file it leads to is written. Readers see the old content or the
    new, never a part. The name points to a new file afterwards, so other hard links keep the old content.
    """
    fields = Arguments(args)
    root = fields.path("root")
    path = fields.path("path")
    mode = fields.mode("mode")
    parents = fields.flag("parents")
    overwrite = fields.flag("overwrite")
    bulk.need(descriptor)
    full = path if path.startswith(b"/") else root + b"/" + path
    with Naming(path), Interruptible():
        made = make_parents(root, path) if parents else 0
        try:
            return _write(full, path, mode, overwrite, descriptor)
        except BaseException:
            unmake_parents(full, made)
            raise


def _write(full: bytes, path: bytes, mode: int | None, overwrite: bool, descriptor: int) -> list[bytes]:
    folder, name, before = locate_target(b"", full)
    try:
        _check(path, full, name, before, overwrite)
        with StagedFile(folder) as staged:
            size = 0
            for chunk in bulk.chunks(descriptor):
                bulk.write_all(staged.descriptor, chunk)
                size += len(chunk)
            if before is not None:
                keep_owner(staged.descriptor, before)
            os.fchmod(staged.descriptor, _mode(mode, before))
            try:
                staged.publish(name, replace=overwrite)
            except FileExistsError:
                raise ToolError("file_refused", f"{display(path)} already exists") from None
        return [b"%d" % size, b"%d" % (before is None), _resolved(folder, full, name)]
    finally:
        os.close(folder)


def _check(path: bytes, full: bytes, name: bytes, before: os.stat_result | None, overwrite: bool) -> None:
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise ToolError("file_refused", f"{display(path)} is {kind_of(before.st_mode)}, not a regular file")
    if before is None and (full.endswith(b"/") or name in (b".", b"..")):
        raise ToolError("file_refused", f"{display(path)} names a folder, not a file")
    if before is not None and not overwrite:
        raise ToolError("file_refused", f"{display(path)} already exists")


def _mode(asked: int | None, before: os.stat_result | None) -> int:
    if asked is not None:
        return asked
    if before is not None:
        return stat.S_IMODE(before.st_mode)
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o644 & ~umask


def keep_owner(file: int, before: os.stat_result) -> None:
    """Give a replacement the owner of what it replaces, where we may."""
    now = os.fstat(file)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(file, before.st_uid, before.st_gid)
        except OSError:
            pass  # only root may; the content matters more


def _resolved(folder: int, full: bytes, name: bytes) -> bytes:
    """The path with symlinks resolved, or the one asked for when it is too long for the kernel to say."""
    try:
        where = os.readlink(b"/proc/self/fd/%d" % folder)
    except OSError:
        return full
    return where.rstrip(b"/") + b"/" + name
