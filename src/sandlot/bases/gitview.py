"""A source repository seen through a git folder of our own.

::

    <view>/
    ├── config            a few checked values of the source's, and switches that keep git from running anything
    ├── HEAD, index       copies (what happens at the source meanwhile changes nothing), the index with its time
    ├── shallow, info/*   copies
    ├── packed-refs       the source's branches and tags, checked
    └── objects           a symlink to the source's

git reads the source's data through it and none of its configuration, so that hooks, filters, fsmonitor and the like do
not exist as far as git can see.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.gitcommand import local_environment, run_git
from sandlot.bases.gitconfig import GitConfig, read_config, user_excludes
from sandlot.bases.gitrefs import Refs, read_refs, refs_text
from sandlot.bases.repository import Repository, read_small
from sandlot.bases.scan import shown
from sandlot.errors import GitFailed

__all__ = ["GitView", "Status", "open_view"]

LARGE = 1 << 30
"""The longest index or packed-refs file we read, in bytes."""

_INFO = ("exclude", "attributes", "sparse-checkout")
_UNDER_WAY = ("MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "CHERRY_PICK_HEAD", "REVERT_HEAD", "ORIG_HEAD", "SQUASH_MSG")
_SHARED_INDEX = re.compile(r"sharedindex\.[0-9a-f]{40,64}")
_SWITCHES = (
    ("core.hookspath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.untrackedcache", "false"),
    ("core.preloadindex", "true"),
    ("core.logallrefupdates", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("protocol.allow", "never"),
)


@dataclass(frozen=True, slots=True)
class Status:
    """What ``git status`` says about a working copy."""

    raw: bytes
    commit: str | None
    changed: tuple[bytes, ...]
    """Tracked paths that differ from HEAD or the index."""
    untracked: tuple[bytes, ...]
    """Files that are neither tracked nor ignored."""
    nested: tuple[bytes, ...]
    """Untracked folders that are repositories of their own."""

    @property
    def dirty(self) -> bool:
        return bool(self.changed or self.untracked or self.nested)


@dataclass(frozen=True, slots=True)
class GitView:
    """A source repository as it was when the view was made, objects and working tree excepted."""

    repository: Repository
    folder: Path
    config: GitConfig
    head: bytes
    """``ref: refs/heads/...`` or a commit id."""
    refs: Refs

    @property
    def branch(self) -> str | None:
        """The name of the branch that HEAD is on."""
        name = self.head.removeprefix(b"ref: refs/heads/")
        return None if name == self.head else os.fsdecode(name)

    def git(self, *arguments: str, stdin: bytes | None = None, doing: str = "", codes: tuple[int, ...] = (0,)) -> bytes:
        """Run git on the view, in the working copy's top folder. Raises GitFailed."""
        root = None if self.repository.bare else self.repository.root
        return run_git(
            arguments,
            environment=local_environment(self.folder, root),
            cwd=self.folder if root is None else root,
            stdin=stdin,
            doing=doing,
            codes=codes,
        )

    def status(self) -> Status:
        """The state of the working copy; submodules count as clean here, they are looked at on their own."""
        raw = self.git(
            "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignore-submodules=all",
            "--no-renames", "--no-ahead-behind",
            doing="cannot read the state of the working copy",
        )  # fmt: skip
        commit: str | None = None
        changed: list[bytes] = []
        untracked: list[bytes] = []
        nested: list[bytes] = []
        for record in raw.split(b"\0"):
            kind = record[:2]
            if kind == b"? ":
                (nested if record.endswith(b"/") else untracked).append(record[2:].rstrip(b"/"))
            elif kind == b"1 ":
                changed.append(record.split(b" ", 8)[8])
            elif kind == b"u ":
                changed.append(record.split(b" ", 10)[10])
            elif record.startswith(b"# branch.oid ") and record != b"# branch.oid (initial)":
                commit = record[len(b"# branch.oid ") :].decode()
        return Status(raw, commit, tuple(changed), tuple(untracked), tuple(nested))

    def may_have_modules(self) -> bool:
        """False when the index surely holds no submodule: nowhere in it are the four bytes of their mode."""
        return any(b"\0\0\xe0\0" in (read_small(path, LARGE) or b"") for path in self.folder.glob("*index*"))

    def tracked(self) -> tuple[list[bytes], dict[bytes, str]]:
        """The paths in the index that are files, and the submodules with the commit they are at."""
        files, modules = [], {}
        for record in self.git("ls-files", "--stage", "-z", doing="cannot read the index").split(b"\0")[:-1]:
            facts, _, path = record.partition(b"\t")
            if facts.startswith(b"160000"):
                modules[path] = facts.split(b" ")[1].decode()
            else:
                files.append(path)
        return files, modules

    def commit(self, name: str = "HEAD") -> str | None:
        """The id of the commit that ``name`` stands for, or None."""
        found = self.git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", codes=(0, 1, 128)
        )
        return found.decode().strip() or None

    def digest(self, *, index: bool) -> bytes:
        """A hash over everything but objects and working tree: HEAD, refs, index, settings, what is under way."""
        whole = hashlib.sha256(self.head + b"\0" + self.config.text().encode("utf-8", "surrogateescape"))
        whole.update(refs_text(self.refs))
        whole.update(repr([(name, target) for name, (_, target) in self.refs.items() if target]).encode())
        for name in ("shallow", *(f"info/{part}" for part in _INFO), *_UNDER_WAY):
            data = read_small(self.folder / name, LARGE)
            whole.update(b"-" if data is None else b"%d:" % len(data) + data)
        if index:
            for path in sorted(self.folder.glob("*index*")):
                data = read_small(path, LARGE) or b""
                whole.update(b"%d %d:" % (path.stat().st_mtime_ns, len(data)) + data)
        return whole.digest()

    def copies(self) -> list[str]:
        """Names below the view that a self-contained copy takes over as they are."""
        names = ["shallow", *(f"info/{part}" for part in _INFO), *_UNDER_WAY]
        names += [path.name for path in self.folder.glob("*index*")]
        return [name for name in names if (self.folder / name).is_file()]


