"""How a run went: for people as text, for programs as JSON, for CI servers as JUnit XML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandlot.evals.compare import Comparison, Pair
from sandlot.evals.manifest import Manifest
from sandlot.evals.outcomes import Outcome, Trial, TrialResult
from sandlot.evals.run_folder import RunFolder
from sandlot.evals.runs import state_of
from sandlot.evals.summary import Numbers, TestNumbers, at_k, numbers, per_test
from sandlot.evals.trial_records import plain, write_result

__all__ = ["Run", "as_json", "as_text", "as_text_comparison"]

MOST_KS = 10
"""Rows of pass@k that a person is shown."""
WIDEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Run:
    """A run, read from its folder."""

    manifest: Manifest
    state: str
    reason: str
    trials: tuple[Trial, ...]
    results: Mapping[str, TrialResult]
    warnings: tuple[str, ...]

    @classmethod
    def read(cls, folder: RunFolder) -> Run:
        """Raises StateCorrupt."""
        manifest = folder.manifest
        trials = tuple(each.trial for each in manifest.trials)
        results = folder.results(trials)
        sessions = folder.sessions()
        return cls(
            manifest=manifest,
            state=state_of(folder, left=len(trials) - len(results)),
            reason=sessions[-1].reason if sessions else "",
            trials=trials,
            results=results,
            warnings=tuple(text for session in sessions for text in session.warnings),
        )

    @property
    def numbers(self) -> Numbers:
        """Of all its trials."""
        return numbers(self.trials, self.results)

    @property
    def tests(self) -> list[TestNumbers]:
        """Of each test by each target."""
        return per_test(self.trials, self.results)


def as_text(run: Run) -> str:
    """For people. The caller makes it safe for a terminal, line by line: reasons are a target's words."""
    lines = [f"run {run.manifest.id}: {run.state}" + (f", {run.reason}" if run.reason else "")]
    suite = ""
    reasons = _reasons(run)
    for row in run.tests:
        if row.suite != suite:
            suite = row.suite
            lines += ["", suite]
        lines.append(f"  {_mark(row):<8}{row.test}  [{row.target}]" + _trials(row))
        lines += [f"          {reason}" for reason in reasons.get((row.suite, row.test, row.target), ())]
    lines += ["", *headline(run.numbers, isolation=_isolation(run))]
    table = at_k(run.tests)
    for k, (some, every) in list(table.items())[1:MOST_KS]:
        lines.append(f"pass@{k} {some:.3f}  pass^{k} {every:.3f}")
    lines += [f"warning: {_line(text)}" for text in run.warnings]
    for result in run.results.values():
        lines += [f"warning: {result.trial.key}: {_line(text)}" for text in result.warnings]
    return "\n".join(lines) + "\n"


def headline(counts: Numbers, *, isolation: str = "") -> list[str]:
    """The numbers, in a few lines."""
    ran = counts.total - counts.skipped
    first = f"{counts.passed}/{counts.total} passed, {counts.passed}/{counts.scored} of those scored"
    if counts.scored + counts.timeouts:
        low, high = counts.interval.low, counts.interval.high
        first += f"; pass rate {counts.pass_rate or 0:.1%} (95 % interval {low:.1%} to {high:.1%})"
    parts = [
        f"{number} {word}"
        for number, word in (
            (counts.failed, "failed"),
            (counts.errors, "errors"),
            (counts.timeouts, "timed out"),
            (counts.skipped, "not run"),
        )
        if number
    ]
    lines = [first]
    if parts:
        lines.append(", ".join(parts))
    facts = [f"{counts.duration_ms / 1000 / ran:.1f} s a trial"] if ran else []
    if counts.mean_score is not None:
        facts.insert(0, f"mean score {counts.mean_score:.3f}")
    if counts.cost_usd is not None:
        facts.append(f"{counts.cost_usd:.4f} USD")
    if counts.tokens is not None:
        facts.append(f"{counts.tokens} tokens")
    if isolation:
        facts.append(f"isolation {isolation}")
    return [*lines, ", ".join(facts)] if facts else lines


