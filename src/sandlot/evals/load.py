"""Files to suites: everything that ``eval run`` and ``eval validate`` accept or refuse is decided on this one way."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Suite
from sandlot.evals.discovery import Found, Kind, discover
from sandlot.evals.grader_checks import check_hidden
from sandlot.evals.problems import Problems
from sandlot.evals.resolve import WorkspaceOptions

__all__ = ["load_suites"]


def load_suites(
    paths: Iterable[str | Path],
    workspace: WorkspaceOptions | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> list[Suite]:
    """The suites in these files and folders, every test with its resolved workspace plan.

    ``workspace``: what the command line says about workspaces. ``environ``: what ``${{ NAME }}`` reads [ours].
    Raises SuiteInvalid with all that is wrong in all of them, and UsageError for ``workspace``.
    """
    options = workspace or WorkspaceOptions()
    environment = os.environ if environ is None else environ
    problems = Problems()
    suites = []
    for found in discover(paths, problems):
        try:
            suite = _load(found, options, environment, problems)
        except SuiteInvalid as error:
            problems.add_error(error)
            continue
        if suite is not None:
            suites.append(suite)
            for test in suite.tests:
                check_hidden(test, problems)
    problems.raise_if_any()
    return suites


def _load(found: Found, options: WorkspaceOptions, environ: Mapping[str, str], problems: Problems) -> Suite | None:
    if found.kind is Kind.HARBOR:
        from sandlot.evals.harbor import load_harbor

        return load_harbor(found.path, options, problems)
    if found.kind is Kind.SKILL:
        from sandlot.evals.agent_skills import load_skill

        return load_skill(found.path, options, environ, problems)
    from sandlot.evals.suite_file import load_suite

    return load_suite(found.path, options, environ, problems)
