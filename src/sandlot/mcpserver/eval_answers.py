"""Runs of evals as answers: our own facts first, then what suites and targets say, behind a line that marks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sandlot.errors import UsageError
from sandlot.evals.background import LOG, done
from sandlot.evals.compare import compare
from sandlot.evals.outcomes import Outcome, TrialResult, Verdict
from sandlot.evals.report import Run, as_text, as_text_comparison, headline
from sandlot.evals.run import Ending
from sandlot.mcpserver.answering import Answer, call_of
from sandlot.mcpserver.cleaning import one_line, origin_line, shown_exactly, shown_plainly

if TYPE_CHECKING:
    from sandlot.evals.run_folder import RunFolder

__all__ = ["comparison", "report", "trials_of"]

PAGE = 8000
"""Bytes of one answer's text behind the mark."""
WIDEST = 600
_LISTED = 10


def report(folder: RunFolder, *, going_on: bool = False, offset: int = 0, notes: Sequence[str] = ()) -> Answer:
    """How a run went, or goes; ``going_on``: its process is known to be at work, whatever the folder says so far."""
    run = Run.read(folder)
    lines = [f"run {run.manifest.id}: {_state(run)}"]
    body = [f"reason: {one_line(run.reason, WIDEST)}"] if run.reason else []
    body += [one_line(line, WIDEST) for line in as_text(run).splitlines()[1:]]
    if going_on or run.state == "running":
        lines[0] = f"run {run.manifest.id} goes on: {done(folder)} of {len(run.trials)} trials have a result"
        lines.append(f"wait for its end: {call_of('eval_results', run=run.manifest.id, wait='50s')}")
    else:
        lines += headline(run.numbers)
        if run.numbers.skipped:
            lines.append(f"the user can have the rest run: sandlot eval resume {run.manifest.id}")
        if run.state == "killed" and not run.results:
            lines.append(f"its process ended without a word here; the user finds one in {LOG} of the run's folder")
    lines += [f"note: {one_line(note)}" for note in notes[:_LISTED]]
    if any(each.outcome is not Outcome.PASS for each in run.results.values()):
        lines.append(f"why, with answer and patch: {call_of('eval_results', run=run.manifest.id, test='ID')}")
    return _paged(lines, run.manifest.id, "report", body, offset)


def trials_of(folder: RunFolder, test: str, offset: int, content: Callable[[Path], bytes]) -> Answer:
    """All about one test's trials. ``content`` reads a file of the run. Raises UsageError when there is none."""
    run = Run.read(folder)
    trials = [each for each in run.trials if test in (each.test, f"{each.suite}/{each.test}")]
    if not trials:
        from difflib import get_close_matches

        known = list(dict.fromkeys(each.test for each in run.trials))
        close = get_close_matches(test, known, 3, 0.5) or known[:_LISTED]
        raise UsageError(f"run {run.manifest.id} has no test {test[:80]!r}", hint="it has these", details=tuple(close))
    lines = [f"run {run.manifest.id}: {_state(run)}; trials of this test: {len(trials)}"]
    body: list[str] = []
    for trial in trials:
        result = run.results.get(trial.key)
        body += ["", one_line(trial.key, WIDEST)] if body else [one_line(trial.key, WIDEST)]
        if result is None:
            body.append("  not run")
            continue
        body += _trial(result)
        patch = content(folder.place_of(trial) / f"{folder.attempts(trial)}.patch")
        if patch:
            text, _ = shown_exactly(patch.decode("utf-8", "surrogateescape"))
            body += ["  patch:", *_cut(text.splitlines())]
    return _paged(lines, run.manifest.id, "trials", body, offset)


def comparison(before: RunFolder, after: RunFolder, offset: int) -> Answer:
    """What changed from one run to another. Raises UsageError when they have no test in common."""
    old, new = Run.read(before), Run.read(after)
    found = compare(old.tests, new.tests)
    lines = [
        f"{old.manifest.id} -> {new.manifest.id}: {len(found.pairs)} tests in both, {len(found.fixed)} fixed, "
        f"{len(found.regressed)} regressed, McNemar exact p = {found.p_value:.4g}"
    ]
    lines += [f"run {each.manifest.id} is {_state(each)}" for each in (old, new) if each.state != "complete"]
    text = as_text_comparison(found, old.manifest.id, new.manifest.id).splitlines()[1:-2]
    body = [one_line(line, WIDEST) for line in text]
    return _paged(lines, new.manifest.id, "comparison", [line for line in body if line], offset)


def _state(run: Run) -> str:
    """In a word of ours: it stands before the mark, and a project that comes from a stranger may bring runs along."""
    return run.state if run.state in ("running", "killed", *Ending) else "in no state we know"


def _trial(result: TrialResult) -> list[str]:
    score = "" if result.score is None else f", score {result.score:.3f}"
    stage = f" ({result.stage})" if result.stage else ""
    found = [
        f"  {result.outcome}{stage}{score}, {result.duration_ms / 1000:.1f} s, {result.files_changed} files changed"
    ]
    if result.reason:
        found.append(f"  reason: {one_line(result.reason, WIDEST)}")
    found += [f"  warning: {one_line(each, WIDEST)}" for each in result.warnings[:_LISTED]]
    for verdict in result.verdicts:
        found += _verdict(verdict)
    if result.answer is not None and result.answer.text:
        found += ["  answer:", *_cut(shown_plainly(result.answer.text).splitlines())]
    return found


def _verdict(verdict: Verdict) -> list[str]:
    how = "skipped" if verdict.skipped else "error" if verdict.error else "passed" if verdict.passed else "failed"
    found = [f"  {one_line(verdict.name)} ({one_line(verdict.type)}): {how}, score {verdict.score:.3f}"]
    said = [("error", verdict.error), ("why", verdict.reasoning), *(("missed", each) for each in verdict.misses)]
    return found + [f"    {word}: {one_line(text, WIDEST)}" for word, text in said[: _LISTED + 2] if text]


def _cut(lines: Iterable[str]) -> list[str]:
    return [f"    {line if len(line) <= WIDEST else line[:WIDEST] + ' [...]'}" for line in lines]


def _paged(facts: list[str], run: str, what: str, body: list[str], offset: int) -> Answer:
    """Facts, mark, and as much of the body from that byte on as an answer holds; whole lines."""
    data = "\n".join(body).encode("utf-8", "replace")
    end = len(data)
    if end - offset > PAGE:
        end = data.rfind(b"\n", offset, offset + PAGE) + 1 or offset + PAGE
        facts = [*facts, f"there is more: the same call with offset={end}"]
    text = data[offset:end].decode("utf-8", "ignore").rstrip("\n")
    lines = [*facts, origin_line(run, what, kind="eval run"), text] if text.strip() else facts
    return Answer("\n".join(lines))
