"""The same project every time: nested folders of Python files of 2 to 4 kB, and a git history of a few commits."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from sandlot import process

__all__ = ["Project", "change_ten", "git", "grow"]

FILES_PER_FOLDER = 25
COMMITS = 4
IGNORE = "__pycache__/\n*.pyc\nbuild/\n"
_WORDS = ("count", "path", "left", "node", "value", "index", "state", "frame", "limit", "entry", "total", "first")
_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",  # no packing in the background while others are timed
    "GIT_CONFIG_KEY_0": "gc.auto",
    "GIT_CONFIG_VALUE_0": "0",
    "GIT_AUTHOR_NAME": "bench",
    "GIT_AUTHOR_EMAIL": "bench@example.org",
    "GIT_COMMITTER_NAME": "bench",
    "GIT_COMMITTER_EMAIL": "bench@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}
RACY_S = 1.1
"""git rehashes files as young as its index (racy git): nobody's time is taken before that is past."""


@dataclass(frozen=True, slots=True)
class Project:
    """A generated git checkout."""

    root: Path
    files: tuple[str, ...]

    @property
    def count(self) -> int:
        """Files in the tree: those, and ``.gitignore``."""
        return len(self.files) + 1

    @property
    def ten(self) -> tuple[str, ...]:
        """Ten files spread over the tree (fewer in a smaller tree)."""
        step = max(1, len(self.files) // 10)
        return self.files[::step][:10]

    def at(self, root: Path) -> Project:
        """The same project elsewhere."""
        return Project(root, self.files)


def git(root: Path, *words: str) -> None:
    """Run git, untouched by the user's configuration. Raises RuntimeError when it refuses."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.fspath(root), "LC_ALL": "C", **_GIT}
    done = process.run(["git", "-C", root, *words], env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"git {' '.join(words)}: {done.message}")


def _module(number: int, dice: random.Random) -> str:
    lines = [f'"""Module {number} of the benchmark tree."""', "", "import os", "", ""]
    size = dice.randint(2000, 4000)
    length = 0
    while length < size:
        name = "_".join(dice.choices(_WORDS, k=2))
        first, second = dice.sample(_WORDS, 2)
        block = [
            f"def {name}_{dice.randrange(1000)}({first}, {second}={dice.randrange(100)}):",
            f'    """Combine {first} and {second}."""',
            f"    if {first} > {second}:",
            f"        return os.path.join(str({first}), str({second}))",
            f"    return {first} * {dice.randrange(2, 99)} + {second}",
            "",
            "",
        ]
        length += sum(len(line) + 1 for line in block)
        lines += block
    return "\n".join(lines[:-1])


def _path(number: int) -> str:
    folder = number // FILES_PER_FOLDER
    return f"src/area{folder % 7}/part{folder // 7}/module_{number}.py"


def grow(root: Path, count: int) -> Project:
    """Make a project of ``count`` files, ``.gitignore`` among them, committed in a few steps."""
    dice = random.Random(count)
    names = [_path(number) for number in range(count - 1)]
    root.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / ".gitignore").write_text(IGNORE)
    step = max(1, -(-len(names) // COMMITS))
    for start in range(0, len(names), step):
        for number, name in enumerate(names[start : start + step], start):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_module(number, dice))
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", f"up to file {start + step}")
    git(root, "gc", "--quiet")  # packed, as a clone is
    time.sleep(RACY_S)
    git(root, "update-index", "--refresh")
    return Project(root, tuple(names))


def change_ten(project: Project) -> None:
    """Append a line to the ten files, on the host."""
    for name in project.ten:
        with open(project.root / name, "a") as file:
            file.write("# changed\n")
