"""A root file system being made: layers of members applied one after the other, none of them believed.

Everything is written below one folder through descriptors, a component at a time and never through a symlink on disk.
What a symlink of the image means for the members behind it is worked out in an index in memory, with the tree's own
root as the root: a package may well put a file into ``lib`` where that is a link to ``usr/lib``, and an image that
tries the same with a link to somewhere above its root is refused.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sandlot.bases import manifest
from sandlot.bases.content import Truncated, write_stream
from sandlot.bases.descent import FOLDER, Descent
from sandlot.bases.manifest import Rows
from sandlot.bases.members import MAX_COMPONENT, MAX_DEPTH, MAX_TARGET, Member, normal_path, refused
from sandlot.bases.trees import remove_beneath
from sandlot.bases.writing import link_beneath
from sandlot.errors import ArchiveRefused, ImageRefused

__all__ = ["MAX_ENTRIES", "MAX_LAYERS", "MAX_TREE_BYTES", "Node", "RootTree"]

MAX_TREE_BYTES = 20 << 30
"""Content that all layers of one environment may expand to."""
MAX_ENTRIES = 1_000_000
"""Members of all its layers together."""
MAX_LAYERS = 500
MAX_HOPS = 40
"""Symlinks followed for one member, as the kernel does it (path_resolution(7))."""
MAX_STEPS = 50_000_000
"""Components looked up for all members together: long symlinks behind each other cost time and no bytes."""
MAX_SKIPPED = 100
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Node:
    """What the index knows of one path."""

    __slots__ = ("children", "kind", "layer", "mode", "mtime_ns", "row", "target")

    def __init__(self, kind: str, layer: int, mode: int = 0o755, mtime_ns: int = 0) -> None:
        self.kind = kind
        """``f``, ``d`` or ``l``."""
        self.layer = layer
        """The layer that put it there: whiteouts hide what is of lower ones."""
        self.mode = mode
        self.mtime_ns = mtime_ns
        self.target = b""
        self.row = b""
        self.children: dict[bytes, Node] = {}


class RootTree:
    """The tree below ``folder``, which must be empty. Use as a context manager; ``settle`` comes last."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = MAX_TREE_BYTES,
        max_entries: int = MAX_ENTRIES,
        keep_links: bool = False,
    ) -> None:
        """``keep_links``: a folder of a layer leaves a symlink to a folder in its place, as dpkg does."""
        self._keep_links = keep_links
        self.root = Node("d", 0)
        self.skipped: list[bytes] = []
        self._max_bytes, self._max_entries = max_bytes, max_entries
        self._bytes = self._entries = self._layer = self._steps = 0
        self._top = os.open(folder, FOLDER)
        self._place = Descent(self._top)

    def __enter__(self) -> RootTree:
        return self

    def __exit__(self, *_: object) -> None:
        self._place.__exit__()
        os.close(self._top)

    # -- layers ------------------------------------------------------------------------------------------------

    def apply(self, members: Iterable[Member]) -> None:
        """Put one more layer on top. Raises ImageRefused, and OSError for our side."""
        self.begin_layer()
        try:
            for member in members:
                name = member.name.rstrip(b"/").rpartition(b"/")[2]
                if name.startswith(WHITEOUT):
                    self._count(member)
                    self._whiteout(normal_path(member.name).split(b"/")[:-1], name, member)
                else:
                    self.add(member)
        except ArchiveRefused as error:
            raise ImageRefused(error.message.replace("archive member", "member", 1)) from error

    def begin_layer(self) -> None:
        """What is added from now on is in a layer of its own."""
        self._layer += 1
        if self._layer > MAX_LAYERS:
            raise ImageRefused(f"there are more than {MAX_LAYERS} layers")

    def add(self, member: Member) -> None:
        """Add one member to the layer. Raises ArchiveRefused, ImageRefused."""
        self._count(member)
        path = normal_path(member.name)
        if not path:
            if member.kind == "d":
                self.root.mode, self.root.mtime_ns = member.mode, member.mtime_ns
            return
        *above, name = path.split(b"/")
        if member.kind == "s":
            self._skip(member, path)
            return
        folder, parts = self.enter(above, member.mtime_ns, shown=member.name)
        if member.kind == "d":
            self._folder(folder, parts, name, member)
        elif member.kind == "l":
            if not 0 < len(member.target) <= MAX_TARGET:
                raise refused(member.name, "is a symlink with an unusable target")
            self.symlink(folder, parts, name, member.target, member.mtime_ns)
        elif member.kind == "h":
            self._link(folder, parts, name, member)
        else:
            self._file(folder, parts, name, member)

    def _count(self, member: Member) -> None:
        self._entries += 1
        self._bytes += max(0, member.size)
        if member.size < 0:
            raise refused(member.name, "has a negative size")
        if self._entries > self._max_entries or self._bytes > self._max_bytes:
            raise ImageRefused(
                f"it expands to more than {self._max_entries} entries or {self._max_bytes >> 20} MiB",
                hint="import a smaller image",
            )

    def _skip(self, member: Member, path: bytes) -> None:
        # Old images carry a few nodes in /dev, which is a file system of ours inside; elsewhere they serve no purpose.
        if member.device and not path.startswith(b"dev/"):
            raise refused(member.name, "is a device")
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped.append(path)

    def _whiteout(self, above: list[bytes], name: bytes, member: Member) -> None:
        if name != OPAQUE and name.startswith(WHITEOUT + WHITEOUT):
            return  # AUFS's own notes
        found = self._find(above, member.name)
        if found is None:
            return
        folder, parts = found
        if name == OPAQUE:
            self.hide(folder, parts)
            return
        gone = name[len(WHITEOUT) :]
        if gone in (b"", b".", b".."):
            raise refused(member.name, "is a whiteout of nothing")
        self.remove(folder, parts, gone, below=self._layer)

    def hide(self, folder: Node, parts: list[bytes]) -> None:
        """What lower layers have in a folder is no more; what this layer put there stays, whatever the order."""
        pending = [(folder, parts)]
        while pending:
            folder, parts = pending.pop()
            for name, child in list(folder.children.items()):
                self.remove(folder, parts, name, below=self._layer)
                if child.kind == "d" and child.layer >= self._layer:
                    pending.append((child, [*parts, name]))

    # -- places ------------------------------------------------------------------------------------------------

    def enter(self, parts: list[bytes], mtime_ns: int = 0, *, shown: bytes = b"") -> tuple[Node, list[bytes]]:
        """(folder, its real path) of a path whose folders are made where they are missing."""
        return self._walk(parts, shown or b"/".join(parts), mtime_ns)[:2]

    def _find(self, parts: list[bytes], shown: bytes) -> tuple[Node, list[bytes]] | None:
        node, real, missing = self._walk(parts, shown, None)
        return None if missing else (node, real)

    def _walk(self, parts: list[bytes], shown: bytes, making: int | None) -> tuple[Node, list[bytes], bool]:
        ahead = list(reversed(parts))
        trail: list[tuple[bytes, Node]] = []
        hops = 0
        while ahead:
            part = ahead.pop()
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise refused(shown, "is behind too many symlinks")
            here = trail[-1][1] if trail else self.root
            if part == b"..":
                if not trail:
                    raise refused(shown, "is behind a symlink that leaves the tree")
                trail.pop()
                continue
            child = here.children.get(part)
            if child is None:
                if making is None:
                    return here, [name for name, _ in trail], True
                child = self._make(here, [name for name, _ in trail], part, making, shown)
            if child.kind == "l":
                hops += 1
                if hops > MAX_HOPS:
                    raise refused(shown, "is behind too many symlinks")
                if child.target.startswith(b"/"):
                    trail.clear()
                ahead += [each for each in reversed(child.target.split(b"/")) if each not in (b"", b".")]
                continue
            if child.kind != "d":
                raise refused(shown, "is below something that is no folder")
            trail.append((part, child))
            if len(trail) > MAX_DEPTH:
                raise refused(shown, "is too deep")
        return (trail[-1][1] if trail else self.root), [name for name, _ in trail], False

    def _make(self, here: Node, parts: list[bytes], name: bytes, mtime_ns: int, shown: bytes) -> Node:
        if len(name) > MAX_COMPONENT:  # from a symlink's target: a member's own are checked
            raise refused(shown, "has too long a name")
        self._entries += 1
        self._place.goto(parts)
        os.mkdir(name, 0o700, dir_fd=self._place.fd)
        made = here.children[name] = Node("d", self._layer, 0o755, mtime_ns)
        return made

    # -- entries -----------------------------------------------------------------------------------------------

    def remove(self, folder: Node, parts: list[bytes], name: bytes, *, below: int | None = None) -> None:
        """Take an entry away, if it is there; ``below``: only what lower layers than this one have put there."""
        child = folder.children.get(name)
        if child is None or (below is not None and child.layer >= below):
            return
        self._place.goto(parts)
        remove_beneath(self._place.fd, name)
        del folder.children[name]

    def _room(self, folder: Node, parts: list[bytes], name: bytes) -> int:
        """The descriptor of a folder in which nothing has that name any more."""
        self.remove(folder, parts, name)
        self._place.goto(parts)
        return self._place.fd

    def _folder(self, folder: Node, parts: list[bytes], name: bytes, member: Member) -> None:
        child = folder.children.get(name)
        if child is not None and child.kind == "l" and self._keep_links and self._find([*parts, name], member.name):
            return
        if child is None or child.kind != "d":
            os.mkdir(name, 0o700, dir_fd=self._room(folder, parts, name))
            child = folder.children[name] = Node("d", self._layer)
        child.layer, child.mode, child.mtime_ns = self._layer, member.mode, member.mtime_ns

    def symlink(self, folder: Node, parts: list[bytes], name: bytes, target: bytes, mtime_ns: int = 0) -> None:
        """Put a symlink in place of whatever has its name."""
        fd = self._room(folder, parts, name)
        os.symlink(target, name, dir_fd=fd)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=fd, follow_symlinks=False)
        node = folder.children[name] = Node("l", self._layer, mtime_ns=mtime_ns)
        node.target, node.row = target, manifest.symlink_row(mtime_ns, target)

    def _file(self, folder: Node, parts: list[bytes], name: bytes, member: Member) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=self._room(folder, parts, name))
        mode = member.mode | 0o400  # whoever packs or hashes it need not be root
        try:
            digest, _ = write_stream(member.read or (lambda _: b""), member.size, fd)
            os.fchmod(fd, mode)
            os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
        except Truncated as error:
            raise refused(member.name, "is shorter than it says") from error
        finally:
            os.close(fd)
        node = folder.children[name] = Node("f", self._layer, mode, member.mtime_ns)
        node.row = manifest.file_row(mode, member.size, member.mtime_ns, digest)

    def put(self, folder: Node, parts: list[bytes], name: bytes, content: bytes) -> None:
        """Put a file of ours in place of whatever has its name."""
        self.stream(folder, parts, name, io.BytesIO(content).read, len(content))

    def stream(self, folder: Node, parts: list[bytes], name: bytes, read: Callable[[int], bytes], size: int) -> None:
        """The same for ``size`` bytes that are read piece by piece."""
        self._file(folder, parts, name, Member(name, "f", 0o644, 0, size, read=read))

    def _link(self, folder: Node, parts: list[bytes], name: bytes, member: Member) -> None:
        *above, last = normal_path(member.target).split(b"/")
        found = self._find(above, member.name)
        leader = found[0].children.get(last) if found else None
        if found is None or leader is None or leader.kind != "f":
            raise refused(member.name, "is a hard link to what is no file of the tree")
        if leader is folder.children.get(name):
            return
        fd = self._room(folder, parts, name)
        link_beneath(self._top, b"/".join([*found[1], last]), fd, name)
        node = folder.children[name] = Node("f", self._layer, leader.mode, leader.mtime_ns)
        node.row = leader.row

    # -- the parent's tree, and the end ------------------------------------------------------------------------

    def graft(self, source: int, rows: Rows, *, share: bool = True) -> None:
        """Start with a tree of the store, open as ``source``, whose manifest has these rows.

        Its files are shared by hard links (nothing ever writes to a file of the store) unless ``share`` is False.
        """
        from sandlot.bases.environments.grafting import graft

        graft(self, self._top, source, rows, share=share)

    def read(self, parts: list[bytes], limit: int) -> bytes | None:
        """The beginning of a regular file of the tree; None where there is none."""
        found = self._find(parts[:-1], b"/".join(parts))
        node = found[0].children.get(parts[-1]) if found else None
        if found is None or node is None or node.kind != "f":
            return None
        self._place.goto(found[1])
        fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._place.fd)
        try:
            return os.read(fd, limit)
        finally:
            os.close(fd)

    def has(self, path: str) -> bool:
        """Whether there is a file at an absolute path, symlinks followed as the tree's own root has them."""
        parts = path.encode().strip(b"/").split(b"/")
        for _ in range(MAX_HOPS):
            try:
                found = self._find(parts[:-1], path.encode())
            except ArchiveRefused:
                return False
            node = found[0].children.get(parts[-1]) if found else None
            if found is None or node is None or node.kind != "l":
                return node is not None and node.kind == "f"
            target = [part for part in node.target.split(b"/") if part not in (b"", b".")]
            parts = target if node.target.startswith(b"/") else [*found[1], *target]
            if not parts or parts[-1] == b"..":
                return False
        return False

    def walk(self) -> Iterator[tuple[bytes, Node]]:
        """(path, node) of everything, each folder before what is in it."""
        pending: list[tuple[bytes, Node]] = [(b"", self.root)]
        while pending:
            path, node = pending.pop()
            yield path, node
            prefix = path + b"/" if path else b""
            pending += [(prefix + name, child) for name, child in node.children.items()]

    def settle(self) -> Rows:
        """Give the folders their modes and times, innermost first; returns the rows of the whole tree."""
        rows: Rows = {}
        folders = []
        for path, node in self.walk():
            if node.kind == "d":
                folders.append((path, node))
                node.row = manifest.folder_row(node.mode | 0o500, node.mtime_ns)
            rows[path] = node.row
        for path, node in reversed(folders):
            self._place.goto(path.split(b"/") if path else [])
            os.fchmod(self._place.fd, node.mode & 0o777 | 0o500)
            os.utime(self._place.fd, ns=(node.mtime_ns, node.mtime_ns))
        return rows
