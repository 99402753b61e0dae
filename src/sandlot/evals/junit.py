"""A run as JUnit XML, the one report that every CI server reads.

The format has no standard; this follows the schema of the Jenkins xUnit plug-in, which others read as well. A trial
that failed its graders is a ``failure``; one that ended in an error or ran out of time is an ``error``, for it says
nothing certain about the target's work; one that was not run is ``skipped``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from sandlot.evals.outcomes import Outcome, Trial, TrialResult
from sandlot.evals.report import Run
from sandlot.evals.summary import numbers

__all__ = ["as_junit"]

# What XML 1.0 cannot hold in any spelling (section 2.2), plus C1 controls and DEL, which it discourages. ESC is among
# them, so no terminal that shows the report can be told anything.
_NO_XML = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LONGEST_TEXT = 64 * 1024


def as_junit(run: Run) -> bytes:
    """The whole document, UTF-8."""
    root = Element("testsuites", {"name": _clean(run.manifest.id), **_counts(run, run.trials)})
    for suite in dict.fromkeys(trial.suite for trial in run.trials):
        trials = [trial for trial in run.trials if trial.suite == suite]
        facts = {"name": _clean(suite), "timestamp": run.manifest.created[:19], **_counts(run, trials)}
        element = SubElement(root, "testsuite", facts)
        properties = SubElement(element, "properties")
        known = {"run": run.manifest.id, "isolation": ", ".join(run.manifest.isolation), **run.manifest.versions}
        for name, value in known.items():
            SubElement(properties, "property", name=_clean(name), value=_clean(value))
        for trial in trials:
            _case(element, trial, run.results.get(trial.key), run.reason)
    indent(root)
    out = BytesIO()
    ElementTree(root).write(out, encoding="utf-8", xml_declaration=True)
    return out.getvalue() + b"\n"


def _case(parent: Element, trial: Trial, result: TrialResult | None, reason: str) -> None:
    name = f"{trial.test}[{trial.target}]#{trial.number}"
    case = SubElement(parent, "testcase", classname=_clean(trial.suite), name=_clean(name))
    case.set("time", _seconds(result.duration_ms if result else 0))
    if result is None or result.outcome is Outcome.SKIPPED:
        SubElement(case, "skipped", message=_clean((result.reason if result else reason) or "not run"))
        return
    if result.outcome is not Outcome.PASS:
        kind = "failure" if result.outcome is Outcome.FAIL else "error"
        what = "graders" if kind == "failure" else (result.stage or result.outcome).value
        if result.outcome is Outcome.TIMEOUT:
            what = "timeout"
        found = SubElement(case, kind, message=_clean(result.reason.partition("\n")[0]), type=what)
        found.text = _clean(_details(result))
    if result.answer is not None and result.answer.text:
        SubElement(case, "system-out").text = _clean(result.answer.text)


def _details(result: TrialResult) -> str:
    lines = [result.reason]
    for each in result.verdicts:
        lines.append(f"{each.name}: {'passed' if each.passed else 'FAILED'}, score {each.score:g}")
        lines += [f"  missed: {miss}" for miss in each.misses]
        if each.reasoning:
            lines.append(f"  {each.reasoning}")
        if each.error:
            lines.append(f"  error: {each.error}")
    return "\n".join(lines)


def _counts(run: Run, trials: Sequence[Trial]) -> dict[str, str]:
    found = numbers(trials, run.results)
    return {
        "tests": str(found.total),
        "failures": str(found.failed),
        "errors": str(found.errors + found.timeouts),
        "skipped": str(found.skipped),
        "time": _seconds(found.duration_ms),
    }


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}"


def _clean(text: str) -> str:
    """Without what XML cannot hold, and not without end."""
    return _NO_XML.sub("", text[:LONGEST_TEXT])