def as_json(run: Run) -> dict[str, Any]:
    """For programs; the fields are those of the nouns."""
    counts = run.numbers
    return {
        "id": run.manifest.id,
        "created": run.manifest.created,
        "state": run.state,
        "reason": run.reason,
        "numbers": {
            **plain(counts),
            "scored": counts.scored,
            "pass_rate": counts.pass_rate,
            "pass_rate_95": plain(counts.interval),
        },
        "at_k": {str(k): {"pass_at_k": some, "pass_hat_k": every} for k, (some, every) in at_k(run.tests).items()},
        "tests": [{**plain(row), "passed": row.passed, "counted": row.counted} for row in run.tests],
        "trials": [
            write_result(run.results[trial.key])
            if trial.key in run.results
            else {"trial": plain(trial), "outcome": Outcome.SKIPPED.value, "reason": run.reason or "not run"}
            for trial in run.trials
        ],
        "suites": plain(run.manifest.suites),
        "targets": plain(run.manifest.targets),
        "plans": plain(run.manifest.plans),
        "workspaces": plain(run.manifest.workspaces),
        "isolation": {"weakest": _isolation(run), "levels": list(run.manifest.isolation)},
        "versions": plain(run.manifest.versions),
        "warnings": list(run.warnings),
    }


def as_text_comparison(found: Comparison, before: str, after: str) -> str:
    """For people; to be made safe like ``as_text``."""
    lines = [f"{before} -> {after}: {len(found.pairs)} tests in both"]
    for title, pairs in (("fixed", found.fixed), ("regressed", found.regressed), ("undecided", found.undecided)):
        if pairs:
            lines += ["", title]
            lines += [f"  {_pair(each)}" for each in pairs]
    for title, names in ((f"only in {before}", found.only_before), (f"only in {after}", found.only_after)):
        if names:
            lines += ["", title, *(f"  {name}" for name in names)]
    lines += ["", f"{len(found.fixed)} fixed, {len(found.regressed)} regressed, McNemar exact p = {found.p_value:.4g}"]
    return "\n".join(lines) + "\n"


def _pair(pair: Pair) -> str:
    def rate(value: float | None) -> str:
        return "no result" if value is None else f"{value:.0%}"

    return f"{pair.suite}/{pair.test}  [{pair.target}]  {rate(pair.rate_before)} -> {rate(pair.rate_after)}"


def _isolation(run: Run) -> str:
    """The weakest that any trial had."""
    order = ("none", "process", "kernel", "vm-emulated", "vm")
    found = {result.isolation for result in run.results.values() if result.isolation}
    return min(found, key=lambda each: order.index(each) if each in order else -1, default="")


def _mark(row: TestNumbers) -> str:
    kinds = set(row.outcomes)
    if len(kinds) == 1:
        word = next(iter(kinds)).value
        return word if word in ("pass", "skipped") else word.upper()
    return "pass" if row.verdict else "mixed"


def _trials(row: TestNumbers) -> str:
    return f"  {row.passed}/{row.counted} trials" if len(row.outcomes) > 1 else ""


def _reasons(run: Run) -> dict[tuple[str, str, str], list[str]]:
    """Why trials did not pass, by suite, test and target."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for trial in run.trials:
        result = run.results.get(trial.key)
        if result is not None and result.outcome is not Outcome.PASS:
            stage = f" ({result.stage})" if result.stage else ""
            line = f"#{trial.number} {result.outcome}{stage}: {_line(result.reason)}"
            found.setdefault((trial.suite, trial.test, trial.target), []).append(line)
    return found


def _line(text: str) -> str:
    whole = " ".join(text.split())
    return whole if len(whole) <= WIDEST_REASON else whole[: WIDEST_REASON - 1] + "…"
