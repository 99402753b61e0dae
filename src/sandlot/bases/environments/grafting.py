"""Starting a tree from another one of the store: its files shared, its folders made anew."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sandlot.bases.beneath import open_file
from sandlot.bases.copying import copy_content
from sandlot.bases.descent import Descent, tree_order
from sandlot.bases.manifest import Rows

if TYPE_CHECKING:
    from sandlot.bases.environments.rootfs import RootTree

__all__ = ["graft"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def graft(tree: RootTree, target: int, source: int, rows: Rows, *, share: bool) -> None:
    """Fill an empty tree; see ``RootTree.graft``. Raises OSError, ValueError for rows that are none."""
    from sandlot.bases.environments.rootfs import Node

    nodes = {b"": tree.root}
    links: dict[tuple[int, int], tuple[list[bytes], bytes]] = {}
    with Descent(source) as there, Descent(target) as here:
        for path in sorted(rows, key=tree_order):
            row = rows[path]
            kind, mode, _, mtime_ns, data = row.split(b" ", 4)
            if not path:
                tree.root.mode, tree.root.mtime_ns = int(mode, 8), int(mtime_ns)
                continue
            *above, name = path.split(b"/")
            node = Node(kind.decode(), 0, int(mode, 8), int(mtime_ns))
            node.row = row
            here.goto(above)
            if kind == b"d":
                os.mkdir(name, 0o700, dir_fd=here.fd)
            elif kind == b"l":
                os.symlink(data, name, dir_fd=here.fd)
                os.utime(name, ns=(node.mtime_ns, node.mtime_ns), dir_fd=here.fd, follow_symlinks=False)
                node.target = data
            else:
                there.goto(above)
                _file(there.fd, here, name, share, links)
            nodes[path] = nodes[b"/".join(above)].children[name] = node


def _file(
    source: int, here: Descent, name: bytes, share: bool, links: dict[tuple[int, int], tuple[list[bytes], bytes]]
) -> None:
    if share:
        try:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=here.fd, follow_symlinks=False)
            return
        except OSError:
            pass  # too many names of one file, or another file system
    reading = open_file(source, name)
    try:
        info = os.fstat(reading)
        identity = (info.st_dev, info.st_ino)
        if not share and info.st_nlink > 1 and identity in links:
            _link(here, links[identity], name)
            return
        links[identity] = (list(here.parts), name)
        writing = os.open(name, _CREATE, 0o600, dir_fd=here.fd)
        try:
            copy_content(reading, writing, info)
            os.fchmod(writing, info.st_mode & 0o777)
            os.utime(writing, ns=(info.st_mtime_ns, info.st_mtime_ns))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _link(here: Descent, leader: tuple[list[bytes], bytes], name: bytes) -> None:
    """Another name of a file copied before; it was in one tree as here, so its names are in reach of this one."""
    folder = os.dup(here.fd)
    back = list(here.parts)
    try:
        here.goto(leader[0])
        os.link(leader[1], name, src_dir_fd=here.fd, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        here.goto(back)
        os.close(folder)
