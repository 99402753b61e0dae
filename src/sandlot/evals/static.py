"""``mode: static``: the user's own folder, which we never reset, delete or show inside for writing.

A trial runs in a workspace made from the folder as it is, and afterwards its changes come back to the folder by the
SDK's ``apply``: all or nothing, files only. Index, refs and configuration of the user's repository are not among them.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sandlot.errors import SandlotError, StateUnwritable, UsageError
from sandlot.evals.cases import WorkspacePlan
from sandlot.evals.repos import Resolved, resolve
from sandlot.evals.staging import assemble, staged, sweep
from sandlot.sdk import Sandlot, Workspace

__all__ = ["bring_back", "lock_name", "materialise_once", "seed"]


def lock_name(path: str) -> str:
    """Trials in one folder run one after the other, whoever starts them."""
    return "static-" + hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]


def materialise_once(plan: WorkspacePlan, progress: Callable[[str], None] | None = None) -> Sequence[Resolved]:
    """Fill the folder if it is missing or empty, complete or not at all. A folder with anything in it is left alone.

    Answers with the commits of what was cloned. Raises UsageError, GitFailed and their like.
    """
    path = Path(plan.path or "")
    where = plan.provenance.get("path", "workspace.path")
    if os.path.lexists(path) and not path.is_dir():
        raise UsageError(f"{where}: {path} is not a folder")
    if path.is_dir() and os.listdir(path):
        if not os.path.lexists(path / ".git") and (path / "HEAD").is_file() and (path / "objects").is_dir():
            raise UsageError(f"{where}: {path} is a bare repository", hint="name a folder with a working tree")
        return ()
    try:
        real = Path(os.path.realpath(path))
        real.parent.mkdir(parents=True, exist_ok=True)
        sweep(real.parent)
        repos = [resolve(each) for each in plan.repos]
        with staged(real.parent) as folder:
            tree = folder / "tree"
            tree.mkdir()
            assemble(plan, repos, tree, progress)
            _move(tree, real)
    except OSError as error:
        raise StateUnwritable(f"{where}: cannot make {path}: {error.strerror}") from error
    return repos


def _move(tree: Path, path: Path) -> None:
    try:
        os.rename(tree, path)  # takes the place of an empty folder, too
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):  # somebody filled it meanwhile, say: theirs stays
            raise
        for entry in sorted(tree.iterdir()):  # the folder is a mount point
            os.rename(entry, path / entry.name)


def seed(sandlot: Sandlot, path: str, labels: Mapping[str, str], words: dict[str, Any]) -> Workspace:
    """A workspace from the folder as it is now: tracked, untracked and ignored files. ``words``: of ``create``."""
    checkout = os.path.lexists(os.path.join(path, ".git"))
    return sandlot.create(path, include_ignored=checkout, labels=labels, **words)


def bring_back(workspace: Workspace, path: str, to: str = "baseline") -> str:
    """The workspace's changes to the user's folder; why not, if it did not work (nothing has changed there then)."""
    try:
        workspace.apply(target=path, yes=True, include_ignored=True, to=to)
    except SandlotError as error:
        detail = f" ({'; '.join(error.details[:5])})" if error.details else ""
        return f"the changes were not brought back to {path}: {error.message}{detail}"
    return ""
