"""``sandlot demo``."""

from __future__ import annotations

import contextlib
import sys

from sandlot.cli.terminal import shown
from sandlot.cli.words import Formatter, Parser
from sandlot.demo import Step, run
from sandlot.sdk import Sandlot

__all__ = ["command"]

EXAMPLES = "examples:\n  sandlot demo\n  sandlot demo --keep"


def command(arguments: list[str], json_wanted: bool) -> int:
    """Show it; 0 when every step went as it must."""
    parser = Parser(
        prog="sandlot demo",
        usage="sandlot demo [OPTION...]",
        description="Show the whole loop on a small project made on the spot: reproduce a failure, patch, prove, "
        "review, reset, delete. Needs no network; neither project nor workspace stay behind.",
        epilog=EXAMPLES,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--keep", action="store_true", help="leave the project and the workspace, to look around in")
    parser.add_argument("--json", action="store_true", help="print the steps as JSON, when all are done")
    parsed = parser.parse_args(arguments)
    done: list[Step] = []
    with Sandlot() as sandlot, contextlib.closing(run(sandlot, keep=parsed.keep)) as steps:
        for step in steps:
            done.append(step)
            if not json_wanted:
                _show(len(done), step)
    ok = bool(done) and all(step.ok for step in done)
    if json_wanted:
        from sandlot.cli.answer import as_json

        print(as_json({"ok": ok, "steps": done}))
    elif parsed.keep and ok:
        print("kept: see sandlot workspace list", file=sys.stderr)
    return 0 if ok else 1


def _show(number: int, step: Step) -> None:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    print(f"{bold}{number}. {step.what}{plain}")
    if step.command:
        print(f"   $ {shown(step.command)}")
    for line in step.output.rstrip("\n").split("\n"):
        print(f"   {shown(line)}".rstrip())
    print(flush=True)
    if not step.ok:
        print("error: this step did not go as it must", file=sys.stderr)
    sys.stdout.flush()
