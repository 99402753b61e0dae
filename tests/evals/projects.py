"""Small projects with suites of evals, run by the real command line in processes that can be killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import clean_environment

DEADLINE_S = 120.0
TARGETS = """
targets:
  - name: default
    kind: mock
    response: wrong
    tests:
      good: {response: right, files: {answer.txt: "42\\n"}}
      also: {response: right}
  - name: command
    kind: cli
    command: "echo right; echo 1 >> /workspace/made"
  - name: slow
    kind: cli
    command: "exec sleep {MARKER}"
  - name: broken
    kind: mock
    error: the model said 529
"""
SUITE = """
name: first
tests:
  - {id: good, input: a question, metadata: {tags: [easy]}}
  - {id: also, input: a question}
  - {id: bad, input: a question}
assert:
  - {type: contains, value: right}
"""


def project(folder: Path, suite: str = SUITE, targets: str = TARGETS) -> Path:
    """A project with one suite. ``marker`` finds the processes of its target ``slow``, and of no other project's."""
    (folder / ".sandlot").mkdir(parents=True)
    (folder / ".sandlot" / "targets.yaml").write_text(targets.replace("{MARKER}", marker(folder)))
    (folder / "evals").mkdir()
    (folder / "evals" / "first.yaml").write_text(suite)
    return folder


def marker(folder: Path) -> str:
    """Seconds that only this project's target sleeps."""
    return str(10**6 + int(hashlib.sha256(bytes(folder)).hexdigest()[:8], 16))


def many(count: int) -> str:
    """A suite of so many tests."""
    tests = "\n".join(f"  - {{id: t{number}, input: a question}}" for number in range(count))
    return f"name: many\nassert:\n  - {{type: contains, value: right}}\ntests:\n{tests}\n"


@contextmanager
def started(state_dir: Path, folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """``sandlot eval ...`` in that folder; dead at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sandlot", "eval", *words],
        cwd=folder,
        env=clean_environment(state_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=DEADLINE_S)


def runs(folder: Path) -> list[Path]:
    """Folders of the project's runs that have a manifest, oldest first."""
    return sorted(path.parent for path in (folder / ".sandlot" / "runs").glob("*/run.json"))


def results(run: Path) -> dict[str, tuple[int, int]]:
    """Every result on disk: inode and time, by its path. A rewritten one would have others."""
    found = {}
    for path in sorted(run.glob("trials/*/*.json")):
        info = path.stat()
        found[str(path.relative_to(run))] = (info.st_ino, info.st_mtime_ns)
    return found


def outcomes(run: Path) -> dict[str, str]:
    """How each trial ended."""
    records = [json.loads(path.read_bytes()) for path in run.glob("trials/*/*.json")]
    return {"/".join(map(str, record["trial"].values())): record["outcome"] for record in records}


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> Any:
    """What it answers as soon as that is true. Fails after DEADLINE_S, or when the process has ended."""
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, "it never came true"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.002)
    return found


def processes_with(word: str) -> list[int]:
    """Ids of processes that have the word in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if word.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
            except OSError:
                continue
    return found
