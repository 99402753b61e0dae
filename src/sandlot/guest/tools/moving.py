"""file_move: give a file or folder another path."""

from __future__ import annotations

import errno
import os
import stat

from sandlot.guest.tools import ToolError
from sandlot.guest.tools.arguments import Arguments, Naming, display
from sandlot.guest.tools.copying import copy
from sandlot.guest.tools.deleting import refuse_root, refuse_unnamed
from sandlot.guest.tools.interruption import Interruptible
from sandlot.guest.tools.staged import spare_name
from sandlot.guest.tools.tree import identity, lies_within, locate, make_parents, remove, unmake_parents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandlot.guest.tools import Emit


def file_move(args: list[bytes], _bulk: int, _emit: Emit) -> list[bytes]:
    """Rename or move a file, symlink or folder; symlinks are moved, never followed.

    Arguments: root; source; destination (the full new path, not a folder to put it into; missing parents are made);
    overwrite (1: replace a file, or an empty folder by a folder).

    Items: none.

    Result: copied (1: the filesystem could not rename, so it was copied, put in place in one step, and deleted;
    interrupted after that step, both exist).

    The root, the folders above it, and a folder into itself are refused.
    """
    fields = Arguments(args)
    root = fields.path("root")
    source = fields.path("source")
    destination = fields.path("destination")
    overwrite = fields.flag("overwrite")
    with Interruptible() as interruptible:
        with Naming(source):
            folder, name = locate(root, source)
        try:
            with Naming(source):
                refuse_unnamed(source, name)
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    refuse_root(root, source, info)
            with Naming(destination):
                if stat.S_ISDIR(info.st_mode):
                    _refuse_inside(root, source, destination, info)
                made = make_parents(root, destination)
                try:
                    copied = _place(root, destination, overwrite, folder, name, info)
                except BaseException:
                    unmake_parents(destination if destination.startswith(b"/") else root + b"/" + destination, made)
                    raise
            if copied:
                interruptible.hold()
                with Naming(source):
                    remove(folder, name)
        finally:
            os.close(folder)
    return [b"%d" % copied]


def _refuse_inside(root: bytes, source: bytes, destination: bytes, info: os.stat_result) -> None:
    """Before any parent is made: the nearest folder above the destination that exists must not lie in the source."""
    path = destination if destination.startswith(b"/") else root + b"/" + destination
    while True:
        path = path.rstrip(b"/")
        try:
            above, _ = locate(b"", path)
            break
        except FileNotFoundError:
            path = path.rpartition(b"/")[0]
    try:
        inside = lies_within(above, identity(info))
    finally:
        os.close(above)
    if inside:
        raise ToolError("file_refused", f"{display(source)} cannot be moved into itself")


def _place(root: bytes, destination: bytes, overwrite: bool, folder: int, name: bytes, info: os.stat_result) -> bool:
    """Put the source at the destination; whether the source is still there, as it had to be copied."""
    target, new_name = locate(root, destination)
    try:
        refuse_unnamed(destination, new_name)
        try:
            there = os.stat(new_name, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there is not None:
            if not overwrite:
                raise ToolError("file_refused", f"{display(destination)} already exists")
            if identity(there) == identity(info) and _same_name(target, new_name, folder, name):
                return False  # the same name: there is nothing to do
            if stat.S_ISDIR(there.st_mode) and not stat.S_ISDIR(info.st_mode):
                raise ToolError("file_refused", f"{display(destination)} is a folder; a file cannot replace it")
            if stat.S_ISDIR(info.st_mode) and not stat.S_ISDIR(there.st_mode):
                raise ToolError("file_refused", f"{display(destination)} is a file; a folder cannot replace it")
        try:
            os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_into_place(folder, name, target, new_name)
            return True
        if there is not None and identity(there) == identity(info):
            os.unlink(name, dir_fd=folder)  # two hard links: rename(2) leaves both
        return False
    finally:
        os.close(target)


def _same_name(one: int, its_name: bytes, other: int, other_name: bytes) -> bool:
    return its_name == other_name and identity(os.fstat(one)) == identity(os.fstat(other))


def _copy_into_place(folder: int, name: bytes, target: int, new_name: bytes) -> None:
    spare = spare_name(b"move")
    try:
        copy(folder, name, target, spare)
        os.rename(spare, new_name, src_dir_fd=target, dst_dir_fd=target)
    except BaseException:
        try:
            remove(target, spare)
        except FileNotFoundError:
            pass  # it failed before the copy began
        raise
