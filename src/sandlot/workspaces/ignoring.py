"""New files that git ignores: build products and caches, which nobody wants in a diff or handed back.

Only files that the older state does not have are ever left out, so an ignore rule cannot hide a change to anything
that was there. The rules are the ``.gitignore`` files of the newer state, as ``git status`` inside reads them; they
are data to a git folder of our own, which runs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sandlot.bases.view import View
from sandlot.errors import GitFailed
from sandlot.workspaces.candidates import Selection, candidates
from sandlot.workspaces.private_git import PrivateGit, private_git

__all__ = ["ignored_additions"]

_RULES: Final = b".gitignore"
_RULES_BYTES: Final = 1 << 20
"""A longer .gitignore is not read: it is none that a person wrote."""
_LONGEST_PATH: Final = 4000
_HERE: Final = b"./"


def ignored_additions(
    old: Sequence[Path], new: Sequence[Path], *, scratch: Path, paths: Sequence[bytes] = ()
) -> frozenset[bytes]:
    """Paths that only ``new`` has and that its git ignores; none when its root is no git work tree."""
    with View(old) as before, View(new, alongside=before) as after:
        if after.lookup(b".git") is None:
            return frozenset()
        pairs = candidates(before, after, Selection.of(paths))
        added = [pair.path for pair in pairs if pair.old is None and pair.new is not None]
        added = [path for path in added if len(path) < _LONGEST_PATH]
        rules = _rules(after, added)
    if not rules:
        return frozenset()
    with private_git(scratch) as git:
        return _ask(git, rules, added)


def _rules(view: View, added: Sequence[bytes]) -> dict[bytes, bytes]:
    """Content of the .gitignore files in all folders that lead to the added files."""
    folders = {b""}
    for path in added:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            if path in folders:
                break
            folders.add(path)
    found = {}
    for folder in folders:
        path = folder + b"/" + _RULES if folder else _RULES
        entry = view.lookup(path)
        if entry is not None and entry.is_file and entry.info.st_size <= _RULES_BYTES:
            with open(view.open(entry), "rb") as file:
                found[path] = file.read(_RULES_BYTES)
    return found


def _ask(git: PrivateGit, rules: dict[bytes, bytes], added: Sequence[bytes]) -> frozenset[bytes]:
    tree = git.root / "rules"
    tree.mkdir(mode=0o700)
    for path, content in rules.items():
        target = Path(tree, os.fsdecode(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    # Told apart from pathspec magic: a file may be named ":(top)x".
    question = b"".join(_HERE + path + b"\0" for path in added)
    done = git.run(["check-ignore", "--no-index", "--stdin", "-z"], work_tree=tree, stdin=question)
    if done.returncode not in (0, 1):
        raise GitFailed(f"git cannot say what is ignored: {done.message}")
    return frozenset(path.removeprefix(_HERE) for path in done.stdout.split(b"\0") if path)
