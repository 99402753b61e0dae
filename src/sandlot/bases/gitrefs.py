"""Reading a repository's branches and tags from its files, whatever else lies between them."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from sandlot.bases.repository import read_small

__all__ = ["Refs", "read_refs", "refs_text"]

Refs = dict[str, tuple[str, str]]
"""name -> (object id, name of the ref it stands for or '')."""

PACKED_LIMIT = 1 << 30
_LOOSE_LIMIT = 4096
_KEPT = ("refs/heads", "refs/tags", "refs/remotes")
"""Not the stash, notes, replacements or what tools keep for themselves."""
_REF = re.compile(r"refs/(?:heads|tags|remotes)(?:/[^\0-\x20\x7f/~^:?*\[\\]+)+")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_ref(name: str) -> bool:
    """Whether this is a well-formed name of a branch, tag or remote-tracking branch (git-check-ref-format(1))."""
    if _REF.fullmatch(name) is None or ".." in name or "@{" in name or name.endswith("."):
        return False
    return not any(part.startswith(".") or part.endswith(".lock") for part in name.split("/"))


def read_refs(common_dir: Path) -> Refs:
    """The refs of a repository that keeps them in files; malformed ones are left out. Raises GitFailed."""
    packed = (read_small(common_dir / "packed-refs", PACKED_LIMIT) or b"").decode("utf-8", "surrogateescape")
    refs: Refs = {}
    for line in packed.split("\n"):
        object_id, _, name = line.partition(" ")
        if _OBJECT_ID.fullmatch(object_id) and is_ref(name):
            refs[name] = (object_id, "")
    symbolic = {}
    for top in _KEPT:
        for folder, _, names in os.walk(common_dir / top):
            for file in names:
                path = Path(folder, file)
                name = f"{top}{folder[len(str(common_dir / top)) :]}/{file}"
                if not is_ref(name) or not stat.S_ISREG(path.lstat().st_mode):
                    continue
                text = (read_small(path, _LOOSE_LIMIT) or b"").decode("utf-8", "surrogateescape").rstrip()
                if _OBJECT_ID.fullmatch(text):
                    refs[name] = (text, "")
                elif text.startswith("ref: ") and is_ref(text[5:]):
                    symbolic[name] = text[5:]
    for name, target in symbolic.items():
        if target in refs:
            refs[name] = (refs[target][0], target)
        else:
            refs.pop(name, None)
    return dict(sorted(refs.items()))


def refs_text(refs: Refs) -> bytes:
    """The refs as the content of a ``packed-refs`` file; one that stands for another as what that one is."""
    lines = ["# pack-refs with: sorted \n"]
    lines += [f"{refs[name][0]} {name}\n" for name in sorted(refs, key=os.fsencode)]
    return "".join(lines).encode("utf-8", "surrogateescape")
