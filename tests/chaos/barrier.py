"""Processes that begin at the same moment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.test_kill import ROOT, environment

__all__ = ["run_together", "wait_for_start"]


def wait_for_start() -> None:
    """In a client: say that everything is loaded, and wait until all the others are, too."""
    print("ready", flush=True)
    sys.stdin.readline()


def run_together(state: Path, *clients: Sequence[object]) -> list[dict[str, Any]]:
    """Run clients, each ``(work, arguments...)``, and return what they report. Fails when one of them does."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.client", str(state), *map(str, client)],
            env=environment(state), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for client in clients
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process, client in zip(processes, clients, strict=True):
        out, err = process.communicate()
        outputs.append((client, process.returncode, out, err))
    for client, status, _, err in outputs:
        assert status == 0, f"{client}: {err[-4000:]}"
    return [json.loads(out) for _, _, out, _ in outputs]
