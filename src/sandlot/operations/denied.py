"""What a workspace asked of the network and was not given, as answers show it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sandlot.model.command import CommandRecord
from sandlot.model.network import NetworkMode
from sandlot.model.workspace import WorkspaceRecord
from sandlot.workspaces.context import Context
from sandlot.workspaces.network import denials, serving
from sandlot.workspaces.network.denials import Denial

__all__ = ["denied_during", "recent_denials"]

RECENT = 20
MARGIN_MS = 50
"""A command's duration is counted by its supervisor, which starts and ends within the host's look at it."""


def denied_during(context: Context, record: WorkspaceRecord, command: CommandRecord) -> tuple[str, ...]:
    """What the workspace was denied while a command ran: ``host:port``, each with its count.

    One that exited with 0 and no network to ask for has been denied nothing it could not do without.
    """
    outcome = command.outcome
    if record.network.mode is NetworkMode.OFF and (outcome is None or outcome.exit_code == 0):
        return ()  # asking the agent would cost every command a round trip
    until = "~"
    if outcome is not None:
        end = datetime.fromisoformat(command.started_at) + timedelta(milliseconds=outcome.duration_ms + MARGIN_MS)
        until = end.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return denials.summed(_read(context, record, since=command.started_at, until=until))


def recent_denials(context: Context, record: WorkspaceRecord, *, ask: bool = True) -> tuple[Denial, ...]:
    """The last ones, oldest first; without ``ask`` those that are written down already."""
    return tuple(_read(context, record, ask=ask)[-RECENT:])


def _read(
    context: Context, record: WorkspaceRecord, since: str = "", until: str = "~", *, ask: bool = True
) -> list[Denial]:
    if ask:
        serving.collect_denials(context, record)
    return denials.read(context.paths.workspace(record.id).denials, since=since, until=until)
