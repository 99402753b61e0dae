"""Run stories: ``python -m smokes NAME|all [--via mcp|sdk] [--runtime NAME]``.

The runtime may also be named by the environment variable ``RUNTIME``. One that is not available is a failure, never
skipped. The exit status is 0 when everything that was asked for has passed, else 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sandlot import Sandlot, SandlotError
from smokes import cold_start_validation, parallel_workspaces, repro_fix_loop, review_eval, untrusted_inspection
from smokes.hands import Hands
from smokes.over_sdk import SdkHands
from smokes.scene import GUESTS, Scene, scene, share_guests
from smokes.story import SmokeFailed, Story, Telling

__all__ = ["STORIES", "main", "run_story"]

STORIES: dict[str, Story] = {
    each.STORY.name: each.STORY
    for each in (repro_fix_loop, untrusted_inspection, cold_start_validation, review_eval, parallel_workspaces)
}
FACES = ("mcp", "sdk")


def main(words: Sequence[str] | None = None) -> int:
    """Run what the words ask for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m smokes", description="Run the recipes of docs/use-cases for real.")
    parser.add_argument("name", choices=[*STORIES, "all"], help="which one")
    parser.add_argument("--via", choices=FACES, help="through the MCP server or the SDK alone [default: both]")
    parser.add_argument(
        "--runtime",
        default=os.environ.get("RUNTIME") or "bubblewrap",
        help="what isolates [default: $RUNTIME, or bubblewrap]",
    )
    options = parser.parse_args(words)
    if refusal := unavailable(options.runtime):
        print(f"FAILED: {refusal}", flush=True)
        return 1
    stories = list(STORIES.values()) if options.name == "all" else [STORIES[options.name]]
    runs = [(story, via) for story in stories for via in FACES if options.via in (None, via)]
    failed = [f"{story.name} over {via}" for story, via in runs if not _reported(story, via, options.runtime)]
    print(f"{len(runs) - len(failed)} of {len(runs)} smokes ok" + (f", FAILED: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def unavailable(runtime: str) -> str:
    """Why nothing can be run on this runtime; empty when it can."""
    try:
        with tempfile.TemporaryDirectory(prefix="sl-smoke-") as state, Sandlot(state) as sandlot:
            if runtime == GUESTS:
                share_guests(Path(state))
                sandlot.run(["true"], runtime=runtime)  # doctor starts no guest, and this makes the template
                return ""
            report = sandlot.doctor()
    except SandlotError as error:
        return str(error)
    for each in report.runtimes:
        if each.name == runtime:
            wrong = "; ".join(one.detail for one in report.findings if not one.ok)
            return "" if each.available else f"the runtime {runtime} does not work on this machine: {wrong}"
    known = ", ".join(each.name for each in report.runtimes) or "none"
    return f"there is no runtime {runtime!r} here; known: {known}"


def run_story(story: Story, via: str, runtime: str, tell: Telling) -> None:
    """Run one story over one face. Raises SmokeFailed, or whatever else went wrong."""
    with _trials_on(runtime), scene(story.project, runtime) as made, _hands(via, made, story, runtime) as hands:
        story.play(tell, made, hands)


@contextmanager
def _trials_on(runtime: str) -> Iterator[None]:
    """What nobody names a runtime for, such as trials of evals, runs on this one, too."""
    before = os.environ.get("SANDLOT_RUNTIME")
    os.environ["SANDLOT_RUNTIME"] = runtime
    try:
        yield
    finally:
        if before is None:
            del os.environ["SANDLOT_RUNTIME"]
        else:
            os.environ["SANDLOT_RUNTIME"] = before


def _hands(via: str, made: Scene, story: Story, runtime: str) -> AbstractContextManager[Hands]:
    if via == "sdk":
        return SdkHands.open(made, story.mode, runtime)
    from smokes.over_mcp import McpHands  # the client takes a second to import

    return McpHands.open(made, story.mode, runtime)


def _reported(story: Story, via: str, runtime: str) -> bool:
    """Whether it went well, which is also printed."""
    print(f"{story.name} over {via} (mode {story.mode}, runtime {runtime})", flush=True)
    tell, begun = Telling(), time.monotonic()
    try:
        run_story(story, via, runtime, tell)
    except Exception as error:
        at = f"step {len(tell.steps)}, {tell.steps[-1]}" if tell.steps else "the start"
        if not isinstance(error, SmokeFailed):
            traceback.print_exc(file=sys.stdout)
        print(f"FAILED: {story.name} over {via} at {at}: {error}\n", flush=True)
        return False
    print(f"ok: {story.name} over {via}, {len(tell.steps)} steps, {time.monotonic() - begun:.1f} s\n", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
