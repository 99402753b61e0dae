"""Runs attacks in a workspace with small limits, as whoever it is started as, and prints what came of each as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

plan = json.loads(sys.argv[1])
os.environ.update(plan["environment"])

from sandlot.errors import CommandInterrupted, LimitReached  # noqa: E402  the environment comes first
from sandlot.runtimes.bubblewrap.interpreter import stage  # noqa: E402
from sandlot.sdk import Sandlot, Workspace  # noqa: E402

LEFT = "grep -sla '[g]o_on' /proc/[0-9]*/cmdline | wc -l"
"""How many processes of an attack there are."""
CLEAN = "ls -A /workspace /tmp /dev/shm ~ | grep -v ':$' | grep ."
LEAVE_S = 5.0
"""Less than an attack takes that nobody ends."""


def left(workspace: Workspace) -> int:
    """Processes of the attack that nobody has ended within a while."""
    end = time.monotonic() + (4 * LEAVE_S if workspace.info.runtime == "qemu" else LEAVE_S)
    while True:
        text = workspace.exec(LEFT).stdout.text.strip()
        count = int(text) if text.isdigit() else -1  # there was no room for the programs that count
        if not count or time.monotonic() > end:
            return count
        time.sleep(0.02)


def attacked(workspace: Workspace, sibling: Workspace, argv: list[str]) -> dict[str, Any]:
    """How it ended, and whether anybody else noticed."""
    report: dict[str, Any] = {"refused": False, "left": 0}
    number = workspace.exec(argv, background=True, timeout=60).command.number
    report["sibling"] = sibling.exec("echo fine").stdout.text
    report["answers"] = workspace.status().workspace.state.value
    try:
        done = workspace.wait(number)
        outcome = done.command.outcome
        report |= {"state": done.command.state.value, "limit": outcome.limit if outcome else None}
        report |= {"status": done.exit_status, "ok": done.ok, "stdout": done.stdout.text, "stderr": done.stderr.text}
    except CommandInterrupted:
        report |= {"state": "interrupted", "limit": None}
    try:
        report["left"] = left(workspace)
    except LimitReached:  # so much is on the disk that nothing may run
        report["refused"] = True
    workspace.reset()
    report["clean"] = workspace.exec(CLEAN).stdout.text == ""
    report["after"] = workspace.exec(LEFT).stdout.text.strip()
    return report


with Sandlot() as made, made.create() as sibling, made.create(**plan["limits"]) as workspace:
    guest = workspace.info.runtime == "qemu"
    python = "python3" if guest else stage(made._context.paths).executable
    found = {each: attacked(workspace, sibling, [python, "-I", "-c", plan["source"], each]) for each in plan["attacks"]}
    held = {each.name: each.enforcement for each in workspace.status().workspace.limits}
    json.dump({"attacks": found, "held": held, "warnings": workspace.info.warnings}, sys.stdout)
