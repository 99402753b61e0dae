"""Runs that go on by themselves: each in a process of its own, which outlives whoever has begun it.

The process is ``sandlot eval resume`` on a run that has no results yet, so there is one way to run, and what was killed
is finished the same way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from sandlot import process
from sandlot.errors import StateUnwritable
from sandlot.evals.run_folder import RunFolder
from sandlot.paths import Paths

__all__ = ["LOG", "BackgroundRun", "done", "wait_for_end"]

LOG = "runner.log"
"""What the process printed: its report, or why there is none. Not for chats: it may name what the environment holds."""
STOP_S = 8.0
"""How long it may take to end its trials when it is told to; it is killed then."""
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class BackgroundRun:
    """A run on its way, and the process that we have started for it."""

    folder: RunFolder
    _child: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: RunFolder, paths: Paths) -> BackgroundRun:
        """Start it; ``paths``: whose workspaces its trials are to be. Raises StateUnwritable."""
        environment = dict(os.environ)
        if paths != Paths.default():
            environment["SANDLOT_STATE_DIR"] = os.fspath(paths.state)
        # -P and a folder of nobody's: a module that lies in the project must not be taken for one of Python's.
        argv = [sys.executable, "-P", "-m", "sandlot", "eval", "resume", os.fspath(folder.root), "--json"]
        try:
            log = os.open(folder.root / LOG, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateUnwritable(f"cannot write {folder.root / LOG}: {error.strerror}") from error
        try:
            return cls(folder, process.spawn_detached(argv, env=environment, log=log, cwd="/"))
        finally:
            os.close(log)

    def wait(self, timeout_s: float, look: Callable[[], None]) -> bool:
        """Whether it has ended within so long. What ``look``, called meanwhile, raises ends the wait."""
        return _wait(lambda: self._child.poll() is not None, timeout_s, look)

    def wait_until_it_runs(self, timeout_s: float, look: Callable[[], None]) -> bool:
        """Whether it holds the folder's lock, or has ended: from then on others can see what it does."""
        started = self.folder.root / "sessions" / "1.json"
        return _wait(lambda: started.exists() or self._child.poll() is not None, timeout_s, look)

    def stop(self) -> None:
        """End it with all its trials; what they had is kept, and resumable."""
        identity = process.identify(self._child.pid)
        if identity is not None and self._child.poll() is None:
            process.terminate(identity, grace_s=STOP_S)


def done(folder: RunFolder) -> int:
    """How many trials of a run have a result; cheap enough to be asked often."""
    return len({path.parent for path in folder.root.glob("trials/*/*.json")})


def wait_for_end(folder: RunFolder, timeout_s: float, look: Callable[[], None]) -> bool:
    """Whether a run that anybody has begun is not, or no longer, on its way within so long."""
    return _wait(lambda: not folder.busy, timeout_s, look)


def _wait(true: Callable[[], bool], timeout_s: float, look: Callable[[], None]) -> bool:
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            return False
        look()
        time.sleep(LOOK_S)
    return True
