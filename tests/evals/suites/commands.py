"""The real command line, many times: one process loads it, and each command is a fork of that process.

Starting an interpreter for every rule of the workspace model would take most of a minute; what is tested, from the
words to the exit status, is the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Commands", "Done"]

SERVER = """
import json, os, sys, tempfile
import sandlot.cli.main, sandlot.cli.evals, sandlot.cli.eval_suites, sandlot.evals.load, sandlot.evals.real
import sandlot.evals.explain, sandlot.evals.graders.text, sandlot.evals.targets.mock, sandlot.evals.targets_file

for line in sys.stdin:
    asked = json.loads(line)
    files = [tempfile.TemporaryFile() for _ in "ab"]
    pid = os.fork()
    if pid == 0:
        os.environ.clear()
        os.environ.update(asked["environ"])
        os.chdir(asked["cwd"])
        for at, file in enumerate(files):
            os.dup2(file.fileno(), at + 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sandlot.cli.main.main(asked["words"])  # exits
    _, status = os.waitpid(pid, 0)
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode())
        file.close()
    print(json.dumps([os.waitstatus_to_exitcode(status), *texts]), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Commands:
    """The process; a context manager."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(environ)
        )

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.communicate(timeout=30)

    def run(self, words: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> Done:
        """``sandlot WORDS``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"words": list(words), "cwd": str(cwd), "environ": dict(environ)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        status, out, err = json.loads(self._process.stdout.readline())
        return Done(status, out, err)
