"""What a trial in a static folder leaves that no patch holds: commits, and folders with nothing in them.

Both are looked for inside the trial's workspace once everything in it has ended. What comes back was said by the
target's files, so it is only counted, shown, or made as an empty folder below the user's own; git is not run on it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from sandlot.errors import SandlotError
from sandlot.sdk import Workspace

__all__ = ["Seen", "has_home", "look", "make_folders", "moved_repos"]

LONGEST_LOOK_S = 30.0
MOST_BYTES = 1 << 20
MOST_FOLDERS = 1000
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = r"""
cd /workspace || exit 1
/usr/bin/find . -path '*/.git/objects' -prune -o -path '*/.git/*' -type f \
  \( -path '*/.git/refs/*' -o -path '*/.git/HEAD' -o -path '*/.git/packed-refs' \) \
  -exec /usr/bin/sha256sum -z {} + | LC_ALL=C /usr/bin/sort -z
/usr/bin/find . -mindepth 1 -name .git -prune -o -type d -empty -print0
exit 0  # a folder that the target has locked keeps nobody from seeing the others
"""
"""Programs by their paths: ~/.local/bin of the target comes first on PATH."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A workspace at one moment."""

    refs: frozenset[str] = frozenset()
    """Hash and name of every file that says where a branch, a tag, a stash or HEAD is."""
    empty: frozenset[str] = frozenset()
    """Folders with nothing in them."""


def look(workspace: Workspace) -> Seen | None:
    """None when it cannot be said: too many, too slow, or the target's files are in the way."""
    try:
        done = workspace.exec(_LOOK, timeout=LONGEST_LOOK_S, max_output=MOST_BYTES)
    except SandlotError:
        return None
    outcome = done.command.outcome
    if outcome is None or outcome.exit_code != 0 or done.stdout.truncated:
        return None
    said = frozenset(filter(None, done.stdout.text.split("\0")))
    empty = frozenset(name for name in said if name.startswith("./"))  # hashes begin with no dot
    return Seen(said - empty, empty)


def has_home(workspace: Workspace) -> bool:
    """Whether something lies in the home inside."""
    return bool(workspace.exec(["/usr/bin/find", "/home/agent", "-mindepth", "1", "-print", "-quit"]).stdout.text)


def moved_repos(before: Seen, after: Seen) -> list[str]:
    """Repositories whose commits, branches, tags or stashes are not those of before; ``.`` is the folder itself."""
    names = (each.partition("  ./")[2] for each in before.refs ^ after.refs)
    return sorted({name.partition(".git/")[0].rstrip("/") or "." for name in names})


def make_folders(before: Seen, after: Seen, target: str) -> int:
    """Make the folders that are new and empty in the user's folder; how many. What is there already stays as it is."""
    made = 0
    wanted = sorted(after.empty - before.empty)[:MOST_FOLDERS]
    for name in wanted:
        with contextlib.suppress(OSError):  # a file or a link of the user's is in the way, say
            made += _make(target, name.split("/")[1:])
    return made


def _make(target: str, parts: list[str]) -> bool:
    """Component by component, through no link: the names are a stranger's, and the folder is the user's."""
    if any(part in ("", ".", "..") or part.lower() == ".git" or "\ufffd" in part for part in parts):
        return False
    at = os.open(target, _FLAGS & ~os.O_NOFOLLOW)
    made = False
    try:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o777, dir_fd=at)  # less the umask, as the user's own mkdir
                made = True
            below = os.open(part, _FLAGS, dir_fd=at)
            os.close(at)
            at = below
    finally:
        os.close(at)
    return made
