"""Which trials a run makes: suites x targets x trials, less what was filtered, in the order they are dispatched."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from sandlot.errors import UsageError
from sandlot.evals.cases import Suite, TargetSpec, TestCase
from sandlot.evals.options import RunOptions
from sandlot.evals.outcomes import Trial

__all__ = ["DEFAULT_TIMEOUT_S", "DEFAULT_WORKERS", "Job", "select", "workers_of"]

DEFAULT_TIMEOUT_S = 600.0
"""Of a trial's target, when nobody says."""
DEFAULT_WORKERS = 4
"""At most, when nobody says: agents wait for models more than they compute, but every trial needs memory."""
MOST_TRIALS = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A trial, with all it needs."""

    trial: Trial
    suite: Suite
    test: TestCase
    target: TargetSpec
    timeout_s: float


Targets = Callable[[Path], Mapping[str, TargetSpec]]
"""The targets that suites in a folder can name."""


def select(suites: Sequence[Suite], targets: Targets, options: RunOptions) -> list[Job]:
    """All jobs. Raises UsageError: a name that nobody has, nothing left, or two trials of the same name."""
    suites = _distinct(suites)
    _check_words(suites, options)
    jobs = []
    for suite in suites:
        known: Mapping[str, TargetSpec] | None = None
        for test in suite.tests:
            if not _wanted(suite, test, options):
                continue
            if known is None:
                known = targets(Path(suite.file).parent)
            for name in options.targets or test.targets or suite.execution.targets or (_default(known, suite),):
                target = _target(known, name, suite)
                timeout = options.timeout_s or test.timeout_s or target.timeout_s or suite.execution.timeout_s
                for number in range(1, (options.trials or suite.execution.trials) + 1):
                    trial = Trial(suite.name, test.id, target.name, number)
                    jobs.append(Job(trial, suite, test, target, timeout or DEFAULT_TIMEOUT_S))
            if len(jobs) > MOST_TRIALS:
                raise UsageError(f"more than {MOST_TRIALS} trials", hint="narrow it: --filter, --tag, --trials")
    if not jobs:
        raise UsageError("no test fits", hint="sandlot eval run PATH --dry-run shows what there is")
    twice = [key for key, count in Counter(job.trial.key for job in jobs).items() if count > 1]
    if twice:
        raise UsageError(f"two trials have the name {twice[0]!r}", hint="give each test of a suite an id of its own")
    return [job for index, job in enumerate(jobs) if options.shard is None or options.shard.has(index)]


def workers_of(suites: Sequence[Suite], options: RunOptions) -> int:
    """How many trials may run at once."""
    if options.workers is not None:
        return options.workers
    said = [suite.execution.workers for suite in suites if suite.execution.workers]
    return max(said) if said else min(DEFAULT_WORKERS, os.cpu_count() or 1)


def _distinct(suites: Sequence[Suite]) -> list[Suite]:
    """Suites of the same name are told apart by their files, or their trials could not be."""
    counts = Counter(suite.name for suite in suites)
    common = os.path.commonpath([str(Path(suite.file).parent) for suite in suites]) if suites else ""

    def told_apart(suite: Suite) -> Suite:
        return replace(suite, name=f"{suite.name} ({os.path.relpath(suite.file, common)})")

    return [suite if counts[suite.name] == 1 else told_apart(suite) for suite in suites]


def _wanted(suite: Suite, test: TestCase, options: RunOptions) -> bool:
    if options.tags and not {*options.tags} & {*suite.tags, *test.tags}:
        return False
    return not options.filters or any(_fits(suite, test, pattern) for pattern in options.filters)


def _fits(suite: Suite, test: TestCase, pattern: str) -> bool:
    return fnmatchcase(test.id, pattern) or fnmatchcase(f"{suite.name}/{test.id}", pattern)


def _check_words(suites: Sequence[Suite], options: RunOptions) -> None:
    """A filter or tag that fits nothing is a mistake in writing, not a wish for nothing."""
    tags = {tag for suite in suites for tag in (*suite.tags, *(tag for test in suite.tests for tag in test.tags))}
    for tag in options.tags:
        if tag not in tags:
            hint = _nearest(tag, tags) or "no suite and no test has any: write tags: [...] there"
            raise UsageError(f"no test has the tag {tag!r}", hint=hint)
    for pattern in options.filters:
        if not any(_fits(suite, test, pattern) for suite in suites for test in suite.tests):
            names = {test.id for suite in suites for test in suite.tests}
            raise UsageError(f"no test fits the filter {pattern!r}", hint=_nearest(pattern, names))


def _default(known: Mapping[str, TargetSpec], suite: Suite) -> str:
    if "default" in known:
        return "default"
    if len(known) == 1:
        return next(iter(known))
    if not known:
        hint = "write .sandlot/targets.yaml beside the suite or above it"
        raise UsageError(f"{suite.file}: there is no target to give the tests to", hint=hint)
    raise UsageError(f"{suite.file}: it names no target", hint="--target, one of: " + ", ".join(sorted(known)))


def _target(known: Mapping[str, TargetSpec], name: str, suite: Suite) -> TargetSpec:
    if name in known:
        return known[name]
    hint = _nearest(name, known) if known else "write .sandlot/targets.yaml beside the suite or above it"
    raise UsageError(f"there is no target {name!r} for {suite.file}", hint=hint)


def _nearest(word: str, known: Mapping[str, object] | set[str]) -> str:
    from sandlot.evals.problems import nearest

    return nearest(word, known)
