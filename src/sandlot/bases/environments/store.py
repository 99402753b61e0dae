"""The store of environments: what there is, by name and by digest; publishing, use and pruning.

A tree is published by one rename of its folder; the name is a small file that is replaced in one step, after the tree.
Whoever takes an environment into use holds ``BaseStore.in_use`` until a record names it; prune holds that lock alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandlot.bases import manifest
from sandlot.bases.building import building_folder, unwritable, write_file
from sandlot.bases.environments.curate import curate
from sandlot.bases.environments.rootfs import RootTree
from sandlot.bases.manifest import Rows
from sandlot.bases.trees import move_to_trash, remove_tree
from sandlot.bases.workshop import fingerprint
from sandlot.errors import EnvironmentNotFound, UsageError
from sandlot.model.environment import HOST, Environment, EnvironmentKind, label_of, split_label
from sandlot.paths import Paths

__all__ = ["EnvironmentInfo", "EnvironmentStore", "PrunedEnvironments", "check_environment_name"]

VERSION = 1
DIGEST_LENGTH = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._/:+-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{8,32}")


def check_environment_name(name: str) -> str:
    """The name, if it can be one. Raises UsageError."""
    if not _NAME.fullmatch(name) or name == HOST or ".." in name or name.endswith(("/", ":")):
        raise UsageError(
            f"{name!r} cannot name an environment",
            hint="use lower-case letters, digits and . _ / : + -, such as tools:1",
        )
    return name


@dataclass(frozen=True, slots=True)
class EnvironmentInfo:
    """An environment as ``sandlot env list`` shows it."""

    names: tuple[str, ...]
    environment: Environment
    used_at: str
    """When it was last taken into use, UTC ISO 8601."""
    workspaces: int = 0
    """How many workspaces stand on it."""


@dataclass(frozen=True, slots=True)
class PrunedEnvironments:
    """What a prune removed (or would remove)."""

    names: tuple[str, ...]
    digests: tuple[str, ...]
    bytes: int
    """Content of what goes, as if nothing of it were shared."""


class EnvironmentStore:
    """All environments below one state folder."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def root(self, digest: str) -> Path:
        """The root of an environment's tree."""
        return self.paths.environment(digest) / "tree"

    def rows(self, digest: str) -> Rows:
        """The manifest of an environment's tree. Raises OSError, ValueError."""
        return manifest.load(self.paths.environment(digest) / "manifest")

    def read(self, digest: str) -> Environment | None:
        """The environment with this digest, or None."""
        if not re.fullmatch(r"[0-9a-f]{%d}" % DIGEST_LENGTH, digest):
            return None
        record = _load(self.paths.environment(digest) / "environment.json")
        try:
            return None if record is None else _environment(digest, record)
        except (KeyError, TypeError, ValueError):
            return None

    def find(self, text: str) -> tuple[str, Environment]:
        """(name, environment) of a name, a digest's beginning, or ``NAME@DIGEST``. Raises EnvironmentNotFound."""
        if text == HOST:
            raise EnvironmentNotFound(f"{HOST} is this machine's own /usr; there is nothing of it in the store")
        name, digest = split_label(text)
        found = self.read(digest) or self._by_digest(digest) if digest else self.named(name) or self._by_digest(name)
        if found is None:
            from sandlot.bases.environments.definitions import DEFINITIONS

            how = f"sandlot env build {name}" if name in DEFINITIONS else f"sandlot env import IMAGE --name {name}"
            raise EnvironmentNotFound(f"there is no environment {text!r} here", hint=how)
        return (found.digest if name and found.digest.startswith(name) else name), found

    def named(self, name: str) -> Environment | None:
        """The environment that a name means now, or None."""
        record = _load(self._name_file(name))
        return None if record is None else self.read(str(record.get("digest")))

    def _by_digest(self, text: str) -> Environment | None:
        if not _DIGEST.fullmatch(text):
            return None
        matches = [digest for digest in self._digests() if digest.startswith(text)]
        return self.read(matches[0]) if len(matches) == 1 else None

    def _name_file(self, name: str) -> Path:
        return self.paths.environment_names / urllib.parse.quote(name, safe="")

    def _digests(self) -> list[str]:
        return sorted(_names_in(self.paths.environments))

    def names(self) -> dict[str, str]:
        """Name -> digest of everything that has a name, sorted."""
        found = {}
        for quoted in sorted(_names_in(self.paths.environment_names)):
            record = _load(self.paths.environment_names / quoted)
            if record is not None:
                found[urllib.parse.unquote(quoted)] = str(record.get("digest"))
        return found

    def list(self) -> tuple[EnvironmentInfo, ...]:
        """All environments, the last used one first; those without a name are setups that were named anew."""
        names = self.names()
        found = []
        for digest in self._digests():
            environment = self.read(digest)
            if environment is not None:
                used = self._used(digest)
                at = datetime.fromtimestamp(used, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                own = tuple(name for name, of in names.items() if of == digest)
                found.append((used, EnvironmentInfo(own, environment, at)))
        return tuple(info for _, info in sorted(found, key=lambda each: each[0], reverse=True))

    def _used(self, digest: str) -> float:
        try:
            return os.stat(self.paths.environment(digest) / "environment.json").st_mtime
        except OSError:
            return 0.0

    def touch(self, digest: str) -> None:
        """Note that an environment was taken into use just now."""
        try:
            os.utime(self.paths.environment(digest) / "environment.json")
        except OSError:
            pass  # only prune asks, and it is right about what it can see

    # -- making ------------------------------------------------------------------------------------------------

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        """A folder for half-made things, gone at the end. Raises StateUnwritable."""
        self.ensure()
        with unwritable(self.paths), building_folder(self.paths) as folder:
            yield folder

    def ensure(self) -> None:
        """Make the store's folders. Raises StateUnwritable."""
        self.paths.ensure()
        with unwritable(self.paths):
            for folder in (self.paths.environments, self.paths.environment_names, self.paths.environment_keys):
                folder.mkdir(mode=0o700, exist_ok=True)

    def publish(self, folder: Path, tree: RootTree, draft: Environment) -> Environment:
        """Curate and store a finished tree, which is ``tree`` below ``folder``; one with the same content wins.

        ``draft`` has everything but digest, date and sizes. Raises ImageRefused, OSError.
        """
        curate(tree)
        rows = tree.settle()
        variables = json.dumps(draft.variables, sort_keys=True)
        digest = fingerprint("environment", str(VERSION), manifest.tree_id("tree", rows), variables)[:DIGEST_LENGTH]
        known = self.read(digest)
        if known is not None:
            self.touch(digest)
            return known
        shell = next((path for path in ("/bin/bash", "/bin/sh") if tree.has(path)), "")
        files, size = manifest.tally(rows)
        created = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        skipped = tuple(os.fsdecode(path) for path in tree.skipped)
        environment = replace(
            draft,
            digest=digest,
            created_at=created,
            files=files,
            bytes=size,
            shell=shell,
            skipped=(*draft.skipped, *skipped),
        )
        (folder / "manifest").write_bytes(manifest.encode_pairs((path, rows[path]) for path in sorted(rows)))
        (folder / "environment.json").write_bytes(_encode(environment))
        target = self.paths.environment(digest)
        if target.exists():  # damaged: its record does not read
            move_to_trash(target, self.paths)
        try:
            os.rename(folder, target)
        except OSError:
            if self.read(digest) is None:
                raise
        return environment

    def name(self, name: str, environment: Environment, via: Path) -> None:
        """Let a name mean an environment from now on; ``via`` is a building folder. Raises OSError."""
        write_file(self._name_file(name), json.dumps({"version": VERSION, "digest": environment.digest}).encode(), via)

    def remember(self, key: str, environment: Environment, via: Path) -> None:
        """Note which environment an image or a setup gave; losing that only costs time. Raises OSError."""
        record = json.dumps({"version": VERSION, "digest": environment.digest}).encode()
        write_file(self.paths.environment_keys / key, record, via, sync=False)

    def known(self, key: str) -> Environment | None:
        """The environment that a key was remembered for, if it is still there."""
        record = _load(self.paths.environment_keys / key)
        return None if record is None else self.read(str(record.get("digest")))

    def discard(self, digest: str) -> None:
        """Remove an environment that nobody but the caller knows of. Raises StateUnwritable."""
        trash = move_to_trash(self.paths.environment(digest), self.paths)
        if trash is not None:
            remove_tree(trash)

    # -- removing ----------------------------------------------------------------------------------------------

    def prune(
        self,
        in_use: Callable[[], Set[str]],
        *,
        unused_for_s: float = 0,
        dry_run: bool = False,
        only: Set[str] = frozenset(),
    ) -> PrunedEnvironments:
        """Remove environments that no workspace stands on. The caller holds the bases' lock alone.

        ``in_use``: digests. ``only``: names or digests; the others stay. Raises StateUnwritable.
        """
        kept, newest, names = in_use(), time.time() - unused_for_s, self.names()
        wanted = {self.find(text)[1].digest for text in only}
        doomed = []
        for digest in self._digests():
            environment = self.read(digest)
            young = unused_for_s > 0 and self._used(digest) > newest
            if environment is None or not (digest in kept or young or (only and digest not in wanted)):
                doomed.append((digest, environment.bytes if environment else 0))
        gone = tuple(name for name, digest in names.items() if digest in {each for each, _ in doomed})
        if not dry_run:
            for name in gone:  # names first: a tree without a name is harmless, a name without a tree is not
                self._name_file(name).unlink(missing_ok=True)
            for digest, _ in doomed:
                trash = move_to_trash(self.paths.environment(digest), self.paths)
                if trash is not None:
                    remove_tree(trash)
            for key in _names_in(self.paths.environment_keys):
                if self.known(key) is None:
                    (self.paths.environment_keys / key).unlink(missing_ok=True)
        return PrunedEnvironments(gone, tuple(digest for digest, _ in doomed), sum(size for _, size in doomed))


def label(name: str, environment: Environment) -> str:
    """How records name it."""
    return label_of(name, environment.digest)


def _names_in(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _encode(environment: Environment) -> bytes:
    record = dataclasses.asdict(environment)
    del record["digest"]
    return json.dumps({"version": VERSION, **record}).encode()


def _load(file: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("version") == VERSION else None


def _environment(digest: str, record: dict[str, Any]) -> Environment:
    return Environment(
        digest=digest,
        kind=EnvironmentKind(record["kind"]),
        source=str(record["source"]),
        created_at=str(record["created_at"]),
        files=int(record["files"]),
        bytes=int(record["bytes"]),
        variables={str(name): str(value) for name, value in record["variables"].items()},
        workdir=str(record["workdir"]),
        image=record["image"],
        parent=record["parent"],
        shell=str(record["shell"]),
        setup=tuple(record["setup"]),
        skipped=tuple(record["skipped"]),
    )
