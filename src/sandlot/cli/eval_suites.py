"""``sandlot eval validate`` and ``sandlot eval schema``."""

from __future__ import annotations

import argparse
import os
import sys

from sandlot.cli.terminal import shown
from sandlot.cli.words import parse, parser_of

__all__ = ["COMMANDS", "add_arguments", "command", "parser"]

EXAMPLES = {
    "validate": ("sandlot eval validate evals/", "sandlot eval validate evals/login.eval.yaml --target codex --json"),
    "schema": ("sandlot eval schema > suite.schema.json",),
}
COMMANDS = tuple(EXAMPLES)


def parser(name: str) -> argparse.ArgumentParser:
    """The parser of one of the commands."""
    made = parser_of(("eval", name), EXAMPLES[name])
    add_arguments(made, name)
    return made


def add_arguments(made: argparse.ArgumentParser, name: str) -> None:
    """All that one of the commands takes."""
    if name == "validate":
        made.add_argument("paths", metavar="PATH", nargs="+", help="suites: files, or folders to look for them in")
        made.add_argument("--target", metavar="NAME", action="append", default=[], help="instead of the suites' own")
        made.add_argument("--workspace-mode", metavar="MODE", help="as of eval run: pooled, temp or static")
        made.add_argument("--workspace-path", metavar="DIR", help="as of eval run: means --workspace-mode static")
    made.add_argument("--json", action="store_true", help="print the answer, or the error, as JSON")


def command(words: list[str], json_wanted: bool) -> int:
    """Run one of the two; what is wrong is raised, and exits with 2."""
    name = words[0]
    if name == "validate":
        from sandlot.cli.eval_words import refuse_removed

        refuse_removed(words)
    parsed = parse(parser(name), words[1:], json_wanted)
    return _schema() if name == "schema" else _validate(parsed)


def _schema() -> int:
    from sandlot.evals.schema import shipped

    sys.stdout.write(shipped())
    return 0


def _validate(parsed: argparse.Namespace) -> int:
    from pathlib import Path

    from sandlot.cli.eval_words import absolute_path
    from sandlot.evals.options import RunOptions
    from sandlot.evals.real import check, load, targets_near
    from sandlot.evals.runs import runs_folder
    from sandlot.evals.session import check_apart, plan_run

    options = RunOptions(
        paths=tuple(os.path.abspath(path) for path in parsed.paths),
        targets=tuple(dict.fromkeys(parsed.target)),
        workspace_mode=parsed.workspace_mode,
        workspace_path=absolute_path(parsed.workspace_path),
    )
    plan = plan_run(options, load, targets_near)  # as eval run does
    check(plan.targets)
    check_apart(plan, runs_folder(Path.cwd()))
    if parsed.json:
        from sandlot.cli.answer import as_json

        rows = [
            {
                "name": suite.name,
                "file": suite.file,
                "tests": [test.id for test in suite.tests],
                "workspace_modes": sorted({test.workspace.mode.value for test in suite.tests}),
                "unset_variables": suite.unset,
            }
            for suite in plan.suites
        ]
        print(as_json({"ok": True, "suites": rows, "trials": len(plan.jobs)}))
        return 0
    for suite in plan.suites:
        modes = ", ".join(sorted({test.workspace.mode.value for test in suite.tests}))
        count = len(suite.tests)
        print(f"ok: {shown(os.path.relpath(suite.file))}: {count} test{'' if count == 1 else 's'}, workspace {modes}")
        for name in suite.unset:
            text = (
                f"warning: {os.path.relpath(suite.file)}: the variable {name} is not set; nothing stands in its place"
            )
            print(shown(text), file=sys.stderr)
    return 0
