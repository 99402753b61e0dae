"""Whatever members say: nothing outside the tree is touched, and the index knows exactly what is on disk."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.bases.environments.rootfs import RootTree
from sandlot.bases.members import Member
from sandlot.bases.trees import remove_tree
from sandlot.errors import ImageRefused

PARTS = st.sampled_from([b"a", b"b", b"c", b"d", b".wh.a", b".wh.b", b".wh..wh..opq", b".", b".."])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(b"/".join)
TARGETS = st.one_of(PATHS, PATHS.map(lambda path: b"/" + path), st.sampled_from([b"../../outside", b"/", b".."]))


@st.composite
def members(draw: st.DrawFn) -> Member:
    kind = draw(st.sampled_from("fdlh"))
    name = draw(PATHS)
    if kind == "f":
        content = draw(st.binary(max_size=8))
        pieces = [content, b""]
        return Member(name, "f", draw(st.integers(0, 0o777)), 1, len(content), read=lambda _: pieces.pop(0))
    return Member(name, kind, 0o755, 1, target=b"" if kind == "d" else draw(TARGETS))


def on_disk(root: bytes) -> dict[bytes, str]:
    found = {b"": "d"}
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            found[os.path.relpath(path, root)] = "l" if stat.S_ISLNK(mode) else "d" if stat.S_ISDIR(mode) else "f"
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(members(), max_size=8), min_size=1, max_size=4))
def test_no_layers_reach_outside_and_the_index_is_true(layers: list[list[Member]]) -> None:
    outside = Path(tempfile.mkdtemp(prefix="sl-rootfs-"))
    try:
        for name in ("a", "b", "outside"):
            (outside / name).write_bytes(b"untouched")
        (outside / "x/tree").mkdir(parents=True)
        with RootTree(outside / "x/tree") as tree:
            for each in layers:
                with contextlib.suppress(ImageRefused):  # up to where it is refused; an import ends there
                    tree.apply(each)
            known = {path: node.kind for path, node in tree.walk()}
            tree.settle()
        assert known == on_disk(os.fsencode(outside / "x/tree"))
        assert sorted(os.listdir(outside)) == ["a", "b", "outside", "x"]
        assert os.listdir(outside / "x") == ["tree"]
        for name in ("a", "b", "outside"):
            assert (outside / name).read_bytes() == b"untouched"
            assert os.stat(outside / name).st_nlink == 1, "no hard link to it either"
    finally:
        remove_tree(outside)
