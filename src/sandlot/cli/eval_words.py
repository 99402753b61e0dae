"""The parsers of ``sandlot eval``: each option is declared here and nowhere else."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from sandlot.cli.words import parser_of
from sandlot.errors import UsageError

if TYPE_CHECKING:
    from sandlot.evals.options import RunOptions

__all__ = [
    "COMMANDS",
    "EXAMPLES",
    "absolute_path",
    "add_arguments",
    "options_of",
    "parser",
    "refuse_removed",
    "resumed_options",
]

EXAMPLES = {
    "run": (
        "sandlot eval run evals/",
        "sandlot eval run evals/ --target codex --trials 3 --workers 4",
        "sandlot eval run evals/ --filter 'login-*' --workspace-mode temp --explain",
        "sandlot eval run evals/ --shard 1/3 --output runs/shard-1",
        "sandlot eval run evals/ --baseline latest --max-regressions 0",
    ),
    "resume": ("sandlot eval resume latest", "sandlot eval resume 20260521-101500-a1b2c3 --retry-errors"),
    "merge": ("sandlot eval merge runs/shard-1 runs/shard-2 runs/shard-3 --output runs/whole",),
    "report": ("sandlot eval report latest", "sandlot eval report latest --format junit > junit.xml"),
    "compare": ("sandlot eval compare runs/before latest", "sandlot eval compare A B --json"),
    "list": ("sandlot eval list", "sandlot eval list --json"),
}
COMMANDS = tuple(EXAMPLES)
FORMATS = ("text", "json", "junit")
MODES = ("pooled", "temp", "static")
REMOVED = (
    "--keep-workspaces",
    "--cleanup-workspaces",
    "--retain-on-success",
    "--retain-on-failure",
    "--pool-workspaces",
    "--no-pool",
)
"""Of other runners, and of habit. There is no alias: an option that half works is worse than none."""


def parser(name: str) -> argparse.ArgumentParser:
    """The parser of one of the commands."""
    made = parser_of(("eval", name), EXAMPLES[name])
    add_arguments(made, name)
    return made


def add_arguments(made: argparse.ArgumentParser, name: str) -> None:
    """All that one of the commands takes."""
    if name == "run":
        made.add_argument("paths", metavar="PATH", nargs="+", help="suites: files, or folders to look for them in")
        _add_selection(made)
        _add_where(made)
    if name in ("run", "resume"):
        _add_pace(made)
    if name in ("run", "resume", "merge"):
        _add_gate(made)
    if name in ("resume", "report"):
        made.add_argument("run", metavar="RUN", help="id, the beginning of one, a run's folder, or latest")
    if name == "merge":
        made.add_argument("runs", metavar="RUN", nargs="+", help="every shard of the run")
    if name == "compare":
        made.add_argument("before", metavar="RUN", help="the run to compare with")
        made.add_argument("after", metavar="RUN", help="the run to look at")
    if name in ("run", "merge"):
        made.add_argument("--output", metavar="DIR", help="the run's folder [a new one in .sandlot/runs]")
    if name == "report":
        made.add_argument("--format", choices=FORMATS, help="for people, programs or CI servers [text]")
    made.add_argument("--json", action="store_true", help="print the answer, or the error, as JSON")


def _add_selection(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--target", metavar="NAME", action="append", default=[], help="instead of the suites' own targets"
    )
    made.add_argument("--filter", metavar="GLOB", action="append", default=[], help="tests whose id, or SUITE/ID, fits")
    made.add_argument("--tag", metavar="TAG", action="append", default=[], help="tests that have one of these tags")
    made.add_argument("--trials", metavar="K", type=_positive, help="trials of each test by each target [the suite's]")
    made.add_argument("--shard", metavar="I/N", help="only this part of the trials; merge puts the parts together")
    made.add_argument("--dry-run", action="store_true", help="print what would be run, and run nothing")


def _add_where(made: argparse.ArgumentParser) -> None:
    made.add_argument("--workspace-mode", choices=MODES, help="how trials get their workspaces [pooled]")
    made.add_argument("--workspace-path", metavar="DIR", help="the static workspace; means --workspace-mode static")
    made.add_argument(
        "--explain", action="store_true", help="print where each workspace setting comes from; run nothing"
    )


def _add_pace(made: argparse.ArgumentParser) -> None:
    made.add_argument("--workers", metavar="N", type=_positive, help="trials at the same time [the suites', or 4]")
    if made.prog.endswith("run"):
        made.add_argument("--timeout", metavar="DURATION", help="of each trial's target [the test's, or 10m]")
    made.add_argument("--fail-fast", action="store_true", help="start no trial after the first that did not pass")
    made.add_argument("--retry-errors", action="store_true", help="run trials that ended in an error once more")
    made.add_argument("--budget-usd", metavar="USD", type=_amount, help="stop when targets have used so much")
    made.add_argument("--budget-tokens", metavar="N", type=_positive, help="stop when targets have used so many")
    made.add_argument("--budget-minutes", metavar="MIN", type=_amount, help="stop after so long")


def _add_gate(made: argparse.ArgumentParser) -> None:
    made.add_argument("--min-pass-rate", metavar="RATE", type=_rate, help="exit 1 below it: 0.9, 90%% [1]")
    made.add_argument("--baseline", metavar="RUN", help="compare with that run; exit 1 if tests regressed")
    made.add_argument("--max-regressions", metavar="N", type=_count, help="that many may, against --baseline [0]")


def refuse_removed(words: list[str]) -> None:
    """Raises UsageError by name, with what to write instead."""
    for word in words:
        if word.partition("=")[0] in REMOVED:
            raise UsageError(
                f"there is no option {word.partition('=')[0]}",
                hint="where trials run is --workspace-mode pooled|temp|static and --workspace-path, nothing else",
            )


def options_of(parsed: argparse.Namespace, baseline: str | None) -> RunOptions:
    """What ``run`` was asked for. Raises UsageError."""
    from sandlot.evals.options import Budgets, RunOptions, Shard
    from sandlot.settings import seconds

    timeout = None
    if parsed.timeout is not None:
        timeout = seconds(parsed.timeout)
        if not timeout:
            raise UsageError("a trial needs a timeout", hint="write 90s, 15m or 2h")
    return RunOptions(
        paths=tuple(os.path.abspath(path) for path in parsed.paths),
        targets=tuple(dict.fromkeys(parsed.target)),
        filters=tuple(parsed.filter),
        tags=tuple(parsed.tag),
        trials=parsed.trials,
        workers=parsed.workers,
        timeout_s=timeout,
        fail_fast=parsed.fail_fast,
        retry_errors=parsed.retry_errors,
        budgets=Budgets(parsed.budget_usd, parsed.budget_tokens, parsed.budget_minutes),
        workspace_mode=parsed.workspace_mode,
        workspace_path=absolute_path(parsed.workspace_path),
        shard=None if parsed.shard is None else Shard.parse(parsed.shard),
        min_pass_rate=parsed.min_pass_rate,
        baseline=baseline,
        max_regressions=parsed.max_regressions,
    )


def absolute_path(written: str | None) -> str | None:
    """A ``--workspace-path``, so that a run can be resumed from anywhere; empty stays empty, which is refused."""
    if written is None or not written.strip():
        return written
    return os.path.abspath(os.path.expanduser(written))  # no shell opens the ~ of --workspace-path=~/x


def resumed_options(begun: RunOptions, parsed: argparse.Namespace, baseline: str | None) -> RunOptions:
    """What a run was asked for, as changed by the words of ``resume`` or ``merge``."""
    import dataclasses

    from sandlot.evals.options import Budgets

    def said(name: str, before: Any) -> Any:
        value = getattr(parsed, name, None)
        return before if value is None else value

    budgets = {name: said(f"budget_{name}", getattr(begun.budgets, name)) for name in ("usd", "tokens", "minutes")}
    return dataclasses.replace(
        begun,
        workers=said("workers", begun.workers),
        fail_fast=getattr(parsed, "fail_fast", False),
        retry_errors=getattr(parsed, "retry_errors", False),
        budgets=Budgets(**budgets),
        min_pass_rate=said("min_pass_rate", begun.min_pass_rate),
        baseline=baseline or begun.baseline,
        max_regressions=said("max_regressions", begun.max_regressions),
    )


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 1 << 40:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 1 << 40:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate: write 0.9 or 90%")
    return value
