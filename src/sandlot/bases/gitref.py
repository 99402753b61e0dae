"""Which commit a ref stands for, and what HEAD becomes when it is checked out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandlot.bases.gitview import GitView
from sandlot.errors import GitFailed

__all__ = ["Target", "resolve"]


@dataclass(frozen=True, slots=True)
class Target:
    """A commit to check out."""

    commit: str
    head: bytes
    """What HEAD holds then: the branch, or the commit itself."""
    add_refs: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def branch(self) -> str | None:
        name = self.head.removeprefix(b"ref: refs/heads/")
        return None if name == self.head else os.fsdecode(name)


def resolve(view: GitView, ref: str | None, where: str, *, cloned: bool = False) -> Target:
    """The commit of ``ref`` (None: what HEAD is) in a repository that messages call ``where``.

    In a fresh clone (``cloned``) the name of a remote's branch makes a local branch that follows it, as git's own
    checkout does. Raises GitFailed.
    """
    if ref is None:
        commit = view.commit()
        if commit is None:
            raise GitFailed(f"{where} has no commit yet", hint="commit something, or seed the working copy as it is")
        return Target(commit, view.head)
    refs = view.refs
    name = f"refs/heads/{ref}"
    if name not in refs and cloned and f"refs/remotes/origin/{ref}" in refs:
        commit = refs[f"refs/remotes/origin/{ref}"][0]
        follows = ((f"branch.{ref}.remote", "origin"), (f"branch.{ref}.merge", name))
        return Target(commit, b"ref: " + os.fsencode(name), {name: commit}, follows)
    commit = view.commit(name if name in refs else ref)
    if commit is None:
        raise GitFailed(f"no branch, tag or commit {ref!r} in {where}")
    return Target(commit, b"ref: " + os.fsencode(name) if name in refs else commit.encode())
