"""What a setup has changed in an environment's root, put on top of it; code that we do not trust has changed it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sandlot.bases.beneath import open_file
from sandlot.bases.environments.rootfs import RootTree
from sandlot.bases.members import Member
from sandlot.bases.view import View, is_whiteout
from sandlot.errors import ArchiveRefused, BuildFailed

__all__ = ["put_on_top"]


def put_on_top(tree: RootTree, upper: Path) -> None:
    """Apply an overlay's upper folder, of a workspace that has ended, as one more layer.

    What may be there is what may be in an image's layer; sockets and FIFOs are left out. Raises BuildFailed, OSError.
    """
    tree.begin_layer()
    links: dict[tuple[int, int], bytes] = {}
    try:
        with View([upper]) as view:
            pending = [b""]
            while pending:
                path = pending.pop()
                if path and view.opaque(0, path):
                    tree.hide(*tree.enter(path.split(b"/")))
                prefix = path + b"/" if path else b""
                for name, _ in view.names(path):
                    child = prefix + name
                    info = view.in_layer(0, child)
                    if info is None:
                        continue
                    _put(tree, view, path, name, info, links)
                    if stat.S_ISDIR(info.st_mode):
                        pending.append(child)
    except ArchiveRefused as error:
        raise BuildFailed(f"the setup left something behind that cannot be kept: {error.message}") from error


def _put(
    tree: RootTree, view: View, path: bytes, name: bytes, info: os.stat_result, links: dict[tuple[int, int], bytes]
) -> None:
    parts = path.split(b"/") if path else []
    child = b"/".join([*parts, name])
    mode, mtime_ns = stat.S_IMODE(info.st_mode) & 0o777, max(0, info.st_mtime_ns)
    if is_whiteout(info):
        tree.remove(*tree.enter(parts), name)
    elif stat.S_ISDIR(info.st_mode):
        tree.add(Member(child, "d", mode, mtime_ns))
    elif stat.S_ISLNK(info.st_mode):
        tree.add(Member(child, "l", mode, mtime_ns, target=os.readlink(name, dir_fd=view.folder(0, path))))
    elif stat.S_ISREG(info.st_mode):
        leader = links.setdefault((info.st_dev, info.st_ino), child) if info.st_nlink > 1 else child
        if leader != child:
            tree.add(Member(child, "h", 0, mtime_ns, target=leader))
            return
        fd = open_file(view.folder(0, path), name)
        try:
            size = os.fstat(fd).st_size
            tree.add(Member(child, "f", mode, mtime_ns, size, read=lambda count: os.read(fd, count)))
        finally:
            os.close(fd)
    else:
        tree.skipped.append(child)
