"""Options; one run from temporary folder to report."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import commandline, lives, work
from benchmarks.machine import Machine
from benchmarks.memory import IdleMemory, idle_memory
from benchmarks.network import network
from benchmarks.report import Part, Report, part_lines
from benchmarks.stage import Stage, delete_all, set_up
from benchmarks.timing import Contest, Outcome, Plan, run_contest
from sandlot import process
from sandlot.bases.trees import remove_tree
from sandlot.sdk import Sandlot

SIZES, QUICK_SIZES = (200, 20_000), (200, 2_000)
FULL_ROUNDS, QUICK_ROUNDS = 15, 3
FULL_S, QUICK_S = 230.0, 30.0
"""After this many seconds nothing new is begun; what is under way ends, and removing the trees takes its time."""
# The order matters a little: those that make and remove most files come last.
WARM = (*work.WARM, *lives.WARM)
COLD = lives.COLD

Case = Callable[[Stage], Generator[Contest, None, None]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print as it goes, write JSON if wanted."""
    options = _options(argv)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else FULL_ROUNDS)
    begun = time.monotonic()
    limit = QUICK_S if options.quick else FULL_S
    plan = Plan(rounds, contender_s=limit / 100, end=begun + limit)
    sizes = options.files or (QUICK_SIZES if options.quick else SIZES)
    load_before = os.getloadavg()
    folder = Path(tempfile.mkdtemp(prefix="sandlot-bench-", dir=options.dir))
    try:
        machine = Machine.here(folder)
        with Sandlot(folder / "state") as sandlot:
            try:
                parts, memory, skipped = _measure(sandlot, folder, sizes, plan)
                seconds, load_after = time.monotonic() - begun, os.getloadavg()
            finally:
                delete_all(sandlot)
    finally:
        process.run(["rm", "-rf", folder])  # much faster on tens of thousands of files, and most are not hostile
        if folder.exists():
            remove_tree(folder)
    date = datetime.now(UTC).date().isoformat()
    report = Report(date, machine, seconds, load_before, load_after, parts, memory, skipped)
    _print(report.closing_lines())
    if options.json:
        options.json.write_text(report.to_json())
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").strip())
    parser.add_argument("--quick", action="store_true", help="three rounds, less than a minute")
    parser.add_argument("--rounds", type=int, help=f"rounds of each contest [default: {FULL_ROUNDS}]")
    parser.add_argument("--files", type=int, action="append", help=f"size of a tree, repeatable [default: {SIZES}]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single time to this file, too")
    parser.add_argument("--dir", type=Path, default=_disk(), help="where the trees and the state are made for the run")
    return parser.parse_args(argv)


def _disk() -> Path:
    """A temporary folder that is rather on a disk than in memory, as projects are."""
    return next((path for path in (Path("/var/tmp"),) if os.access(path, os.W_OK)), Path(tempfile.gettempdir()))


def _print(lines: Sequence[str]) -> None:
    print("\n".join(lines), end="\n\n", flush=True)


def _measure(
    sandlot: Sandlot, folder: Path, sizes: Sequence[int], plan: Plan
) -> tuple[tuple[Part, ...], IdleMemory | None, tuple[str, ...]]:
    """(the parts, memory, what there was no time for); each part is printed when it is done."""
    parts = []
    skipped: list[str] = []
    memory = None
    for size in sizes:
        here = folder / f"{size}"
        here.mkdir()
        _note(f"making {size:,} files")
        stage = set_up(sandlot, here, size)
        for state, cases in (("warm", (*WARM, *(commandline.WARM if size == sizes[0] else ()))), ("cold", COLD)):
            part = Part(size, state, tuple(_outcomes(stage, cases, plan, skipped)))
            parts.append(part)
            _print(part_lines(part))
        if memory is None:
            memory = idle_memory(stage)
            _note("network")
            parts.append(Part(size, "network, all on loopback", network(sandlot, here, plan)))
            _print(part_lines(parts[-1]))
    return tuple(parts), memory, tuple(skipped)


def _outcomes(stage: Stage, cases: Sequence[Case], plan: Plan, skipped: list[str]) -> Iterator[Outcome]:
    for case in cases:
        if plan.over:
            skipped.append(f"{case.__name__} ({stage.project.count:,} files)")
            continue
        with contextlib.closing(case(stage)) as contests:  # a contest that fails, or ctrl-C, lets the case clean up
            for contest in contests:
                _note(contest.name)
                yield run_contest(contest, plan)
    _note("")


def _note(text: str) -> None:
    """What goes on right now, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every finally: no workspace is left running
    sys.exit(main())
