"""Seeding from a git URL: cloned with its whole history, at a branch, tag or commit."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sandlot.bases.building import build_lock
from sandlot.bases.committed import Wanted, build_commit
from sandlot.bases.gitcommand import network_environment, run_git
from sandlot.bases.gitref import resolve
from sandlot.bases.gitview import open_view
from sandlot.bases.repository import Repository
from sandlot.bases.source import Source, without_credentials
from sandlot.bases.workshop import Workshop, fingerprint
from sandlot.errors import GitFailed
from sandlot.model.base import Base

__all__ = ["seed_clone"]

ASK_TIMEOUT_S = 120.0
"""How long a remote may take to list its refs."""
CLONE_TIMEOUT_S = 3600.0
"""How long a clone may take."""

_FULL = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ABBREVIATED = re.compile(r"[0-9a-f]{4,64}")


def seed_clone(shop: Workshop, source: Source) -> Base:
    """The base of a remote repository's default branch or ``ref``; a full commit id that is known needs no network.

    Raises GitFailed with git's own message, OSError for our own side.
    """
    url = without_credentials(source.location)
    ref = source.ref
    commit = ref if ref is not None and _FULL.fullmatch(ref) else _ask(shop, source, url)
    base = None if commit is None else shop.known(_name(url, ref, commit))
    if base is not None:
        return base
    with build_lock(shop.paths, fingerprint("clone", url)):
        base = None if commit is None else shop.known(_name(url, ref, commit))
        return base or _clone(shop, source, url)


def _name(url: str, ref: str | None, commit: str) -> str:
    return fingerprint("clone", url, ref or "", commit)


def _ask(shop: Workshop, source: Source, url: str) -> str | None:
    """The commit a branch or tag is at now; None for what can only be an abbreviated commit id."""
    ref = source.ref
    names = ["HEAD"] if ref is None else [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", ref]
    shop.progress("asking the remote")
    listed = _remote_git(["ls-remote", "--quiet", "--", source.location, *names], source, url, ASK_TIMEOUT_S)
    found = {}
    for line in listed.decode("utf-8", "surrogateescape").splitlines():
        commit, _, name = line.partition("\t")
        found[name] = commit
    for name in names:
        if name in found:
            return found[name]
    if ref is None:
        raise GitFailed(f"{url} has no commit yet")
    if not _ABBREVIATED.fullmatch(ref):
        raise GitFailed(f"no branch or tag {ref!r} at {url}", hint=f"git ls-remote {url}")
    return None


def _clone(shop: Workshop, source: Source, url: str) -> Base:
    folder = shop.folder / "clone"
    shop.progress("cloning")
    arguments: list[str | Path] = [
        "-c", f"core.hooksPath={os.devnull}", "-c", "submodule.recurse=false",
        "clone", "--quiet", "--no-checkout", "--no-recurse-submodules", "--template=", "--origin", "origin",
        "--", source.location, folder,
    ]  # fmt: skip
    _remote_git(arguments, source, url, CLONE_TIMEOUT_S)
    git_dir = Path(os.path.realpath(folder / ".git"))
    view = open_view(Repository(folder, git_dir, git_dir, bare=True), shop.folder / "view")
    target = resolve(view, source.ref, url, cloned=True)
    base = build_commit(shop, [Wanted(b"", view, target)], url, source.ref)
    shop.remember(_name(url, source.ref, target.commit), base)
    return base


def _remote_git(arguments: list[str | Path], source: Source, url: str, timeout: float) -> bytes:
    try:
        return run_git(arguments, environment=network_environment(), timeout=timeout, doing=f"cannot use {url}")
    except GitFailed as error:  # git may repeat the URL as it was given to it
        message = error.message.replace(source.location, url)
        raise GitFailed(message, hint=error.hint) from None
