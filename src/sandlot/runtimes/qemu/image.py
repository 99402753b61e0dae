"""Root file systems of guests: an environment's tree, packed as squashfs and kept by what is in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandlot import process
from sandlot.bases.progress import Report
from sandlot.errors import IsolationUnavailable, StateUnwritable, UsageError
from sandlot.paths import Paths
from sandlot.runtimes.agent_code import host_python
from sandlot.runtimes.curated import ETC_SHOWN, USR_LINKS
from sandlot.runtimes.qemu.places import Places, building, only_one
from sandlot.runtimes.relocated import Relocated, is_ready, relocated

__all__ = ["RootImage", "get", "key_of", "packed", "packed_from"]

FORMAT = "4"
PACK_S = 1800.0
"""How long packing may take; 30 s for five gigabytes on two processors."""
_FOLDERS = ("dev", "etc", "home", "home/agent", "proc", "root", "run", "sys", "tmp", "usr", "var", "workspace")
"""Where a guest mounts something; made in every root that lacks one."""
_LINKS = {"var/tmp": "/tmp", "var/run": "/run"}  # noqa: S108  inside a guest
_LEFT_OUT = frozenset(
    f"/usr/{name}"
    for name in ("lib/debug", "share/doc", "share/doc-base", "share/info", "share/locale", "share/man", "src")
)
"""What a host has much of and no command needs. Everything else below /usr that anyone may read comes along."""
_DEEP = 4
"""Levels at which installers of packages leave a trace: lib/python3.11/site-packages/NAME."""
_HOST_FOLDERS = {"/usr": 1, "/usr/local": _DEEP, "/etc/alternatives": 0, "/var/lib/dpkg/status": 0}
_MOST_FOLDERS = 500
_OPTIONS = ("-root-mode", "755", "-no-xattrs", "-all-root", "-no-progress", "-quiet")


@dataclass(frozen=True, slots=True)
class RootImage:
    """One packed root file system."""

    key: str
    """Of this very file: packed anew its blocks lie elsewhere, and templates remember where they lay."""
    file: Path
    python: str
    """What runs the agent's code inside: a path, or words joined by commas."""


def key_of(environment: str, root: Path | None, toolchains: tuple[Path, ...]) -> str:
    """What an image is kept by: an environment's digest, or for the host's own userland what was installed last."""
    digest = hashlib.sha256(f"{FORMAT}\0{environment}\0{root}".encode())
    depths = dict.fromkeys(toolchains, _DEEP)
    if root is None:
        digest.update(os.fsencode(sys.base_prefix))
        depths |= {Path(name): depth for name, depth in _HOST_FOLDERS.items()}
    for folder, depth in depths.items():
        digest.update(_touched(folder, depth))
    return digest.hexdigest()[:24]


