"""Do the operations of a plan, saying on stdout what begins and how it ends.

``python -m tests.chaos.driver STATE WORK``; the plan is JSON on stdin. An error of ours is an answer; anything else
ends the driver with a traceback.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from sandlot.errors import SandlotError
from sandlot.sdk import Sandlot
from tests.chaos.model import Operation
from tests.conftest import GUESTS

SYNC = "sync" if GUESTS else "true"
"""A killed guest loses what it had not written to its disk: two seconds' worth at most, and that is a known gap."""


def seed(work: Path, operation: Operation) -> Path | None:
    """The folder to create from, with the content that the operation wants."""
    kind = operation["seed"]
    if kind == "empty":
        return None
    folder = finished = work / str(kind)
    if not finished.exists():
        folder = work / f"{kind}-draft"  # we may be killed half-way, and the next driver must not take that for all
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "sub").mkdir(parents=True)
        for number in range(operation["bulk"]):
            (folder / f".bulk{number}").write_text("bulk")
        if kind == "folder":
            (folder / "sub" / "file").write_text("in a folder")
        else:
            (folder / "kept").write_text("committed")
            git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
            for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
                subprocess.run([*git, *words], cwd=folder, check=True)
        folder.rename(finished)
    (finished / "seed").write_text(operation["text"])
    return finished


def perform(sandlot: Sandlot, operation: Operation, source: Path | None) -> None:
    """One operation."""
    do, name = operation["do"], operation["name"]
    if do == "create":
        sandlot.create(source, name=name)
        return
    workspace = sandlot.get(name)
    if do == "exec":
        path = operation["path"].replace("~", "/home/agent/note")
        junk = (
            f"mkdir -p junk; for i in $(seq {operation['junk']}); do echo > junk/$i; done; "
            if operation["junk"]
            else ""
        )
        script = f'{junk}printf %s "$TEXT" > .draft && {SYNC} && mv .draft {path} && {SYNC}'
        done = workspace.exec(script, env={"TEXT": operation["text"]})
        assert done.exit_status == 0, done
    elif do == "write":
        workspace.files.write(operation["path"], operation["text"])
        assert workspace.exec(SYNC).ok
    elif do == "snapshot":
        workspace.snapshots.create(operation["snapshot"])
    elif do == "drop":
        workspace.snapshots.delete(operation["snapshot"])
    elif do == "reset":
        workspace.reset(operation["to"])
    elif do == "fork":
        workspace.fork(name=operation["new"])
    elif do == "stop":
        workspace.stop()
    else:
        workspace.delete()


def main() -> None:
    """Follow the plan."""
    state, work = Path(sys.argv[1]), Path(sys.argv[2])
    with Sandlot(state) as sandlot:
        for number, operation in enumerate(json.load(sys.stdin)):
            source = seed(work, operation) if operation["do"] == "create" else None
            print(f"begin {number}", flush=True)
            try:
                perform(sandlot, operation, source)
            except SandlotError as error:
                print(f"failed {number} {error.code}: {error.message}", flush=True)
            else:
                print(f"done {number}", flush=True)


if __name__ == "__main__":
    main()
