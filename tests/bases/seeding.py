"""What the tests of seeding share: a store, a source, a merged look at the result, and git with fixed identity."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

from sandlot.bases.source import classify
from sandlot.bases.store import BaseStore
from sandlot.model.base import Base
from sandlot.paths import Paths

PAST_NS = 1_600_000_000_123_456_789
GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.invalid",
    "GIT_COMMITTER_NAME": "C",
    "GIT_COMMITTER_EMAIL": "c@example.invalid",
    "GIT_AUTHOR_DATE": "1600000000 +0000",
    "GIT_COMMITTER_DATE": "1600000000 +0000",
}


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run git as its owner would, with that repository's own configuration."""
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", "-c", "gc.auto=0", *arguments],
        cwd=folder,
        env=GIT_ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(done.stderr.decode())
    return done.stdout.decode("utf-8", "surrogateescape")


def repository(folder: Path, files: dict[str, str] | None = None) -> Path:
    """A working copy with one commit on ``main``."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    for name, text in (files or {"a.txt": "a\n", "lib/b.py": "b\n"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    age(folder)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def age(folder: Path) -> None:
    """Give everything but git's own files times long past: what is as new as the index is always hashed by git."""
    for path in [folder, *folder.rglob("*")]:
        if ".git" not in path.relative_to(folder).parts:
            os.utime(path, ns=(PAST_NS, PAST_NS), follow_symlinks=False)


def store_at(folder: Path) -> BaseStore:
    return BaseStore(Paths.at(folder))


def seed(store: BaseStore, source: Path | str, **options: object) -> Base:
    return store.obtain(classify(os.fspath(source), cwd=Path("/"), **options))  # type: ignore[arg-type]  # as given


def merged(store: BaseStore, base: Base, target: Path) -> Path:
    """What a workspace on the base shows, as a plain folder."""
    target.mkdir()
    for layer in base.layers:
        _apply(store.paths.layer(layer) / "workspace", target, {})
    return target


def _apply(layer: Path, target: Path, links: dict[int, Path]) -> None:
    for entry in sorted(os.scandir(layer), key=lambda entry: entry.name):
        info = entry.stat(follow_symlinks=False)
        there = target / entry.name
        if stat.S_ISDIR(info.st_mode):
            if there.is_symlink() or not there.is_dir():
                there.unlink(missing_ok=True)
                there.mkdir()
            _apply(Path(entry.path), there, links)
            continue
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        else:
            there.unlink(missing_ok=True)
        if stat.S_ISCHR(info.st_mode):
            continue
        if info.st_ino in links:
            os.link(links[info.st_ino], there, follow_symlinks=False)
        else:
            shutil.copy2(entry.path, there, follow_symlinks=False)
            links[info.st_ino] = there
    info = layer.stat()
    os.chmod(target, info.st_mode & 0o777)
    os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))


def facts(folder: Path, *, without: str = ".git") -> dict[str, tuple[object, ...]]:
    """Every path below a folder with what a seed must keep of it."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        relative = path.relative_to(folder)
        if without in relative.parts:
            continue
        info = path.lstat()
        common = (stat.S_IMODE(info.st_mode) & 0o777, info.st_mtime_ns)
        if stat.S_ISLNK(info.st_mode):
            found[str(relative)] = ("link", os.readlink(path), info.st_mtime_ns)
        elif stat.S_ISDIR(info.st_mode):
            found[str(relative)] = ("folder", *common)
        elif stat.S_ISREG(info.st_mode):
            found[str(relative)] = ("file", *common, path.read_bytes())
    return found


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