def open_view(repository: Repository, folder: Path) -> GitView:
    """Make the view of a repository in the new folder ``folder``. Raises GitFailed, OSError for our own side."""
    folder.mkdir(mode=0o700)
    (folder / "info").mkdir()
    git_dir, common = repository.git_dir, repository.common_dir
    config = read_config(repository, folder)
    if config.ref_storage != "files":
        raise GitFailed(
            f"the repository keeps its refs in a {config.ref_storage}, which cannot be seeded yet",
            hint="seed from a clone of it: git clone --ref-format=files",
        )
    _check_objects(common / "objects")
    os.symlink(common / "objects", folder / "objects")
    (folder / "refs").mkdir()
    _copy(common / "shallow", folder / "shallow")
    for name in _INFO:
        owner = git_dir if name == "sparse-checkout" else common
        _copy(owner / "info" / name, folder / "info" / name)
    for name in _UNDER_WAY:
        _copy(git_dir / name, folder / name)
    if not repository.bare:
        for path in git_dir.glob("sharedindex.*"):
            if _SHARED_INDEX.fullmatch(path.name):
                _copy(path, folder / path.name)
        _copy(git_dir / "index", folder / "index")
    extra = (*config.speed, *user_excludes(), *_SWITCHES)
    (folder / "config").write_text(config.text(extra), errors="surrogateescape")
    head = _head(git_dir)
    (folder / "HEAD").write_bytes(head + b"\n")
    refs = read_refs(common)
    (folder / "packed-refs").write_bytes(refs_text(refs))
    return GitView(repository, folder, config, head, refs)


def _check_objects(objects: Path) -> None:
    """Refuse what git would open and wait for: it does not expect a FIFO among its files."""
    for folder in (objects / "pack", objects / "info"):
        try:
            with os.scandir(folder) as entries:
                odd = [entry.path for entry in entries if not (entry.is_file() or entry.is_dir())]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise GitFailed(f"cannot read {folder}: {error.strerror}") from error
        if odd:
            raise GitFailed(f"{shown(Path(odd[0]), b'')} is no file")


def _head(git_dir: Path) -> bytes:
    path = git_dir / "HEAD"
    # A symlink is how git wrote symbolic refs long ago.
    link = os.fsencode(os.readlink(path)) if path.is_symlink() else None
    head = b"ref: " + link if link else (read_small(path, 4096) or b"").rstrip()
    if not re.fullmatch(rb"ref: refs/[^\0-\x20\x7f]+|[0-9a-f]{40,64}", head) or b".." in head:
        raise GitFailed(f"not a git repository: {path} is damaged")
    return head


def _copy(source: Path, target: Path) -> None:
    data = read_small(source, LARGE)
    if data is None:
        return
    target.write_bytes(data)
    info = os.lstat(source)
    os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))
