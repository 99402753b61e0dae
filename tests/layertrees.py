"""Random trees in overlayfs's on-disk format, and plain descriptions of trees to compare them by."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from sandlot.bases.view import View

NAMES = [b"a", b"b", b"new\nline", b'quo"te \\', b"\xff\xfe", b"-x"]
CONTENTS = [
    b"",
    b"one\ntwo\nthree\n",
    b"one\n2\nthree\n",
    b"one\ntwo\nthree",
    b"one\r\ntwo\r\n",
    b"\0\1binary\xff" * 5,
    b"\0\1Binary\xff" * 5,
    b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n",
    b"".join(b"%d\n" % number for number in range(40)),
    b"".join(b"%d\n" % number for number in range(41)),
    b"x" * 9000 + b"\0\nlate zero\n",
]
# None of them exists in a tree: where a symlink that leads to another one becomes a folder, git apply may refuse the
# files in it ("beyond a symbolic link"), whoever made the patch.
TARGETS = [b"missing", b"../missing", b"/etc/passwd", b"no\nwhere"]


@dataclass(frozen=True)
class File:
    content: bytes
    executable: bool


@dataclass(frozen=True)
class Link:
    target: bytes


@dataclass(frozen=True)
class Gone:
    """A whiteout."""


@dataclass(frozen=True)
class Folder:
    children: dict[bytes, Node]
    opaque: bool = False


Node = File | Link | Gone | Folder
State = dict[bytes, tuple[object, ...]]

_files = st.builds(File, st.sampled_from(CONTENTS), st.booleans())
_links = st.builds(Link, st.sampled_from(TARGETS))


def layers(*, lowest: bool = False) -> st.SearchStrategy[Folder]:
    """One layer; the lowest has nothing to hide."""
    leaves: list[st.SearchStrategy[Node]] = [_files, _files, _links]
    if not lowest:
        leaves.append(st.builds(Gone))
    opaque = st.just(False) if lowest else st.booleans()
    folder = st.recursive(
        st.one_of(leaves),
        lambda inner: st.builds(Folder, st.dictionaries(st.sampled_from(NAMES), inner, max_size=4), opaque),
        max_leaves=12,
    )
    return st.builds(Folder, st.dictionaries(st.sampled_from(NAMES), folder, max_size=4))


def stacks(least: int = 1, most: int = 4) -> st.SearchStrategy[list[Folder]]:
    """Layers, lowest first."""
    return st.builds(
        lambda first, others: [first, *others],
        layers(lowest=True),
        st.lists(layers(), min_size=least - 1, max_size=most - 1),
    )


def build(folder: Path, tree: Folder) -> Path:
    """Write one layer to disk."""
    folder.mkdir()
    for name, node in tree.children.items():
        path = folder / os.fsdecode(name)
        if isinstance(node, File):
            path.write_bytes(node.content)
            path.chmod(0o755 if node.executable else 0o644)
        elif isinstance(node, Link):
            os.symlink(node.target, os.fsencode(path))
        elif isinstance(node, Gone):
            os.mknod(path, stat.S_IFCHR)
        else:
            build(path, node)
    if tree.opaque:
        os.setxattr(folder, "user.overlay.opaque", b"y")
    return folder


def state_of_view(stack: list[Path]) -> State:
    """What a stack shows."""
    state: State = {}
    with View(stack) as view:
        for entry in view.walk():
            if entry.is_folder:
                state[entry.path] = ("folder",)
            elif entry.is_symlink:
                state[entry.path] = ("link", view.readlink(entry))
            elif entry.is_file:
                with open(view.open(entry), "rb") as file:
                    state[entry.path] = ("file", file.read(), bool(entry.info.st_mode & 0o100))
    return state


def state_of_tree(root: Path) -> State:
    """What a plain folder holds."""
    state: State = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            key = os.path.relpath(path, top)
            if stat.S_ISLNK(info.st_mode):
                state[key] = ("link", os.readlink(path))
            elif stat.S_ISDIR(info.st_mode):
                state[key] = ("folder",)
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    state[key] = ("file", file.read(), bool(info.st_mode & 0o100))
    return state


def without_folders(state: State) -> State:
    """As git sees it."""
    return {path: value for path, value in state.items() if value != ("folder",)}
