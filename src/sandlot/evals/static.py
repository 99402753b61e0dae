"""``mode: static``: the user's own folder, which we never reset, delete or show inside for writing.

A trial runs in a workspace made from the folder as it is, and afterwards its changes come back to the folder by the
SDK's ``apply``. Index, refs and configuration of the user's repository are not among them: a commit made inside comes
back as what it did to the files.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandlot.errors import Refused, SandlotError, StateUnwritable, UnsafePath, UsageError
from sandlot.evals.cases import WorkspacePlan
from sandlot.evals.repos import Resolved, resolve
from sandlot.evals.scratch import staged, sweep
from sandlot.evals.staging import assemble
from sandlot.sdk import Sandlot, Workspace

if TYPE_CHECKING:
    from sandlot.model.changes import FileChange

__all__ = ["bring_back", "lock_name", "materialise_once", "seed"]

_ATTEMPTS = 3
"""Of bringing changes back: all; without what no patch can hold; without links that lead out either."""
_LINK = "120000"
_SETTINGS = (".sandlot", ".agentv")
_NO_SETTINGS = "settings and runs of evals are not a target's to change"


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
    if path.is_dir() and not os.access(path, os.R_OK | os.W_OK | os.X_OK):  # before anything is spent on a trial
        raise UsageError(f"{where}: you may not write {path}, so nothing could be brought back to it")
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


def bring_back(workspace: Workspace, path: str, to: str = "baseline") -> list[str]:
    """The workspace's changes to the user's folder, as warnings about what did not come along.

    Files that no patch can hold, links that lead out of the folder and settings of evals stay behind, each by name;
    everything else comes together or, when it does not fit the folder any more, not at all.
    """
    left = {each.path: _NO_SETTINGS for each in _changed(workspace, to) if _is_setting(each)}
    for _ in range(_ATTEMPTS):
        try:
            _apply(workspace, path, to, left)
        except (Refused, UnsafePath) as error:
            more = _unfit(workspace, to, error.details)
            if not more.keys() - left.keys():
                return [_nothing(path, error)]
            left |= more
        except SandlotError as error:
            return [_nothing(path, error)]
        else:
            break
    return [f"not brought back to {path}: {_some([f'{name}: {why}' for name, why in sorted(left.items())])}"] * bool(
        left
    )


def _changed(workspace: Workspace, to: str) -> Sequence[FileChange]:
    return workspace.diff(to=to, stat=True, include_ignored=True).files


def _is_setting(change: FileChange) -> bool:
    """A target that writes targets.yaml would say what the next run starts, and may say that it runs on the host."""
    names = (change.path, change.old_path or "")
    return any(part.lower() in _SETTINGS for name in names for part in name.split("/")[:-1])


def _apply(workspace: Workspace, path: str, to: str, left: Mapping[str, str]) -> None:
    wanted: list[str] = []
    if left:
        every = (each for each in _changed(workspace, to) if each.path not in left)
        wanted = [name for each in every for name in (each.path, each.old_path) if name]
        if not wanted:
            return
    workspace.apply(*wanted, target=path, yes=True, include_ignored=True, to=to)


def _unfit(workspace: Workspace, to: str, details: Sequence[str]) -> dict[str, str]:
    """Path -> reason, of what made the whole change be refused."""
    found: dict[str, str] = {}
    for each in _changed(workspace, to):
        if each.omitted:
            found[each.path] = each.omitted
        elif each.new_mode == _LINK and (
            not each.path.isprintable() or any(detail.startswith(f"{each.path} -> ") for detail in details)
        ):  # a name that is not printable is not printed as it is
            found[each.path] = "a link that leads out of the folder"
    return found


def _nothing(path: str, error: SandlotError) -> str:
    detail = f" ({_some(error.details)})" if error.details else ""
    return f"the changes were not brought back to {path}: {error.message}{detail}; the patch is in the run's folder"


def _some(every: Sequence[str]) -> str:
    return "; ".join(every[:5]) + (f"; and {len(every) - 5} more" if len(every) > 5 else "")
