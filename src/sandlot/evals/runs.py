"""Where runs are, and which one somebody means."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import RunNotFound, SandlotError, StateUnwritable, UsageError
from sandlot.evals.project import project_of
from sandlot.evals.run_folder import RunFolder
from sandlot.evals.summary import Numbers, numbers

__all__ = ["LATEST", "Listed", "find_run", "list_runs", "names", "project_of", "runs_folder", "state_of"]

LATEST = "latest"
"""Instead of an id: the run that began last."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A run, as ``eval list`` shows it."""

    id: str
    created: str
    state: str
    """running, complete, fail-fast, budget, interrupted, killed, unreadable."""
    suites: tuple[str, ...]
    targets: tuple[str, ...]
    numbers: Numbers | None
    folder: str


def runs_folder(start: Path, *, make: bool = False) -> Path:
    """Where the runs of that folder's project are. ``make``: create it, hidden from the project's git.

    Raises StateUnwritable.
    """
    folder = project_of(start) / ".sandlot" / "runs"
    if make:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ignore = folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            hint = "name a folder that can be written: --output DIR"
            raise StateUnwritable(f"cannot make {folder}: {error.strerror or error}", hint=hint) from error
    return folder


def find_run(word: str, start: Path) -> RunFolder:
    """A run by its folder, its id, the beginning of its id, or ``latest``. Raises RunNotFound, UsageError."""
    if os.sep in word or RunFolder(start / word).exists:
        return RunFolder.open(Path(os.path.abspath(start / word)))
    folder = runs_folder(start)
    known = names(start)
    if word == LATEST:
        if not known:
            raise RunNotFound(f"there is no run in {folder}", hint="sandlot eval run PATH")
        return RunFolder.open(folder / known[-1])
    fitting = [name for name in known if name == word] or [name for name in known if word and name.startswith(word)]
    if not fitting:
        raise RunNotFound(f"there is no run {word!r} in {folder}")
    if len(fitting) > 1:
        raise UsageError(f"{word!r} can be {len(fitting)} runs", hint="one of: " + ", ".join(fitting[:5]))
    return RunFolder.open(folder / fitting[0])


def list_runs(start: Path) -> list[Listed]:
    """The runs of a project, the newest first. One that cannot be read is in it, and says so."""
    folder = runs_folder(start)
    return [_listed(RunFolder(folder / name)) for name in reversed(names(start))]


def state_of(folder: RunFolder, *, left: int) -> str:
    """In a word. ``left``: how many of its trials have no result."""
    if folder.busy:
        return "running"
    sessions = folder.sessions()
    ending = sessions[-1].ending if sessions else ""
    return ending or ("killed" if left else "complete")


def _listed(folder: RunFolder) -> Listed:
    try:
        manifest = folder.manifest
        trials = [each.trial for each in manifest.trials]
        counts = numbers(trials, folder.results(trials))
        state = state_of(folder, left=counts.skipped)
    except SandlotError:
        return Listed(folder.root.name, "", "unreadable", (), (), None, str(folder.root))
    return Listed(
        id=manifest.id,
        created=manifest.created,
        state=state,
        suites=tuple(dict.fromkeys(each.suite for each in trials)),
        targets=tuple(dict.fromkeys(each.target for each in trials)),
        numbers=counts,
        folder=str(folder.root),
    )


def names(start: Path) -> list[str]:
    """The ids of that folder's project's runs, the oldest first."""
    try:
        return sorted(entry.name for entry in runs_folder(start).iterdir() if RunFolder(entry).exists)
    except OSError:
        return []