def _touched(folder: Path, depth: int) -> bytes:
    """What changes when something is installed below ``folder``: the times of its folders, so many levels deep."""
    found = [b"%s:%d" % (os.fsencode(folder), _time(folder))]
    level = [str(folder)] if folder.is_dir() else []
    for _ in range(depth):
        deeper = []
        for path in level:
            try:
                with os.scandir(path) as entries:
                    children = [each for each in entries if each.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            for child in sorted(children, key=lambda entry: entry.name):
                found.append(b"%s:%d" % (os.fsencode(child.path), child.stat(follow_symlinks=False).st_mtime_ns))
                deeper.append(child.path)
        level = deeper[:_MOST_FOLDERS]
    return b"\0".join(found)


def _time(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0


def packed(paths: Paths, environment: str = "", root: Path | None = None) -> str | None:
    """The key of the image of an environment (the host's own userland) as it is now, None when it was not packed."""
    if root is not None and not is_ready(paths):
        return None
    key = key_of(environment, root, (relocated(paths).folder,) if root is not None else ())
    try:
        return f"{key}-{(Places.of(paths).roots / f'{key}.python').read_text().splitlines()[1]}"
    except (OSError, IndexError):
        return None


def packed_from(image: Path) -> Path | None:
    """The tree that an image was packed from; None: the host's own userland, or nobody knows."""
    try:
        found = image.with_suffix(".python").read_text().splitlines()[2]
    except (OSError, IndexError):
        return None
    return Path(found) if found else None


def get(
    paths: Paths,
    environment: str,
    root: Path | None,
    toolchains: tuple[Path, ...] = (),
    progress: Report | None = None,
) -> RootImage:
    """The image of an environment's ``root`` (None: the host's own userland), packed when it is not there yet.

    Raises IsolationUnavailable, StateUnwritable.
    """
    if root is not None and toolchains:
        raise UsageError(
            "a guest cannot show toolchains of the host in an environment",
            hint="add them to the environment by a setup",
        )
    places = Places.of(paths)
    copied = relocated(paths) if root is not None else None
    key = key_of(environment, root, (*toolchains, *([copied.folder] if copied else [])))
    target = places.roots / f"{key}.squashfs"
    told = places.roots / f"{key}.python"
    if not (target.is_file() and told.is_file()):
        places.ensure()
        with only_one(places.lock(f"root-{key}"), "the guests' root file system"):
            if not (target.is_file() and told.is_file()):
                if progress is not None:
                    progress("packing the root file system of guests, once", 0, 0)
                _build(places, root, toolchains, copied, target, told)
    python, build = told.read_text().splitlines()[:2]
    return RootImage(f"{key}-{build}", target, python)


def _build(
    places: Places, root: Path | None, toolchains: tuple[Path, ...], copied: Relocated | None, target: Path, told: Path
) -> None:
    if shutil.which("mksquashfs") is None:
        raise IsolationUnavailable(
            "mksquashfs is not there to pack a guest's files", hint="apt-get install squashfs-tools"
        )
    python, prefix = host_python() if copied is None else (",".join(copied.argv), None)
    with building(places) as folder:
        made = folder / "made"
        options = ["-comp", "zstd", "-Xcompression-level", "3", *_OPTIONS]
        if root is None:
            tops = [*_host_tops(), *map(str, dict.fromkeys((*toolchains, *([prefix] if prefix else []))))]
        else:
            tops = []
        # Folders on the way to what is shown: with no more of their own than a name, and open to everybody inside.
        ways = {str(parent)[1:] for top in tops for parent in Path(top).parents} - {""}
        for name in sorted(ways):
            escaped = name.replace("\\", "\\\\").replace(" ", "\\ ")
            options += ["-p", f"{escaped} m 755 0 0"]
        if root is None:  # an environment has all of them, as a namespace needs them, too
            for name in _FOLDERS:
                if name not in ways:
                    options += ["-p", f"{name} d 755 0 0"]
            for name, to in _LINKS.items():
                options += ["-p", f"{name} s 777 0 0 {to}"]
            (folder / "left-out").write_bytes(b"".join(os.fsencode(path) + b"\n" for path in _left_out(tops)))
            options += ["-no-strip", "-ef", str(folder / "left-out")]
            sources = tops
        else:
            sources = [str(root)]
        done = process.run(["mksquashfs", *sources, str(made), *options], env=_environment(), timeout=PACK_S)
        if done.returncode:
            raise StateUnwritable(f"a guest's root file system cannot be packed: {done.message}")
        if copied is not None:
            _add_python(made, copied.folder, folder)
        (folder / "python").write_text(f"{python}\n{os.urandom(6).hex()}\n{root or ''}\n")
        os.rename(folder / "python", told)
        os.rename(made, target)


def _add_python(image: Path, source: Path, folder: Path) -> None:
    """Add the interpreter that needs nothing of the environment; the guest shows it at its place (initramfs.py)."""
    named = folder / ".sandlot-python"
    shutil.copytree(source, named, symlinks=True)
    named.chmod(0o755)  # on the host it is ours alone; in a guest it is root's, and the agent starts its git from there
    argv = ["mksquashfs", str(named), str(image), "-keep-as-directory", "-no-recovery", *_OPTIONS]
    done = process.run(argv, env=_environment(), timeout=PACK_S)
    if done.returncode:
        raise StateUnwritable(f"a guest's interpreter cannot be packed: {done.message}")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}


def _host_tops() -> Iterator[str]:
    """What a guest sees of the host: the same that bubblewrap shows."""
    yield "/usr"
    yield from (f"/{name}" for name in USR_LINKS if os.path.lexists(f"/{name}"))
    yield from (f"/etc/{name}" for name in ETC_SHOWN if os.path.exists(f"/etc/{name}"))


def _left_out(tops: list[str]) -> Iterator[str]:
    """What is below ``tops`` and does not come along.

    What not everybody may read, devices, sockets, pipes, other file systems, documentation.
    """
    for top in tops:
        info = os.lstat(top)
        stack = [top] if stat.S_ISDIR(info.st_mode) else []
        while stack:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if not _comes_along(entry.path, found, info.st_dev):
                        if "\n" not in entry.path:
                            yield entry.path
                    elif stat.S_ISDIR(found.st_mode):
                        stack.append(entry.path)


def _comes_along(path: str, info: os.stat_result, device: int) -> bool:
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFDIR:
        return path not in _LEFT_OUT and info.st_dev == device and info.st_mode & 0o005 == 0o005
    return kind == stat.S_IFLNK or (kind == stat.S_IFREG and bool(info.st_mode & 0o004))
