"""Calls of the tools on evals: what a chat may run, and how its answers are made.

A chat chooses among the suites and targets that the user's project has. It never brings its own, for they can name
keys, networks and files of the host: no export makes what is found as a suite or as targets (``exports``), and nothing
that a chat has exported is read as a part of one (``exported``). What would happen on the host itself (``placement:
host``, a static workspace) is for the user's command line.

The run goes on in a process of its own, and its folder says how it goes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandlot.errors import RunNotFound, UnsafePath, UsageError
from sandlot.evals.requests import EvalCompare, EvalResults, EvalRun
from sandlot.mcpserver.confinement import shared, source_below
from sandlot.mcpserver.exported import comes_from_chat
from sandlot.operations.operation import check_numbers
from sandlot.settings import seconds

if TYPE_CHECKING:
    from sandlot.evals.background import BackgroundRun
    from sandlot.evals.run_folder import RunFolder
    from sandlot.evals.session import RunPlan
    from sandlot.mcpserver.answering import Answer
    from sandlot.mcpserver.calls import Work
    from sandlot.mcpserver.project import Project

__all__ = ["answer"]

START_S = 30.0
"""How long the process of a run may take to begin with it."""
MOST_BYTES = 1 << 20
"""Of one file of a run that is shown; people read the rest in the run's folder."""
_STEP_S = 1.0
_FOR_THE_USER = "the user runs: sandlot eval run"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_OURS = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_THE_PROJECT = "the project folder"


def answer(work: Work, request: Any, project: Project) -> Answer:
    """Carry out a call. Raises SandlotError; Cancelled when it was cancelled: a run that it has begun is ended then."""
    check_numbers(request)
    if project.folder is None:
        raise UsageError(f"there is no project with evals: {project.why}", hint="the user names one: --project-path")
    if isinstance(request, EvalRun):
        return _run(work, request, project.folder)
    if isinstance(request, EvalResults):
        return _results(work, request, project.folder)
    return _compare(work, request, project.folder)


# -- run ---------------------------------------------------------------------------------------------------------------


def _run(work: Work, request: EvalRun, project: str) -> Answer:
    from sandlot.evals.background import BackgroundRun
    from sandlot.mcpserver.eval_answers import report

    until = time.monotonic() + work.patience_s
    with shared(work.state_folder):  # nothing is exported while suites are looked for and read
        folder, unset = _begun(work, request, project)
    begun = BackgroundRun.start(folder, work.sandlot.paths)
    try:
        begun.wait_until_it_runs(START_S, work.cancellation.check)
        ended = _followed(work, begun, until)
    except BaseException:
        begun.stop()
        raise
    notes = [f"the environment has no {name}; nothing stands in its place" for name in unset]
    return report(folder, going_on=not ended, notes=notes)


def _followed(work: Work, begun: BackgroundRun, until: float) -> bool:
    """Wait for its end for as long as a host waits for us; whether it has come."""
    from sandlot.evals.background import done

    total = len(begun.folder.manifest.trials)
    while (left := until - time.monotonic()) > 0:
        work.progress("trials", done(begun.folder), total)
        if begun.wait(min(_STEP_S, left), work.cancellation.check):
            return True
    return begun.wait(0, work.cancellation.check)


def _begun(work: Work, request: EvalRun, project: str) -> tuple[RunFolder, tuple[str, ...]]:
    """A run with its plan on disk; and the variables that its suites miss."""
    from sandlot.evals import real
    from sandlot.evals.manifest import new_id
    from sandlot.evals.options import Budgets, RunOptions
    from sandlot.evals.runs import runs_folder
    from sandlot.evals.session import begin, plan_run
    from sandlot.evals.watched import watched_by

    def look(path: Path) -> None:
        """Before it is read: even what is wrong with a file says something about what it names."""
        if comes_from_chat(work.state_folder, os.path.realpath(path)):
            raise UnsafePath(f"{path} comes from a chat, and is no part of a suite", hint=_FOR_THE_USER)

    options = RunOptions(
        paths=tuple(_suites_at(project, path) for path in request.paths),
        targets=() if request.target is None else (request.target,),
        filters=() if request.filter is None else (request.filter,),
        trials=request.trials,
        budgets=Budgets(minutes=request.minutes),
    )
    with watched_by(look):
        plan = plan_run(options, real.load, real.targets_near)
    real.check(plan.targets)
    _refuse_host(plan)
    _no_links(project)
    work.cancellation.check()  # the last moment at which nothing is there
    run_id = new_id()
    folder = begin(plan, runs_folder(Path(project), make=True) / run_id, run_id)
    return folder, tuple(dict.fromkeys(name for suite in plan.suites for name in suite.unset))


