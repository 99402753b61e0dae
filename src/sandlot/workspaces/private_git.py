"""A git folder of our own, so that git can be an engine and nothing else.

git runs what it is configured to run: filters, textconv, fsmonitor, hooks. Here it sees no configuration, attributes
or hooks of the workspace, of the host repository or of the user: only what this file writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandlot.bases.trees import remove_tree
from sandlot.errors import GitFailed, StateUnwritable
from sandlot.process import Completed, run

__all__ = ["PrivateGit", "private_git"]

_CONFIG: Final = """\
[core]
\trepositoryformatversion = 0
\tbare = true
\tprotectHFS = true
\tprotectNTFS = true
\tmaxTreeDepth = 4096
[gc]
\tauto = 0
[maintenance]
\tauto = false
[pack]
\tthreads = 1
"""
_ATTRIBUTES: Final = "* -text !eol -ident !filter !working-tree-encoding !diff !merge !whitespace\n"
"""Before every .gitattributes in precedence: bytes are bytes."""


@dataclass(frozen=True, slots=True)
class PrivateGit:
    """An empty git folder that lives as long as one comparison or one patch."""

    root: Path

    def environment(self, work_tree: Path | None = None) -> dict[str, str]:
        """The whole environment git gets."""
        env = {
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_DIR": str(self.root),
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "HOME": str(self.root),
            "LC_ALL": "C",
            "PATH": os.environ.get("PATH", os.defpath),
            "XDG_CONFIG_HOME": str(self.root),
        }
        if work_tree is not None:
            env["GIT_WORK_TREE"] = str(work_tree)
        return env

    def run(
        self,
        arguments: Sequence[str],
        *,
        work_tree: Path | None = None,
        stdin: bytes | None = None,
        stdout_to: int | None = None,
    ) -> Completed:
        """Run one git command to its end. Raises GitFailed only when there is no git."""
        try:
            return run(
                ["git", *arguments],
                cwd=work_tree or self.root,
                env=self.environment(work_tree),
                stdin=stdin,
                stdout_to=stdout_to,
            )
        except FileNotFoundError as error:
            if error.filename != "git":
                raise
            raise GitFailed("git was not found on PATH", hint="install git") from error


@contextmanager
def private_git(scratch: Path) -> Iterator[PrivateGit]:
    """A git folder below the existing folder ``scratch``, removed at the end. Raises StateUnwritable."""
    root = scratch / f"git-{os.urandom(8).hex()}"
    try:
        try:
            for folder in (root, root / "objects", root / "refs", root / "info"):
                folder.mkdir(mode=0o700)
            (root / "HEAD").write_text("ref: refs/heads/none\n")
            (root / "config").write_text(_CONFIG)
            (root / "info" / "attributes").write_text(_ATTRIBUTES)
        except OSError as error:
            raise StateUnwritable(f"cannot write {scratch}: {error.strerror}") from error
        yield PrivateGit(root)
    finally:
        if root.exists():
            remove_tree(root)
