"""What is left of a workspace's history after its database was lost."""

from __future__ import annotations

from pathlib import Path

from sandlot.sdk import Sandlot


def test_commands_can_run_after_a_lost_database_was_rebuilt(state_dir: Path, sandlot: Sandlot) -> None:
    workspace = sandlot.create(name="kept")
    workspace.exec("echo first; exit 3")
    sandlot.close()
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (state_dir / name).unlink(missing_ok=True)

    assert sandlot.repair().rebuilt == 1
    second = sandlot.get("kept").exec("echo second")

    assert (second.command.number, second.stdout.text) == (2, "second\n")
    first = workspace.logs().commands[0]
    assert first.outcome is not None
    assert first.outcome.exit_code == 3
    assert workspace.logs(1).output == "first\n"
