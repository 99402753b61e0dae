"""Writing the ``.git`` folder of a workspace: self-contained, with the source's history and nothing that runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.gitcommand import local_environment, run_git
from sandlot.bases.gitobjects import bring_objects
from sandlot.bases.gitrefs import Refs, refs_text
from sandlot.bases.gitview import GitView
from sandlot.bases.progress import Progress
from sandlot.errors import GitFailed

__all__ = ["GitFolder", "write_git_folder"]

TRUST_OF_STAMPS = (("core.checkstat", "minimal"), ("core.trustctime", "false"))
"""A copied file has another inode and change time than the source's index says; size and mtime are the same."""


@dataclass(frozen=True, slots=True)
class GitFolder:
    """A finished ``.git`` folder."""

    path: Path
    written: int
    """Bytes written; linked object files cost nothing."""

    def git(self, *arguments: str, work_tree: Path | None = None, stdin: bytes | None = None, doing: str = "") -> bytes:
        """Run git on it. Raises GitFailed."""
        return run_git(
            ["-c", f"core.hooksPath={os.devnull}", *arguments],
            environment=local_environment(self.path, work_tree),
            cwd=work_tree or self.path,
            stdin=stdin,
            doing=doing,
        )


def write_git_folder(
    view: GitView,
    target: Path,
    progress: Progress,
    *,
    head: bytes | None = None,
    add_refs: Mapping[str, str] | None = None,
    settings: tuple[tuple[str, str], ...] = (),
    index: bool = True,
) -> GitFolder:
    """Make ``target`` a repository with the history, refs and remotes of ``view``.

    ``head`` replaces what HEAD is, ``add_refs`` (name -> commit) and ``settings`` come on top; ``index`` says whether
    the source's index, and what is under way there, is taken over. Raises GitFailed, SeedUnreadable, OSError for our
    own side.
    """
    refs = dict(view.refs)
    for name, commit in (add_refs or {}).items():
        refs[name] = (commit, "")
    for name in ("refs/heads", "refs/tags", "info", "objects"):
        (target / name).mkdir(mode=0o755, parents=True)
    written = bring_objects(view, target / "objects", progress)
    for name in view.copies():
        if not index and not name.startswith(("shallow", "info/")):
            continue
        shutil.copy2(view.folder / name, target / name, follow_symlinks=False)
        written += (target / name).stat().st_size
    if not (target / "info" / "exclude").exists():
        (target / "info" / "exclude").write_bytes(b"")
    config = view.config.text((*TRUST_OF_STAMPS, *settings))
    (target / "config").write_text(config, errors="surrogateescape")
    (target / "HEAD").write_bytes((head or view.head) + b"\n")
    folder = GitFolder(target, written)
    _write_refs(folder, _present(folder, refs, view))
    return folder


def _present(folder: GitFolder, refs: Refs, view: GitView) -> Refs:
    """The refs whose objects are there: a damaged ref of the source must not break the copy."""
    asked = sorted({object_id for object_id, _ in refs.values()})
    if not asked:
        return refs
    answer = folder.git("cat-file", "--batch-check=%(objecttype)", stdin="\n".join(asked).encode() + b"\n")
    missing = {
        object_id for object_id, line in zip(asked, answer.splitlines(), strict=True) if line.endswith(b" missing")
    }
    here = view.branch and refs.get(f"refs/heads/{view.branch}")
    if here and here[0] in missing:
        raise GitFailed(f"the source's history is damaged: the commit of {view.branch} is missing", hint="git fsck")
    return {name: value for name, value in refs.items() if value[0] not in missing}


def _write_refs(folder: GitFolder, refs: Refs) -> None:
    for name, (_, symbolic) in refs.items():
        if symbolic:
            path = folder.path / name
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.write_text(f"ref: {symbolic}\n", errors="surrogateescape")
    (folder.path / "packed-refs").write_bytes(refs_text({name: value for name, value in refs.items() if not value[1]}))
