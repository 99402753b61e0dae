"""The arguments by which secrets are given to workspaces and to commands, and a secret as answers show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandlot.model.network import NetworkMode
from sandlot.model.secret import Secret
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.operation import argument

if TYPE_CHECKING:
    from sandlot.workspaces.secrets.sources import Given

__all__ = ["RevealRequest", "SecretInfo", "SecretsRequest", "describe_secrets", "secret_warnings", "secrets_of"]


@dataclass(frozen=True, kw_only=True)
class SecretsRequest:
    """Secrets of a new workspace."""

    secrets: tuple[str | tuple[str, Secret], ...] = argument(
        "a secret that the workspace can use at these hosts but not read: NAME=env:VAR@HOST[,HOST...], "
        "NAME=file:PATH@HOST, NAME@HOST for the variable of that name; @- in place of hosts: for --reveal alone",
        default=(),
        metavar="NAME=SOURCE@HOST",
        host_path=True,
    )


def secrets_of(request: SecretsRequest) -> tuple[Given, ...]:
    """With their values, read now: before anything is made. Raises UsageError, PathNotFound."""
    if not request.secrets:
        return ()
    from sandlot.workspaces.secrets.sources import given

    return given(request.secrets)


@dataclass(frozen=True, kw_only=True)
class RevealRequest:
    """Secrets whose values one command may see."""

    reveal: tuple[str, ...] = argument(
        "give this one command the value of a secret, not the placeholder; it is blanked out of what it prints",
        default=(),
        metavar="NAME",
    )


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """A secret without its value."""

    name: str
    hosts: tuple[str, ...]
    """Empty: only ``reveal`` hands it out."""
    placeholder: str
    """What the environment variable of that name holds inside."""


def describe_secrets(record: WorkspaceRecord) -> tuple[SecretInfo, ...]:
    """By name."""
    found = sorted(record.secrets, key=lambda each: each.name)
    return tuple(SecretInfo(each.name, each.hosts, each.placeholder) for each in found)


def secret_warnings(record: WorkspaceRecord) -> Iterator[str]:
    """What keeps secrets from being used: a binding to a host does not open the network to it."""
    if not record.secrets:
        return
    from sandlot.workspaces.secrets.bound_host import BoundHost

    network = record.network
    for each in record.secrets:
        for host in map(BoundHost.parse, each.hosts):
            if network.mode is NetworkMode.OFF:
                yield f"the secret {each.name} cannot be used at {host}: the network is off"
            elif not network.allows(host.host, host.port):
                yield f"the secret {each.name} cannot be used at {host}: the network does not allow that host and port"
