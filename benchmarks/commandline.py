"""Contests about the command line's own start."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import sandlot as package
from benchmarks.stage import Stage
from benchmarks.timing import Contender, Contest, Goal
from sandlot import process

__all__ = ["WARM"]

BARE = "python -c pass"


def _command() -> list[str]:
    """The installed ``sandlot`` of this interpreter, else the same from the source tree."""
    script = Path(sys.executable).with_name("sandlot")
    if script.exists():
        return [os.fspath(script)]
    return [sys.executable, "-c", "from sandlot.cli.main import main; main()"]


def _run(words: Sequence[str], environment: dict[str, str]) -> None:
    done = process.run(words, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.message}")


def starts(stage: Stage) -> Generator[Contest, None, None]:
    """What a command costs on top of an interpreter that does nothing."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled; the rehearsal does that here
    environment["PYTHONPYCACHEPREFIX"] = os.fspath(stage.folder / "compiled")
    environment["SANDLOT_STATE_DIR"] = os.fspath(stage.sandlot._context.paths.state)
    environment["PYTHONPATH"] = os.fspath(Path(str(package.__file__)).parent.parent)
    bare = Contender(BARE, lambda _: _run([sys.executable, "-c", "pass"], environment))
    command = _command()
    with stage.workspace() as workspace:
        run_true = [*command, "workspace", "exec", workspace.id, "--", "true"]
        listing = [*command, "workspace", "list"]
        yield Contest(
            "sandlot --version",
            (Contender("sandlot", lambda _: _run([*command, "--version"], environment)), bare),
            Goal(40, above=BARE),
        )
        yield Contest(
            "sandlot workspace exec ID -- true",
            (Contender("sandlot", lambda _: _run(run_true, environment)), bare, *stage.floors()),
            Goal(80, above=BARE),
        )
        yield Contest(
            "sandlot workspace list",
            (Contender("sandlot", lambda _: _run(listing, environment)), bare),
            Goal(80, above=BARE),
        )


WARM = (starts,)
