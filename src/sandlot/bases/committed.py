"""Seeding from a commit: the files as they are in it, in a repository that has just checked it out."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases import manifest
from sandlot.bases.building import build_lock
from sandlot.bases.checkout import nested_repository
from sandlot.bases.content import copy_hashed
from sandlot.bases.descent import FOLDER, Descent
from sandlot.bases.gitfolder import GitFolder, write_git_folder
from sandlot.bases.gitref import Target, resolve
from sandlot.bases.gitview import GitView, open_view
from sandlot.bases.manifest import ID_LENGTH, Rows
from sandlot.bases.progress import Progress
from sandlot.bases.records import LayerFacts, write_layer
from sandlot.bases.repository import Repository, bare_repository, find_repository
from sandlot.bases.scan import scan_all, shown
from sandlot.bases.source import Source
from sandlot.bases.tree import Draft, draft_layer
from sandlot.bases.workshop import Workshop, fingerprint
from sandlot.errors import GitFailed
from sandlot.model.base import Base, Origin, OriginKind

__all__ = ["Wanted", "build_commit", "seed_committed"]

_FORMAT = "git-commit-1"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A commit of one repository, and the folder it goes to."""

    prefix: bytes
    """Empty, or the folder of a submodule and a slash."""
    view: GitView
    target: Target


def seed_committed(shop: Workshop, source: Source) -> Base:
    """The base of a local repository's HEAD or ``ref``. Raises GitFailed, SeedUnreadable, OSError for our own side."""
    root = Path(source.location)
    repository = find_repository(root) if source.checkout else bare_repository(root)
    if repository is None:
        raise GitFailed(f"{shown(root, b'')} is not a git repository")
    views = shop.folder / "views"
    views.mkdir()
    view = open_view(repository, views / "0")
    wanted = [Wanted(b"", view, resolve(view, source.ref, source.location))]
    if source.checkout:
        _add_modules(wanted, repository, views)
    now = fingerprint("committed", source.location, source.ref or "", _digest(wanted))
    base = shop.known(now)
    if base is not None:
        return base
    with build_lock(shop.paths, now):
        base = shop.known(now)
        if base is None:
            base = build_commit(shop, wanted, source.location, source.ref)
            shop.remember(now, base)
        return base


def build_commit(shop: Workshop, wanted: list[Wanted], location: str, ref: str | None) -> Base:
    """Check commits out into new layers and make a base of them. Raises as seed_committed."""
    git_folder, tree_folder = shop.folder / "git", shop.folder / "tree"
    (tree_folder / "workspace").mkdir(parents=True)
    written = 0
    checked_out: list[tuple[GitFolder, Path]] = []
    for item in wanted:
        prefix = os.fsdecode(item.prefix)
        folder = write_git_folder(
            item.view,
            git_folder / "workspace" / prefix / ".git",
            shop.progress,
            head=item.target.head,
            add_refs=item.target.add_refs,
            settings=item.target.settings,
            index=False,
        )
        work_tree = tree_folder / "workspace" / prefix
        shop.progress("checking out files")
        folder.git(
            "-c", "checkout.workers=4", "read-tree", "--reset", "-u", item.target.commit,
            work_tree=work_tree, doing=f"cannot check out {item.target.commit}",
        )  # fmt: skip
        written += folder.written
        checked_out.append((folder, work_tree))
    top = wanted[0]
    moment = int(top.view.git("rev-list", "--max-count=1", "--timestamp", top.target.commit).split()[0])
    # Not in the future: a file as new as the index would be hashed by every `git status`.
    rows, size = _settle(tree_folder / "workspace", min(max(moment, 0), int(time.time()) - 2) * 10**9, shop.progress)
    for folder, work_tree in checked_out:
        folder.git("update-index", "-q", "--refresh", work_tree=work_tree)
        written += (folder.path / "index").stat().st_size if (folder.path / "index").exists() else 0
    tree = draft_layer(tree_folder, "tree", rows, size)
    layer = fingerprint(_FORMAT, _digest(wanted))[:ID_LENGTH]
    write_layer(git_folder, LayerFacts("git", 0, written))
    files, total = manifest.tally(rows)
    origin = Origin(
        OriginKind.GIT, location, commit=top.target.commit, ref=ref or top.target.branch, files=files, bytes=total
    )
    drafts = (Draft(layer, git_folder, written), tree)
    return shop.finish((manifest.tree_id("tree", rows), layer), (layer, tree.layer), drafts, origin)


def _digest(wanted: list[Wanted]) -> bytes:
    parts: list[bytes | str] = []
    for item in wanted:
        parts += [item.prefix, item.view.digest(index=False), item.target.head, item.target.commit]
    return fingerprint(*parts).encode()


def _add_modules(wanted: list[Wanted], top: Repository, views: Path) -> None:
    """Add the submodules that are checked out at the source, at the commits recorded for them."""
    for item in wanted:  # grows while we go through it: submodules have submodules
        listed = item.view.git("ls-tree", "-r", "-z", item.target.commit, doing="cannot read the commit")
        for record in listed.split(b"\0"):
            if not record.startswith(b"160000 "):
                continue
            facts, _, name = record.partition(b"\t")
            path = item.prefix + name
            repository = nested_repository(top.root, path, top)
            if repository is None:
                continue
            view = open_view(repository, views / str(len(wanted)))
            commit = view.commit(facts.split(b" ")[2].decode())
            if commit is not None:
                wanted.append(Wanted(path + b"/", view, Target(commit, commit.encode())))


def _settle(root: Path, mtime_ns: int, progress: Progress) -> tuple[Rows, int]:
    """Give a tree that git just wrote the modes and times it has everywhere; returns its rows and bytes."""
    rows: Rows = {}
    total = 0
    fd = os.open(root, FOLDER)
    try:
        scan = scan_all(root, fd)
        with Descent(fd) as place:
            for number, found in enumerate(scan.entries):
                progress("reading files", number, len(scan.entries))
                if stat.S_ISDIR(found.info.st_mode):
                    rows[found.path] = manifest.folder_row(0o755, mtime_ns)
                    continue
                *above, name = found.path.split(b"/")
                place.goto(above)
                if stat.S_ISLNK(found.info.st_mode):
                    os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=place.fd, follow_symlinks=False)
                    rows[found.path] = manifest.symlink_row(mtime_ns, found.target)
                    continue
                mode = 0o755 if found.info.st_mode & 0o100 else 0o644
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
                try:
                    digest, _ = copy_hashed(file, found.info.st_size, None)
                    os.fchmod(file, mode)
                    os.utime(file, ns=(mtime_ns, mtime_ns))
                finally:
                    os.close(file)
                rows[found.path] = manifest.file_row(mode, found.info.st_size, mtime_ns, digest)
                total += found.info.st_size
            for found in reversed(scan.entries):
                if stat.S_ISDIR(found.info.st_mode):
                    place.goto(found.path.split(b"/") if found.path else [])
                    os.fchmod(place.fd, 0o755)
                    os.utime(place.fd, ns=(mtime_ns, mtime_ns))
    finally:
        os.close(fd)
    return rows, total
