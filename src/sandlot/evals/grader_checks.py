"""What a grader itself says about its configuration, asked when the suite is loaded and not after a target has run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from sandlot.errors import UsageError
from sandlot.evals.cases import GraderSpec, Place, TestCase, WorkspaceMode
from sandlot.evals.graders import check_grader, read_grader
from sandlot.evals.problems import Problems

__all__ = ["check_graders", "check_hidden"]

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


def check_hidden(test: TestCase, problems: Problems) -> None:
    """What graders keep from targets must not lie in what a trial is given: then it is hidden from nobody.

    In a static folder a target's changes come back to it, so that programs that grade could even be rewritten.
    """
    plan = test.workspace
    static = plan.mode is WorkspaceMode.STATIC
    given = plan.path if static else plan.template
    if not given:
        return
    root = os.path.join(os.path.realpath(given), "")
    for spec in test.graders:
        try:
            hidden = read_grader(spec).hidden_from_targets(static=static)
        except UsageError:
            continue  # told already
        for path in hidden:
            if os.path.join(os.path.realpath(path), "").startswith(root):
                what = f"the static workspace {given}" if static else f"the template {given}"
                problems.add(spec.place, f"{path} is hidden from targets, but lies in {what}", "move it out of there")
