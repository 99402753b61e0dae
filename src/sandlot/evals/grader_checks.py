"""What a grader itself says about its configuration, asked when the suite is loaded and not after a target has run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from sandlot.errors import UsageError
from sandlot.evals.cases import GraderSpec, Place
from sandlot.evals.graders import check_grader
from sandlot.evals.problems import Problems

__all__ = ["check_graders"]

_FILE = re.compile(r"\S+\.(md|txt|prompt|j2)")
"""A prompt that is the name of a file, and no sentence."""


def check_graders(graders: Iterable[GraderSpec], problems: Problems) -> None:
    """Mistakes go to ``problems``; nothing is run, no key is read."""
    for each in graders:
        prompt = each.config.get("prompt")
        if (
            isinstance(prompt, str)
            and _FILE.fullmatch(prompt)
            and not os.path.isfile(os.path.join(each.folder, prompt))
        ):
            # Or the model would be asked to judge by the name of a file.
            problems.add(each.place, f"the prompt {prompt!r} does not exist", f"looked in {each.folder}")
        try:
            check_grader(each)
        except UsageError as error:
            problems.add(Place(""), error.message, error.hint)
