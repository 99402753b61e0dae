"""The arguments that limit a workspace, and its limits as answers show them."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.limits import LIMIT_NAMES, Enforcement, Limits
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.operation import argument
from sandlot.runtimes.base import Finding
from sandlot.workspaces.context import Context
from sandlot.workspaces.limits import field_of, limits_changed, limits_of

__all__ = ["LimitInfo", "LimitRequest", "changed_limits", "describe_limits", "limit_findings", "limits_from"]

_WORKS = {
    Enforcement.KERNEL: "held by the kernel",
    Enforcement.POLLED: "held by a watcher that looks many times a second",
    Enforcement.NONE: "not enforced",
}
_FIXES = {
    "cpus": "run sandlot where it may make control groups: as root, or in a systemd user session "
    "(systemd-run --user --scope -p Delegate=yes sandlot ...)",
}


@dataclass(frozen=True, kw_only=True)
class LimitRequest:
    """How much of the machine the workspace may use; ``never``: no limit, none given: the user's settings."""

    memory: str | None = argument(
        "memory of all it runs, /tmp and /dev/shm included: 2G, or 50% of the machine [default: 75%]",
        default=None,
        metavar="SIZE",
    )
    cpus: str | None = argument("processors, such as 1.5 [default: never]", default=None, metavar="NUMBER")
    processes: str | None = argument("processes and threads [default: 4096]", default=None, metavar="COUNT")
    open_files: str | None = argument("open files of each process [default: 65536]", default=None, metavar="COUNT")
    disk: str | None = argument(
        "disk that its changes may take: 10G, or 50% of what is free [default: 90%]", default=None, metavar="SIZE"
    )
    inodes: str | None = argument(
        "files and folders among its changes, and in /tmp [default: 2M]", default=None, metavar="COUNT"
    )
    tmp: str | None = argument("size of /tmp and of /dev/shm, each [default: 1G]", default=None, metavar="SIZE")
    max_duration: str | None = argument(
        "end any command after this long, whatever its own timeout [default: never]", default=None, metavar="DURATION"
    )


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """One limit of a workspace."""

    name: str
    value: float
    """Bytes, a count, processors, or seconds, as the name says."""
    enforcement: str | None
    """``kernel``, ``polled`` or ``none``, found out when it was started; None while it is stopped."""


def limits_from(context: Context, request: LimitRequest) -> Limits:
    """The limits a request asks for. Raises UsageError."""
    return limits_of(context, {name: getattr(request, name) for name in LIMIT_NAMES})


def changed_limits(context: Context, request: LimitRequest, old: Limits) -> Limits:
    """``old`` with the limits that a request names. Raises UsageError."""
    return limits_changed(context, {name: getattr(request, name) for name in LIMIT_NAMES}, old)


def describe_limits(record: WorkspaceRecord) -> tuple[LimitInfo, ...]:
    """Its limits, and who holds it to them."""
    enforcement = record.instance.enforcement if record.instance else {}
    found = []
    for name in LIMIT_NAMES:
        value = getattr(record.limits, field_of(name))
        if value is not None:
            found.append(LimitInfo(name, value, enforcement.get(name, "none") if record.instance else None))
    return tuple(found)


def limit_findings(enforcement: dict[str, str]) -> list[Finding]:
    """Lines of doctor: what really limiting a process showed."""
    found = []
    for name in LIMIT_NAMES:
        word = Enforcement(enforcement.get(name, "none"))
        text = "only whole processors can be given" if name == "cpus" and word is Enforcement.NONE else _WORKS[word]
        text = f"{name.replace('_', ' ')}: {text}"
        found.append(
            Finding(f"limits.{name}", word is not Enforcement.NONE, text, _FIXES.get(name, ""), required=False)
        )
    return found
