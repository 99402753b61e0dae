"""What a grader itself says about its configuration, asked when the suite is loaded and not after a target has run."""

from __future__ import annotations

from collections.abc import Iterable

from sandlot.errors import UsageError
from sandlot.evals.cases import GraderSpec, Place
from sandlot.evals.graders import check_grader
from sandlot.evals.problems import Problems

__all__ = ["check_graders"]


def check_graders(graders: Iterable[GraderSpec], problems: Problems) -> None:
    """Mistakes go to ``problems``; nothing is run, no key is read."""
    for each in graders:
        try:
            check_grader(each)
        except UsageError as error:
            problems.add(Place(""), error.message, error.hint)