def _suites_at(project: str, path: str) -> str:
    """A folder to look for suites in, or a suite's file that would be found there. Raises UnsafePath, PathNotFound."""
    from sandlot.evals.discovery import is_suite

    found = Path(source_below(project, path, _THE_PROJECT))
    below = found.relative_to(project).parts
    if hidden := [part for part in below if part.startswith(".")]:
        # Runs of before are in there, and what targets have printed.
        raise UnsafePath(f"{hidden[0]!r} is a hidden name, and has no suites for a chat", hint="name the suites")
    if found.is_file() and not is_suite(found):
        raise UsageError(f"{path!r} is no suite", hint="name a folder of suites, or a file such as NAME.eval.yaml")
    return str(found)


def _refuse_host(plan: RunPlan) -> None:
    """Raises UsageError when a trial would do anything on the host itself."""
    from sandlot.evals.cases import Placement, WorkspaceMode

    for job in plan.jobs:
        workspace, where = job.test.workspace, f"{job.suite.name}/{job.test.id}"
        hooks = workspace.hooks.values() if workspace.hooks_enabled else ()
        if workspace.mode is WorkspaceMode.STATIC:
            why = "works in the user's own folder (static)"
        elif job.target.placement is Placement.HOST or any(each.placement is Placement.HOST for each in hooks):
            why = "runs a target or a hook on the host (placement: host)"
        elif any(_names_host(each.config) for each in job.test.graders):
            why = "runs a grader on the host (placement: host)"
        else:
            continue
        raise UsageError(f"{where} {why}, which no chat may begin", hint=_FOR_THE_USER)


def _names_host(config: object) -> bool:
    """Whether a grader, or one inside it, is placed on the host."""
    if isinstance(config, Mapping):
        return config.get("placement") == "host" or any(_names_host(each) for each in config.values())
    if isinstance(config, (list, tuple)):
        return any(_names_host(each) for each in config)
    inner = getattr(config, "config", None)
    return inner is not None and _names_host(inner)


# -- results, compare --------------------------------------------------------------------------------------------------


def _results(work: Work, request: EvalResults, project: str) -> Answer:
    from sandlot.evals.background import done, wait_for_end
    from sandlot.mcpserver.eval_answers import report, trials_of

    folder = _found(request.run, project)
    if request.wait is not None:
        left = seconds(request.wait) or 0.0  # bounded by ``calls``
        total = len(folder.manifest.trials)
        while not wait_for_end(folder, min(_STEP_S, left), work.cancellation.check) and (left := left - _STEP_S) > 0:
            work.progress("trials", done(folder), total)
    if request.test is None:
        return report(folder, offset=request.offset)
    return trials_of(folder, request.test, request.offset, lambda path: _content(path, project))


def _compare(_work: Work, request: EvalCompare, project: str) -> Answer:
    from sandlot.mcpserver.eval_answers import comparison

    return comparison(_found(request.before, project), _found(request.after, project), request.offset)


def _found(word: str, project: str) -> RunFolder:
    """A run of this project by its id, the beginning of one, or ``latest``; never by a path. Raises RunNotFound."""
    from sandlot.evals.runs import find_run, runs_folder

    if not _ID.fullmatch(word):
        raise UsageError(f"{word[:80]!r} is no id of a run", hint="name a run by its id, or latest")
    _no_links(project)
    runs = runs_folder(Path(project))
    try:
        found = find_run(word, runs)
        if not _OURS.fullmatch(found.manifest.id):  # it is said before the mark, and runs may come with the project
            raise RunNotFound(f"{word!r} is no run of sandlot's")
        return found
    except RunNotFound as error:
        names = (each.parent.name for each in runs.glob("*/run.json"))
        latest = sorted(name for name in names if _OURS.fullmatch(name))[:-6:-1]
        hint = f"the latest: {', '.join(latest)}" if latest else "eval_run makes one"
        raise RunNotFound(f"this project has no run {word!r}", hint=hint) from error


def _no_links(project: str) -> None:
    """Raises UnsafePath when the place of the runs is somewhere else: a project may come from a stranger."""
    from sandlot.evals.runs import runs_folder

    runs = runs_folder(Path(project))
    for each in (runs.parent, runs):
        if each.is_symlink():
            raise UnsafePath(f"{each.name!r} of {_THE_PROJECT} is a symlink, and runs are kept in no such place")


def _content(path: Path, project: str) -> bytes:
    """The beginning of a file of a run, which must lie where it seems to. Empty when there is none."""
    from sandlot.evals.runs import project_of

    root = str(project_of(Path(project)))
    if not path.is_file():
        return b""
    with open(source_below(root, str(path), _THE_PROJECT), "rb") as file:
        return file.read(MOST_BYTES)
