"""What every kind of target is: how its fields are read, what it needs, how it runs; and the fields they share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sandlot.errors import UsageError
from sandlot.evals.cases import Placement, TargetSpec, TestCase
from sandlot.evals.fields import Fields
from sandlot.evals.outcomes import TargetAnswer
from sandlot.evals.targets.commandline import OnLine, Ran, run_inside, run_on_host
from sandlot.evals.targets.needs import TargetNeeds
from sandlot.model.secret import Secret

if TYPE_CHECKING:
    from sandlot.sdk import Workspace
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["SCRATCH", "Job", "Kind", "Surroundings", "fields_of", "read_surroundings", "run_command"]

SCRATCH = "/tmp/sandlot-eval"  # noqa: S108  inside the workspace: outside /workspace, so that no diff shows it
PROMPT_FILE = f"{SCRATCH}/prompt.txt"


@dataclass(frozen=True, slots=True)
class Job:
    """One test for one target."""

    spec: TargetSpec
    case: TestCase
    workspace: Workspace | None
    """None: the target runs on the host, or needs no place at all."""
    timeout_s: float | None
    cancellation: Cancellation | None = None
    on_line: OnLine | None = None
    attempt: int = 1

    @property
    def place(self) -> Workspace:
        """The workspace of a target that cannot do without one."""
        if self.workspace is None:
            raise UsageError(f"target '{self.spec.name}' needs a workspace", hint="or write placement: host")
        return self.workspace


class Kind(ABC):
    """A kind of target."""

    name: ClassVar[str]

    @abstractmethod
    def check(self, spec: TargetSpec) -> TargetNeeds:
        """What it needs of its workspace. Raises UsageError for fields that are wrong, missing or unknown."""

    @abstractmethod
    def run(self, job: Job) -> TargetAnswer:
        """Do the test; a failure is in the answer."""


NOTHING = TargetNeeds()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What targets that are commands have in common."""

    env: Mapping[str, str] = field(default_factory=dict)
    needs: TargetNeeds = NOTHING
    host_cwd: str = ""
    inside_cwd: str = "/workspace"


def fields_of(spec: TargetSpec) -> Fields:
    """Its own fields, with the target's name in messages."""
    return Fields(spec.config, f"target '{spec.name}'", spec.place)


def read_surroundings(spec: TargetSpec, fields: Fields, defaults: TargetNeeds = NOTHING) -> Surroundings:
    """``env``, ``cwd``, ``toolchains``, ``secrets``, ``allow``, ``allow_private``, ``network``. Raises UsageError."""
    toolchains = tuple(
        os.path.normpath(os.path.join(spec.folder, os.path.expanduser(each))) for each in fields.texts("toolchains")
    )
    network = fields.choice("network", ("off", "allowlist", "open"), "allowlist")
    secrets = _secrets(fields) if fields.has("secrets") else dict(defaults.secrets)
    bound = tuple(host for secret in secrets.values() for host in secret.hosts)
    needs = TargetNeeds(
        toolchains=toolchains or defaults.toolchains,
        secrets=secrets,
        allow=() if network == "off" else (*fields.texts("allow", defaults.allow), *_allowed(bound)),
        allow_private=() if network == "off" else fields.texts("allow_private", defaults.allow_private),
        open_network=network == "open",
    )
    cwd = fields.text("cwd", "")
    host = spec.placement is Placement.HOST
    for each in () if host else needs.toolchains:
        _check_shown(spec, fields, each)
    if cwd and not host and (os.path.isabs(cwd) or ".." in cwd.split("/")):
        raise fields.wrong("'cwd' must be a folder below the workspace", "or write placement: host")
    return Surroundings(
        env=fields.words("env"),
        needs=TargetNeeds() if host else needs,
        host_cwd=os.path.join(spec.folder, cwd),
        inside_cwd=os.path.join("/workspace", cwd).rstrip("/"),
    )


def _check_shown(spec: TargetSpec, fields: Fields, folder: str) -> None:
    """Raises UsageError for a folder that would show what a target must not see."""
    if f"{os.path.realpath(spec.folder)}/".startswith(f"{os.path.realpath(folder).rstrip('/')}/"):
        # Runs, with answers and verdicts, are kept there, and suites with their hidden files lie beside it.
        raise fields.wrong(f"the folder {folder} holds this targets file", "put the program into a folder of its own")


def _secrets(fields: Fields) -> dict[str, Secret]:
    """``NAME: {env: VARIABLE | file: PATH, hosts: [...]}``; the value is read when a workspace is made, not before."""
    found = {}
    for name in fields.mapping("secrets"):
        inner = fields.inner("secrets").inner(name)
        hosts, env, file = inner.texts("hosts", None), inner.optional_text("env"), inner.optional_text("file")
        inner.done()
        if (env is None) == (file is None):
            raise inner.wrong("exactly one of 'env' and 'file' says where the value is")
        found[name] = Secret(hosts=hosts, env=env, file=file)
    return found


def _allowed(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """What a secret is bound to can be reached; a private address still has to be allowed in words."""
    return tuple(dict.fromkeys(host.removeprefix("http://") for host in hosts if not host.startswith("http://127.")))


def run_command(
    job: Job, around: Surroundings, command: tuple[str, ...], stdin: bytes, on_line: OnLine | None, cwd: str = ""
) -> Ran:
    """Where the target is placed."""
    env = {**job.case.workspace.env, **around.env}
    if job.spec.placement is Placement.HOST:
        return run_on_host(
            command, cwd=cwd or around.host_cwd, stdin=stdin, env=env, timeout_s=job.timeout_s,
            cancellation=job.cancellation, on_line=on_line,
        )  # fmt: skip
    return run_inside(
        job.place, command, stdin=stdin, env=env, cwd=around.inside_cwd, timeout_s=job.timeout_s,
        cancellation=job.cancellation, on_line=on_line,
    )  # fmt: skip
