"""Putting a workspace's tree together on the host: template, then repos, in a private folder of our own."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from sandlot.errors import PathNotFound, SeedUnreadable, UnsafePath, UsageError
from sandlot.evals.cases import WorkspacePlan
from sandlot.evals.repos import Resolved, contained, materialise

__all__ = ["assemble", "check_template", "is_partial", "left_out"]


def check_template(plan: WorkspacePlan) -> None:
    """Raises PathNotFound, UsageError: the template must be a folder."""
    if plan.template is None:
        return
    where = plan.provenance.get("template", "workspace.template")
    if not os.path.exists(plan.template):
        raise PathNotFound(f"{where}: the template {plan.template} does not exist")
    if not os.path.isdir(plan.template):
        raise UsageError(f"{where}: the template {plan.template} is not a folder")


def left_out(template: str) -> frozenset[str]:
    """Paths in a template that are not copied. Of a git checkout its files are meant, not its history; and what was
    answered in earlier runs of its evals, and how that was graded, is not for those who are to answer next.
    """
    return frozenset(os.path.join(template, *parts) for parts in ((".git",), (".sandlot", "runs")))


def is_partial(template: str | None) -> bool:
    """Whether something of the template is not copied."""
    return template is not None and any(os.path.lexists(path) for path in left_out(template))


def assemble(
    plan: WorkspacePlan, repos: Sequence[Resolved], folder: Path, progress: Callable[[str], None] | None = None
) -> None:
    """Fill the empty ``folder``. Raises GitFailed, UnsafePath, PathNotFound, UsageError, SeedUnreadable."""
    check_template(plan)
    if plan.template is not None:
        _copy_template(Path(plan.template), folder)
    for each in repos:
        if progress is not None:
            progress(f"cloning {each.repo.path}")
        materialise(each, _place_for(each, folder))


def _copy_template(template: Path, folder: Path) -> None:
    """A copy with modes and times; links as links, no special files, and not what is left out of a template."""
    without = left_out(os.fspath(template))

    def ignored(parent: str, names: list[str]) -> list[str]:
        gone = [name for name in names if os.path.join(parent, name) in without]
        kinds = ((name, os.lstat(os.path.join(parent, name)).st_mode) for name in names)
        return gone + [
            name for name, mode in kinds if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
        ]

    try:
        shutil.copytree(template, folder, symlinks=True, ignore=ignored, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        what = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        raise SeedUnreadable(f"cannot copy the template {template}: {what}") from error


def _place_for(resolved: Resolved, folder: Path) -> Path:
    """Where the repo goes: below ``folder``, through no link, where nothing is yet."""
    relative = contained(resolved.repo)
    at = folder
    for part in () if relative == "." else relative.split("/"):
        at = at / part
        if at.is_symlink():  # of the template; it may lead anywhere on the host
            raise UnsafePath(f"{resolved.repo.place}: the repo's path {resolved.repo.path!r} leads through a link")
        if at.exists() and not at.is_dir():
            raise UsageError(f"{resolved.repo.place}: a file is where the repo {resolved.repo.path!r} should go")
    if at.is_dir() and any(at.iterdir()):
        raise UsageError(
            f"{resolved.repo.place}: the folder {resolved.repo.path!r} is not empty",
            hint="leave it out of the template, or clone to another path",
        )
    return at
