"""Records as JSON text and back, without a schema library: start-up is a feature."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sandlot.errors import StateCorrupt
from sandlot.model.base import Origin, OriginKind
from sandlot.model.command import CommandKind, CommandOutcome, CommandRecord, CommandState
from sandlot.model.isolation import IsolationLevel
from sandlot.model.limits import Limits
from sandlot.model.network import Network
from sandlot.model.secret import SecretBinding
from sandlot.model.workspace import Instance, Lifetime, Snapshot, WorkspaceRecord

__all__ = ["dump", "load_command", "load_workspace"]


def dump(record: WorkspaceRecord | CommandRecord) -> str:
    """The record as compact JSON; lone surrogates (bytes that are not UTF-8) survive as escapes."""
    return json.dumps(asdict(record), separators=(",", ":"))


def _origin(data: dict[str, Any]) -> Origin:
    return Origin(**{**data, "kind": OriginKind(data["kind"]), "skipped": tuple(data["skipped"])})


def _instance(data: dict[str, Any] | None) -> Instance | None:
    return None if data is None else Instance(**{**data, "cgroups": tuple(data.get("cgroups", ()))})


def load_workspace(text: str) -> WorkspaceRecord:
    """The record of ``dump``'s text. Raises StateCorrupt."""
    try:
        data: dict[str, Any] = json.loads(text)
        data["origin"] = _origin(data["origin"])
        data["lifetime"] = Lifetime(**data["lifetime"])
        data["isolation"] = IsolationLevel(data["isolation"])
        data["limits"] = Limits(**data.get("limits", {}))
        data["network"] = Network.from_json(data["network"]) if "network" in data else Network()
        data["instance"] = _instance(data["instance"])
        data["retired"] = _instance(data["retired"])
        data["owner"] = tuple(data["owner"]) if data["owner"] else None
        data["stopped_uptime"] = tuple(data["stopped_uptime"]) if data["stopped_uptime"] else None
        for name in ("baseline", "layers", "toolchains"):
            data[name] = tuple(data[name])
        data["snapshots"] = tuple(
            Snapshot(entry["name"], tuple(entry["layers"]), entry["created_at"]) for entry in data["snapshots"]
        )
        data["secrets"] = tuple(
            SecretBinding(entry["name"], tuple(entry["hosts"]), entry["placeholder"])
            for entry in data.get("secrets", ())
        )
        return WorkspaceRecord(**data)
    except (ValueError, KeyError, TypeError) as error:
        raise StateCorrupt(f"a workspace's record is damaged: {error}") from error


def load_command(text: str) -> CommandRecord:
    """The record of ``dump``'s text. Raises StateCorrupt."""
    try:
        data: dict[str, Any] = json.loads(text)
        outcome = data["outcome"]
        if outcome is not None:
            data["outcome"] = CommandOutcome(**{**outcome, "state": CommandState(outcome["state"])})
        data["argv"] = tuple(data["argv"])
        data["revealed"] = tuple(data.get("revealed", ()))
        data["kind"] = CommandKind(data.get("kind", "command"))
        data["isolation"] = IsolationLevel(data["isolation"])
        return CommandRecord(**data)
    except (ValueError, KeyError, TypeError) as error:
        raise StateCorrupt(f"a command's record is damaged: {error}") from error
