"""A Python, and a git, that run anywhere: the host's, with their own loader, libraries and standard library.

An environment may have no Python, an old one, one for another C library (musl), or one that is not to be trusted with
running our agent. So the agent of every environment but the host's runs under this copy, which needs nothing of the
root file system that it is shown in: the loader is named on the command line, and says where the libraries are. The
agent applies patches with git, which most images lack; so it brings one in the same way (guest/tools/git.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from sandlot import process
from sandlot.errors import IsolationUnavailable, StateUnwritable
from sandlot.paths import Paths

__all__ = ["PYTHON_INSIDE", "Relocated", "is_ready", "relocated"]

PYTHON_INSIDE = "/run/sandlot/python"
"""Where it is shown inside."""
_VERSION = 3
_ABOUT = (
    "import sys, sysconfig, _socket, _ctypes, fcntl, resource, select, struct, zlib; assert sys.version_info >= (3, 9);"
    "print(sys.version_info[0], sys.version_info[1], sysconfig.get_path('stdlib'),"
    " next((p for p in sys.path if p.endswith('lib-dynload')), ''), sep='\\n')"
)
_LEFT_OUT = frozenset({
    "asyncio", "concurrent", "curses", "dbm", "dist-packages", "distutils", "email", "ensurepip", "http",
    "idlelib", "lib-dynload", "lib2to3", "logging", "multiprocessing", "pydoc_data", "site-packages", "sqlite3", "test",
    "tests", "tkinter", "turtledemo", "unittest", "venv", "wsgiref", "xml", "xmlrpc", "zoneinfo",
})  # fmt: skip
"""Parts of the standard library that the agent has no use for."""
_NOT_NEEDED = (
    "_test", "_xx", "xx", "_tkinter", "_ssl", "_hashlib", "_sqlite3", "_curses", "_dbm", "_gdbm", "nis", "readline",
    "_lzma", "_bz2", "_uuid", "_crypt", "ossaudiodev", "audioop",
)  # fmt: skip
"""Extension modules that the agent has no use for; some of them need a dozen libraries."""
_LIBRARY = re.compile(r"(?:=> )?(/[^\s]+)(?: \(0x[0-9a-f]+\))?$")


@dataclass(frozen=True, slots=True)
class Relocated:
    """The folder on the host, and the words that start its Python where that is shown at ``PYTHON_INSIDE``."""

    folder: Path
    argv: tuple[str, ...]


def _place(paths: Paths) -> Path:
    digest = hashlib.sha256(f"{_VERSION}\n".encode())
    for name in (*_candidates(), shutil.which("git") or "git"):
        try:
            info = os.stat(name)
            digest.update(f"{name}:{info.st_mtime_ns}:{info.st_ino}\n".encode())
        except OSError:
            digest.update(f"{name}:\n".encode())
    return paths.python / digest.hexdigest()[:24]


def is_ready(paths: Paths) -> bool:
    """Whether the copy is there."""
    return (_place(paths) / "ready").is_file()


def relocated(paths: Paths) -> Relocated:
    """The copy, made when it is not there yet. Raises IsolationUnavailable, StateUnwritable."""
    folder = _place(paths)
    if not is_ready(paths):
        _make(folder)
    loader = f"{PYTHON_INSIDE}/lib/ld.so"
    return Relocated(folder, (loader, "--library-path", f"{PYTHON_INSIDE}/lib", f"{PYTHON_INSIDE}/bin/python3"))


def _candidates() -> tuple[str, ...]:
    own = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return "/usr/bin/python3", "/usr/local/bin/python3", str(own)


def _make(folder: Path) -> None:
    building = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    try:
        building.mkdir(mode=0o700, parents=True)
        _fill(building)
        (building / "ready").touch()
        if not folder.is_dir():
            os.rename(building, folder)
    except OSError as error:
        if not (folder / "ready").is_file():  # else another process was faster
            raise StateUnwritable(
                f"cannot copy an interpreter to {folder.parent}: {error.strerror or error}"
            ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fill(target: Path) -> None:
    problem = "no Python of this machine can run the agent"
    for name in _candidates():
        executable = os.path.realpath(name)
        if not os.access(executable, os.X_OK):
            continue
        done = process.run([executable, "-I", "-S", "-E", "-c", _ABOUT], env={}, timeout=30)
        if done.returncode != 0:
            continue
        loader = _loader_of(executable)
        if loader is None:
            problem = f"{executable} is linked in a way that does not let it be copied"
            continue
        major, minor, standard, dynamic = [*done.stdout.decode().splitlines(), ""][:4]
        _copy(target, executable, loader, Path(standard), dynamic, f"python{major}.{minor}")
        return
    raise IsolationUnavailable(problem, hint="install python3 (3.9 or later) below /usr")


def _copy(target: Path, executable: str, loader: str, standard: Path, dynamic: str, version: str) -> None:
    (target / "bin").mkdir()
    library = target / "lib" / version
    shutil.copy2(executable, target / "bin" / "python3")
    shutil.copytree(standard, library, ignore=_ignored, symlinks=False, ignore_dangling_symlinks=True)
    modules = []
    (library / "lib-dynload").mkdir()
    for module in sorted(Path(dynamic).glob("*.so")) if dynamic else ():
        if not module.name.startswith(_NOT_NEEDED):
            shutil.copy2(module, library / "lib-dynload" / module.name)
            modules.append(str(module))
    git = _git(loader)
    if git:
        shutil.copy2(git, target / "bin" / "git")
    shutil.copy2(os.path.realpath(loader), target / "lib" / "ld.so")
    for path in _libraries(loader, [executable, *modules, *([git] if git else [])]):
        place = target / "lib" / os.path.basename(path)
        if not place.exists():
            shutil.copy2(os.path.realpath(path), place)


def _git(loader: str) -> str | None:
    """The host's git, when it is loaded in the same way; without it an environment's own is used."""
    found = shutil.which("git")
    path = os.path.realpath(found) if found else ""
    return path if path and os.access(path, os.R_OK) and _loader_of(path) == loader else None


def _ignored(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in _LEFT_OUT or name.startswith("config-") or name.endswith((".a", ".exe"))}


def _libraries(loader: str, files: list[str]) -> set[str]:
    """The shared libraries that files need, as the loader itself finds them."""
    found = set()
    for file in files:
        done = process.run([loader, "--list", file], env={}, timeout=30)
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            match = _LIBRARY.search(line.strip())
            if match is not None and match[1] != loader and os.path.isfile(match[1]):
                found.add(match[1])
    return found


def _loader_of(executable: str) -> str | None:
    """The program interpreter that a 64-bit ELF file asks for (elf(5), PT_INTERP); None: it asks for none."""
    with open(executable, "rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02" or len(head) < 64:
            return None
        order = "<" if head[5] == 1 else ">"
        start, size, count = (
            struct.unpack_from(order + "Q", head, 32)[0],
            *struct.unpack_from(order + "HH", head, 54),
        )
        for number in range(count):
            file.seek(start + number * size)
            entry = file.read(56)
            if len(entry) == 56 and struct.unpack_from(order + "I", entry)[0] == 3:
                at, length = struct.unpack_from(order + "Q", entry, 8)[0], struct.unpack_from(order + "Q", entry, 32)[0]
                file.seek(at)
                return file.read(min(length, 4096)).rstrip(b"\0").decode("utf-8", "surrogateescape")
    return None
