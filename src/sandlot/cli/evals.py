"""``sandlot eval``: run suites, resume and merge runs, and say how they went."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandlot.cli.answer import Interrupted, as_json, print_error
from sandlot.cli.eval_words import COMMANDS, options_of, parser, refuse_removed, resumed_options
from sandlot.cli.terminal import shown, table
from sandlot.cli.words import parse
from sandlot.errors import Conflict, NotFound, SandlotError, StateUnwritable, UsageError

if TYPE_CHECKING:
    from sandlot.evals.gate import Gate
    from sandlot.evals.report import Run
    from sandlot.evals.run import Ending
    from sandlot.evals.run_folder import RunFolder
    from sandlot.evals.session import RunPlan

__all__ = ["COMMANDS", "command", "parser"]

USAGE, ERRORS = 2, 3
"""Exit statuses of what goes wrong before or around the trials; gate.py has those of runs."""


def command(words: list[str], json_wanted: bool) -> int:
    """Run one of the commands. 0 passed, 1 below the gate, 2 usage, 3 errors, 4 budget, 130 interrupted."""
    gc.freeze()
    gc.enable()  # a run goes on for hours
    name, rest = words[0], words[1:]
    refuse_removed(rest)
    parsed = parse(parser(name), rest, json_wanted)
    run = {
        "run": _run, "resume": _resume, "merge": _merge, "report": _report, "compare": _compare, "list": _list,
    }[name]  # fmt: skip
    try:
        return run(parsed)
    except SandlotError as error:
        print_error(error, json_wanted=parsed.json)
        before = isinstance(error, StateUnwritable) and "begun" not in parsed  # such as a read-only --output
        return USAGE if before or isinstance(error, (UsageError, NotFound, Conflict)) else ERRORS


# -- run, resume, merge --------------------------------------------------------------------------------------------


def _run(parsed: argparse.Namespace) -> int:
    from sandlot.evals import real
    from sandlot.evals.manifest import new_id
    from sandlot.evals.runs import runs_folder
    from sandlot.evals.session import begin, check_apart, plan_run

    plan = plan_run(options_of(parsed, _baseline(parsed)), real.load, real.targets_near)
    real.check(plan.targets)
    for suite in plan.suites:
        for name in suite.unset:
            _note(f"warning: {suite.file}: the environment has no {name}; nothing stands in its place")
    here = Path.cwd()
    check_apart(plan, Path(parsed.output).absolute() if parsed.output else runs_folder(here))
    if parsed.dry_run or parsed.explain:
        _show_plan(plan, parsed)
        return 0
    run_id = new_id()
    root = Path(parsed.output).absolute() if parsed.output else runs_folder(here, make=True) / run_id
    return _go(begin(plan, root, run_id), plan, parsed)


def _resume(parsed: argparse.Namespace) -> int:
    from sandlot.evals import real
    from sandlot.evals.runs import find_run
    from sandlot.evals.session import resumed

    folder = find_run(parsed.run, Path.cwd())
    baseline = _baseline(parsed)
    if baseline is not None and os.path.samefile(baseline, folder.root):
        hint = "latest is the run itself once it has begun: sandlot eval list"
        raise UsageError("a run compared with itself has no regressions", hint=hint)
    plan = resumed(folder, lambda begun: resumed_options(begun, parsed, baseline), real.load, real.targets_near)
    return _go(folder, plan, parsed)


def _go(folder: RunFolder, plan: RunPlan, parsed: argparse.Namespace) -> int:
    """Run what is left, with the folder locked, then print the report and judge it."""
    from sandlot.cli.eval_progress import RunDisplay
    from sandlot.cli.eval_signals import ended_by_the_first_signal
    from sandlot.evals.progress import Progress
    from sandlot.evals.real import RealMachinery
    from sandlot.evals.run import Watch
    from sandlot.evals.session import Session
    from sandlot.sdk import Sandlot

    run_id = folder.manifest.id
    name = run_id if folder.root.name == run_id else str(folder.root)
    try:
        with ended_by_the_first_signal(), folder.lock(), Sandlot() as sandlot:
            session = Session(folder, plan, RealMachinery(sandlot, run_id, [job.test for job in plan.jobs]))
            progress = Progress(len(session.trials), plan.workers, session.results.values())
            again = {job.trial.key for job in session.left if job.trial.key in session.results}
            display = RunDisplay(progress, quiet=parsed.json)
            _note(f"run {name}: {len(session.left)} of {len(session.trials)} trials, {plan.workers} at a time")

            def finished(result: Any) -> None:
                progress.finished(result, again=result.trial.key in again)
                again.add(result.trial.key)
                display.finished(result)

            session.watch = Watch(lambda _job: progress.started(), finished, display.tick)
            parsed.begun = True
            with display:
                ending = session.run()
    except KeyboardInterrupt:
        print_error(Interrupted("interrupted", hint=f"sandlot eval resume {name}"), json_wanted=parsed.json)
        return Interrupted.exit_status
    except SystemExit:  # SIGTERM, SIGHUP
        _note(f"ended from outside; finish it: sandlot eval resume {name}")
        raise
    return _conclude(folder, plan, ending, parsed, name)


def _conclude(folder: RunFolder, plan: RunPlan, ending: Ending, parsed: argparse.Namespace, name: str) -> int:
    from sandlot.evals.report import Run

    run = Run.read(folder)
    gate = _judge(run, ending, plan.options)
    if parsed.json:
        _print_json(run, gate)
    else:
        _print_text(run)
        for reason in gate.reasons:
            _note(f"exit {gate.status.value}: {reason}")
        left = run.numbers.skipped > 0
        _note(f"{'finish it' if left else 'more'}: sandlot eval {'resume' if left else 'report'} {name}")
    return gate.status.value


def _merge(parsed: argparse.Namespace) -> int:
    from sandlot.evals.manifest import new_id
    from sandlot.evals.merge import merge
    from sandlot.evals.report import Run
    from sandlot.evals.run import Ending
    from sandlot.evals.runs import find_run, runs_folder

    here = Path.cwd()
    shards = [find_run(word, here) for word in parsed.runs]
    run_id = new_id()
    root = Path(parsed.output).absolute() if parsed.output else runs_folder(here, make=True) / run_id
    run = Run.read(merge(shards, root, run_id))
    gate = _judge(run, Ending.COMPLETE, resumed_options(run.manifest.options, parsed, _baseline(parsed)))
    if parsed.json:
        _print_json(run, gate)
    else:
        _print_text(run)
        for reason in gate.reasons:
            _note(f"exit {gate.status.value}: {reason}")
    return gate.status.value


def _judge(run: Run, ending: Ending, options: Any) -> Gate:
    from sandlot.evals.compare import compare
    from sandlot.evals.gate import judge
    from sandlot.evals.report import Run
    from sandlot.evals.run_folder import RunFolder

    comparison = None
    if options.baseline is not None:
        comparison = compare(Run.read(RunFolder.open(Path(options.baseline))).tests, run.tests)
    return judge(run.numbers, options, ending, comparison)


def _baseline(parsed: argparse.Namespace) -> str | None:
    """The folder of the run that ``--baseline`` names: found before anything is spent on a run."""
    if parsed.baseline is None:
        return None
    from sandlot.evals.runs import find_run

    return str(find_run(parsed.baseline, Path.cwd()).root)


def _show_plan(plan: RunPlan, parsed: argparse.Namespace) -> None:
    from sandlot.evals.explain import explain

    found = explain(plan)
    if parsed.json:
        print(as_json(found))
        return
    for each in found["workspaces"]:
        print(shown(f"workspace of {each['suite']} ({each['tests']} tests)"))
        for row in each["settings"]:
            value = row["value"] if isinstance(row["value"], str) else json.dumps(row["value"])
            print(shown(f"  {row['name']}: {value}" + (f"  ({row['from']})" if row["from"] else "")))
    if parsed.dry_run:
        for key in found["trials"]:
            print(shown(key))
        _note(f"{len(found['trials'])} trials, {plan.workers} at a time; nothing was run")


# -- reports ---------------------------------------------------------------------------------------------------------


def _report(parsed: argparse.Namespace) -> int:
    from sandlot.evals.report import Run
    from sandlot.evals.runs import find_run

    run = Run.read(find_run(parsed.run, Path.cwd()))
    wanted = parsed.format or ("json" if parsed.json else "text")
    if parsed.json and wanted != "json":
        raise UsageError(f"--json and --format {wanted} contradict each other")
    if wanted == "json":
        _print_json(run)
    elif wanted == "junit":
        from sandlot.evals.junit import as_junit

        sys.stdout.flush()
        sys.stdout.buffer.write(as_junit(run))
    else:
        _print_text(run)
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    """0 whatever it says: ``--baseline`` is the gate."""
    from sandlot.evals.compare import compare
    from sandlot.evals.report import Run, as_text_comparison
    from sandlot.evals.runs import find_run

    here = Path.cwd()
    before, after = Run.read(find_run(parsed.before, here)), Run.read(find_run(parsed.after, here))
    found = compare(before.tests, after.tests)
    if parsed.json:
        answer = {
            "before": before.manifest.id, "after": after.manifest.id, "p_value": found.p_value, "fixed": found.fixed,
            "regressed": found.regressed, "undecided": found.undecided, "pairs": found.pairs,
            "only_before": found.only_before, "only_after": found.only_after,
        }  # fmt: skip
        print(as_json(answer))
        return 0
    _print_lines(as_text_comparison(found, before.manifest.id, after.manifest.id))
    return 0


def _list(parsed: argparse.Namespace) -> int:
    from sandlot.evals.runs import list_runs

    runs = list_runs(Path.cwd())
    if parsed.json:
        print(as_json({"runs": runs}))
        return 0
    rows = []
    for each in runs:
        counts = each.numbers
        passed = f"{counts.passed}/{counts.total}" if counts else ""
        rows.append((each.id, each.created[:19], each.state, passed, ", ".join(each.targets), ", ".join(each.suites)))
    table(("id", "created", "state", "passed", "targets", "suites"), rows)
    return 0


def _print_text(run: Run) -> None:
    from sandlot.evals.report import as_text

    _print_lines(as_text(run))


def _print_lines(text: str) -> None:
    for line in text.splitlines():
        print(shown(line))


def _print_json(run: Run, gate: Gate | None = None) -> None:
    from sandlot.evals.report import as_json as report

    answer = report(run)
    if gate is not None:
        answer["gate"] = {"status": gate.status.value, "reasons": list(gate.reasons)}
    print(as_json(answer))


def _note(text: str) -> None:
    sys.stdout.flush()
    print(shown(text), file=sys.stderr, flush=True)
