"""file_delete: remove a file, a symlink or a folder."""

from __future__ import annotations

import os
import stat

from sandlot.guest.tools import ToolError
from sandlot.guest.tools.arguments import Arguments, Naming, display
from sandlot.guest.tools.tree import identity, lies_within, locate, open_path, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandlot.guest.tools import Emit


def file_delete(args: list[bytes], _bulk: int, _emit: Emit) -> list[bytes]:
    """Delete one path; symlinks are deleted, never followed.

    Arguments: root; path; recursive (1: a folder with all that is in it; 0: only an empty one).

    Items: none.

    Result: files (and symlinks) removed; folders removed.

    The root and the folders above it are refused. Interrupted in the middle, a folder is partly gone.
    """
    fields = Arguments(args)
    root = fields.path("root")
    path = fields.path("path")
    recursive = fields.flag("recursive")
    with Naming(path):
        folder, name = locate(root, path)
        try:
            refuse_unnamed(path, name)
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                os.unlink(name, dir_fd=folder)
                return [b"1", b"0"]
            refuse_root(root, path, info)
            if recursive:
                files, folders = remove(folder, name)
            else:
                os.rmdir(name, dir_fd=folder)
                files, folders = 0, 1
        finally:
            os.close(folder)
    return [b"%d" % files, b"%d" % folders]


def refuse_unnamed(path: bytes, name: bytes) -> None:
    """Refuse a path that ends in ``.`` or ``..``: what it names cannot be renamed or removed by that name."""
    if name in (b".", b".."):
        raise ToolError("file_refused", f"{display(path)} is the workspace's root or ends in . or ..")


def refuse_root(root: bytes, path: bytes, info: os.stat_result) -> None:
    """Refuse the root folder and every folder that holds it."""
    top = open_path(root, os.O_PATH | os.O_DIRECTORY)
    try:
        if lies_within(top, identity(info)):
            raise ToolError("file_refused", f"{display(path)} is or holds the workspace's root")
    finally:
        os.close(top)
