"""The host side of one run: folders that are gone afterwards, and proof that nothing else was touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandlot import Sandlot
from sandlot.bases.trees import remove_tree
from smokes.story import expect

__all__ = ["CANARY", "GUESTS", "Scene", "commit", "contents", "git", "processes_naming", "scene", "share_guests"]

PROJECTS = Path(__file__).parent / "projects"
CANARY = "canary-a5c1f0d2-not-for-workspaces"
"""Stands in the host's home and environment; it must never be seen inside, nor in an answer."""
GUESTS = "qemu"
"""The runtime whose workspaces are guests."""
_ENDED_WITHIN_S = 15.0
_MOMENT = "2026-11-21T12:00:00Z"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where things are on the host."""

    folder: Path
    home: Path
    state: Path
    project: Path

    @property
    def key(self) -> Path:
        """A private key of the host's user."""
        return self.home / ".ssh" / "id_ed25519"

    def environment(self) -> dict[str, str]:
        """What a server started for this run sees, the canary among it."""
        return {
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "SANDLOT_STATE_DIR": str(self.state),
            "SMOKE_CANARY": CANARY,
            **{name: os.environ[name] for name in ("SANDLOT_RUNTIME",) if name in os.environ},
        }

    def clone(self) -> Path:
        """A fresh clone of the project, as a colleague would have it."""
        place = Path(tempfile.mkdtemp(prefix="clone-", dir=self.folder)) / "project"
        git(self.folder, "clone", "-q", str(self.project), str(place))
        return place


def share_guests(state: Path) -> None:
    """Let a state folder of its own have what all guests are made from, like the tests: packing takes long."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    shared = Path(base, "sandlot-tests", "guests")
    shared.mkdir(mode=0o700, parents=True, exist_ok=True)
    (state / "cache").mkdir(mode=0o700, exist_ok=True)
    (state / "cache" / "guests").symlink_to(shared)


@contextmanager
def scene(project: str, runtime: str = "bubblewrap") -> Iterator[Scene]:
    """Make everything, and remove it again, workspaces that a failed story left included.

    The folder's path is short: unix sockets live below it. Raises SmokeFailed when a story leaves a workspace, or a
    process outlives its workspace.
    """
    folder = Path(tempfile.mkdtemp(prefix="sl-smoke-"))
    made = Scene(folder, folder / "home", folder / "state", folder / "project")
    left: list[str] = []
    survivors: list[str] = []
    try:
        for place in (made.home, made.state, made.key.parent):
            place.mkdir(exist_ok=True)
        if runtime == GUESTS:
            share_guests(made.state)
        made.key.write_text(CANARY + "\n")
        shutil.copytree(PROJECTS / project, made.project, ignore=shutil.ignore_patterns("__pycache__"))
        git(made.project, "init", "-q", "-b", "main")
        commit(made.project, "First version")
        yield made
    finally:
        with Sandlot(made.state) as sandlot:
            left = [info.id for info in sandlot.list()]
            if left:
                sandlot.call("workspace_delete", workspaces=tuple(left))
        survivors = processes_naming(str(folder))
        remove_tree(folder)
    expect(not left, "a story deletes its workspaces", left)
    expect(not survivors, "no process outlives its workspace", survivors)


def git(folder: Path, *arguments: str) -> str:
    """Run git on the host without the user's configuration; what it printed."""
    environment = {
        "GIT_AUTHOR_DATE": _MOMENT,
        "GIT_COMMITTER_DATE": _MOMENT,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
        "PATH": os.environ["PATH"],
    }
    identity = ("-c", "user.name=Ana", "-c", "user.email=ana@example.org")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    expect(done.returncode == 0, f"git {' '.join(arguments)} works on the host", done.stderr)
    return done.stdout


def commit(folder: Path, message: str) -> None:
    """Commit everything that is there."""
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of everything below a folder, its ``.git`` included: the same before and after, or touched."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            data = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(folder))] = (path.lstat().st_mode, data)
    return found


def processes_naming(text: str) -> list[str]:
    """Host processes, but for this one, with that on their command line; they get a moment to end."""
    deadline = time.monotonic() + _ENDED_WITHIN_S
    while (found := _naming(os.fsencode(text))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _naming(text: bytes) -> list[str]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = Path(entry.path, "cmdline").read_bytes()
            except OSError:  # it has ended, or is somebody else's
                continue
            if text in line:
                found.append(f"{entry.name}: {line.replace(bytes(1), b' ').decode(errors='replace')}")
    return found
