"""Seeding from a git working copy as it is, uncommitted changes included."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.bases import manifest
from sandlot.bases.building import build_lock
from sandlot.bases.folder import refuse_own_state
from sandlot.bases.gitfolder import write_git_folder
from sandlot.bases.gitview import GitView, Status, open_view
from sandlot.bases.last import Last, stamps_of
from sandlot.bases.manifest import ID_LENGTH
from sandlot.bases.records import LayerFacts, write_layer
from sandlot.bases.repository import Repository, find_repository
from sandlot.bases.scan import Scan, open_source, scan_all, scan_paths, shown
from sandlot.bases.source import Source
from sandlot.bases.tree import Draft, build_tree
from sandlot.bases.workshop import Workshop, fingerprint
from sandlot.errors import GitFailed
from sandlot.model.base import Base, Origin, OriginKind

__all__ = ["nested_repository", "seed_checkout"]

_FORMAT = "git-1"


@dataclass(frozen=True, slots=True)
class _Member:
    """One repository of the working copy: the top one, or a submodule or other repository in it."""

    prefix: bytes
    """Its folder and a slash; empty for the top one."""
    view: GitView
    status: Status | None
    modules: dict[bytes, str] = field(default_factory=dict)
    """Submodules in its index, and the commits they are recorded at."""

    def below(self, paths: Iterable[bytes]) -> list[bytes]:
        return [self.prefix + path for path in paths]


@dataclass(frozen=True, slots=True)
class _Look:
    """All that decides what the base will be, at one moment."""

    members: tuple[_Member, ...]
    scan: Scan
    """The changed and untracked files; with ignored ones asked for, everything."""

    def fingerprint(self, source: Source) -> str:
        parts: list[bytes | str] = ["checkout", source.location, str(source.include_ignored), self.scan.digest()]
        for member in self.members:
            parts += [member.prefix, member.view.digest(index=True), member.status.raw if member.status else b""]
        return fingerprint(*parts)

    @property
    def anchors(self) -> tuple[bytes, ...]:
        return tuple(member.prefix[:-1] for member in self.members if member.prefix)


class _Checkout:
    """A working copy that is being seeded."""

    def __init__(self, shop: Workshop, source: Source, fd: int) -> None:
        self.shop = shop
        self.source = source
        self.root = Path(source.location)
        self.fd = fd
        self.forbidden = refuse_own_state(self.root, fd, shop.paths)
        repository = find_repository(self.root)
        if repository is None:
            raise GitFailed(
                f"{shown(self.root, b'')} has a .git that is no git repository",
                hint="repair or remove it; without .git it is seeded as a plain folder",
            )
        self.top = repository

    def look(self, name: str) -> _Look:
        """Find out the state of the source; ``name`` names the views in the workshop."""
        views = self.shop.folder / name
        views.mkdir()
        if self.source.include_ignored:
            return self._look_at_all(views)
        members: list[_Member] = []
        pending = [(b"", self.top)]
        while pending:
            prefix, repository = pending.pop()
            view = open_view(repository, views / str(len(members)))
            status = view.status()
            modules = view.tracked()[1] if view.may_have_modules() else {}
            member = _Member(prefix, view, status, modules)
            members.append(member)
            for path in member.below([*modules, *status.nested]):
                nested = nested_repository(self.root, path, self.top)
                if nested is not None:
                    pending.append((path + b"/", nested))
        dirty: list[bytes] = []
        for member in members:
            assert member.status is not None  # noqa: S101 - set just above
            dirty += member.below([*member.status.changed, *member.status.untracked])
        return _Look(tuple(members), scan_paths(self.root, self.fd, dirty, forbidden=self.forbidden))

    def _look_at_all(self, views: Path) -> _Look:
        found: list[tuple[bytes, Repository]] = [(b"", self.top)]

        def leave_out(path: bytes, names: list[bytes]) -> Iterable[bytes]:
            if b".git" not in names:
                return ()
            if path:
                nested = nested_repository(self.root, path, self.top)
                if nested is None:
                    return ()
                found.append((path + b"/", nested))
            return (b".git",)

        scan = scan_all(self.root, self.fd, forbidden=self.forbidden, leave_out=leave_out)
        members = [
            _Member(prefix, open_view(repository, views / str(number)), None)
            for number, (prefix, repository) in enumerate(found)
        ]
        return _Look(tuple(members), scan)

    def scan(self, look: _Look) -> Scan:
        """Everything the base is to hold, ``.git`` aside."""
        if self.source.include_ignored:
            return look.scan
        paths: list[bytes] = []
        folders: set[bytes] = set()
        for member in look.members:
            assert member.status is not None  # noqa: S101 - only include_ignored does without
            tracked, modules = member.view.tracked()
            paths += member.below(path for path in tracked if b".git" not in path.split(b"/"))
            paths += member.below(member.status.untracked)
            empty = _empty_folders(member.view)
            folders.update(member.below([*modules, *member.status.nested, *empty]))
        return scan_paths(self.root, self.fd, [*paths, *folders], folders=folders, forbidden=self.forbidden)

    def git_layer(self, look: _Look) -> tuple[str, tuple[Draft, ...]]:
        """The layer that holds the ``.git`` folders: its id, and its draft unless the store has it."""
        parts: list[bytes | str] = [_FORMAT]
        for member in look.members:
            parts += [member.prefix, member.view.digest(index=True)]
        layer = fingerprint(*parts)[:ID_LENGTH]
        if self.shop.paths.layer(layer).is_dir():
            return layer, ()
        folder = self.shop.folder / "git"
        written = 0
        for member in look.members:
            target = folder / "workspace" / os.fsdecode(member.prefix) / ".git"
            written += write_git_folder(member.view, target, self.shop.progress).written
        write_layer(folder, LayerFacts("git", 0, written))
        return layer, (Draft(layer, folder, written),)

    def origin(self, look: _Look, scan: Scan, rows: manifest.Rows) -> Origin:
        top = look.members[0]
        statuses = {member.prefix: member.status or member.view.status() for member in look.members}
        moved = any(
            (status := statuses.get(member.prefix + path + b"/")) is not None and status.commit != commit
            for member in look.members
            for path, commit in member.modules.items()
        )
        files, size = manifest.tally(rows)
        return Origin(
            OriginKind.GIT,
            self.source.location,
            commit=statuses[b""].commit,
            ref=top.view.branch,
            dirty=moved or any(status.dirty for status in statuses.values()),
            files=files,
            bytes=size,
            skipped=scan.report(),
        )


def seed_checkout(shop: Workshop, source: Source) -> Base:
    """The base of a working copy as it is now. Raises PathNotFound, SeedUnreadable, GitFailed, OSError for our side."""
    fd = open_source(Path(source.location))
    try:
        checkout = _Checkout(shop, source, fd)
        shop.progress("asking git what changed")
        look = checkout.look("look")
        now = look.fingerprint(source)
        base = shop.known(now)
        if base is not None:
            return base
        key = fingerprint("checkout", source.location, str(source.include_ignored))
        with build_lock(shop.paths, key):
            return shop.known(now) or _build(shop, checkout, look, now, key)
    finally:
        os.close(fd)


def _build(shop: Workshop, checkout: _Checkout, look: _Look, now: str, key: str) -> Base:
    git_layer, git_drafts = checkout.git_layer(look)
    scan = checkout.scan(look)
    tree = build_tree(
        shop.paths,
        shop.folder / "tree",
        checkout.root,
        checkout.fd,
        scan,
        Last.load(shop.paths, key),
        shop.progress,
        anchors=look.anchors,
    )
    origin = checkout.origin(look, scan, tree.rows)
    base = shop.finish((tree.id, git_layer), (git_layer, *tree.layers), (*git_drafts, *tree.drafts), origin)
    Last(base.layers[1:], stamps_of(scan, tree.drifted)).save(shop.paths, key, shop.folder)
    # What git called clean may have been edited before it was copied: then the fingerprint does not stand for it.
    if not tree.drifted and look.scan.settled and checkout.look("again").fingerprint(checkout.source) == now:
        shop.remember(now, base)
    return base


def nested_repository(root: Path, path: bytes, top: Repository) -> Repository | None:
    """The repository in a folder of a working copy, or None. Raises GitFailed when it leads elsewhere."""
    folder = root / os.fsdecode(path)
    if os.path.realpath(folder) != os.path.join(os.path.realpath(root), os.fsdecode(path)):
        return None  # a symlink on the way
    return find_repository(folder, trusted=(top.common_dir,))


def _empty_folders(view: GitView) -> list[bytes]:
    """Folders that git does not see because nothing is in them."""
    listed = view.git("ls-files", "--others", "--directory", "--exclude-standard", "-z", doing="cannot list folders")
    empty = []
    root = os.fsencode(view.repository.root)
    for path in listed.split(b"\0"):
        if not path.endswith(b"/"):
            continue
        for folder, folders, files in os.walk(os.path.join(root, path[:-1])):
            if b".git" in folders or b".git" in files:
                folders.clear()
            elif not folders and not files:
                empty.append(folder[len(root) + 1 :])
    return empty
