"""Every failure sandlot reports on purpose.

Each class has a stable ``code`` (what scripts match on), an ``exit_status`` (what the CLI exits with) and a ``hint``
(one next step). The text is one lower-case sentence. A foreign exception is translated into one of these at the
seam where it enters; a traceback reaching a user is a bug.

::

    SandlotError
    ├── UsageError              invalid_argument       2   the request itself is wrong
    │   └── SuiteInvalid        suite_invalid
    ├── NotFound                                       3
    │   ├── WorkspaceNotFound   workspace_not_found
    │   ├── SnapshotNotFound    snapshot_not_found
    │   ├── CommandNotFound     command_not_found
    │   ├── ServiceNotFound     service_not_found
    │   ├── ShellNotFound       shell_not_found
    │   ├── BaseNotFound        base_not_found
    │   ├── EnvironmentNotFound environment_not_found
    │   ├── SecretNotFound      secret_not_found
    │   ├── RunNotFound         run_not_found
    │   └── PathNotFound        path_not_found
    ├── Conflict                                       4
    │   ├── NameTaken           name_taken
    │   ├── WorkspaceBusy       workspace_busy
    │   ├── ShellBusy           shell_busy
    │   ├── ShellEnded          shell_ended
    │   ├── PortTaken           port_taken
    │   ├── TargetExists        target_exists
    │   ├── PatchRejected       patch_rejected
    │   ├── SyncConflict        sync_conflict
    │   ├── HostConflict        host_conflict
    │   ├── RunBusy             run_busy
    │   └── LimitReached        limit_reached
    ├── Refused                                        5   hostile or unusable input
    │   ├── SeedUnreadable      seed_unreadable
    │   ├── ArchiveRefused      archive_refused
    │   ├── ImageRefused        image_refused
    │   ├── RegistryFailed      registry_failed
    │   ├── BuildFailed         build_failed
    │   ├── UnsafePath          unsafe_path
    │   ├── FileRefused         file_refused
    │   ├── SecretExposed       secret_exposed
    │   ├── GitFailed           git_failed
    │   ├── HookFailed          hook_failed
    │   ├── HostConfigUnreadable host_config_unreadable
    │   └── HostFailed          host_failed
    ├── IsolationUnavailable    isolation_unavailable  6   never falls back to the host
    ├── WorkspaceFailure                               7   the workspace broke, not the command
    │   ├── StartFailed         start_failed
    │   ├── AgentUnresponsive   agent_unresponsive
    │   ├── CommandInterrupted  command_interrupted
    │   ├── NetworkUnavailable  network_unavailable
    │   └── ProtocolError       protocol_error
    └── StateError                                     8
        ├── StateUnwritable     state_unwritable
        ├── StateCorrupt        state_corrupt
        └── StateTooNew         state_too_new
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AgentUnresponsive",
    "ArchiveRefused",
    "BaseNotFound",
    "BuildFailed",
    "CommandInterrupted",
    "CommandNotFound",
    "Conflict",
    "EnvironmentNotFound",
    "FileRefused",
    "GitFailed",
    "HookFailed",
    "HostConfigUnreadable",
    "HostConflict",
    "HostFailed",
    "ImageRefused",
    "IsolationUnavailable",
    "LimitReached",
    "NameTaken",
    "NetworkUnavailable",
    "NotFound",
    "PatchRejected",
    "PathNotFound",
    "PortTaken",
    "ProtocolError",
    "Refused",
    "RegistryFailed",
    "RunBusy",
    "RunNotFound",
    "SandlotError",
    "SecretExposed",
    "SecretNotFound",
    "SeedUnreadable",
    "ServiceNotFound",
    "ShellBusy",
    "ShellEnded",
    "ShellNotFound",
    "SnapshotNotFound",
    "StartFailed",
    "StateCorrupt",
    "StateError",
    "StateTooNew",
    "StateUnwritable",
    "SuiteInvalid",
    "SyncConflict",
    "TargetExists",
    "UnsafePath",
    "UsageError",
    "WorkspaceBusy",
    "WorkspaceFailure",
    "WorkspaceNotFound",
]


class SandlotError(Exception):
    """The root of every error sandlot raises on purpose.

    ``message`` is one sentence, ``hint`` the next step or empty, ``details`` extra lines a person may want (for a
    rejected patch: one line for each hunk).
    """

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.details = details

    def to_json(self) -> dict[str, object]:
        """The error as the object that ``--json`` prints and the MCP server returns."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint, "details": list(self.details)}}


class UsageError(SandlotError):
    """An argument, option or field is wrong; nothing was done."""

    code = "invalid_argument"
    exit_status = 2


class SuiteInvalid(UsageError):
    """A suite of evals, or what it names, is wrong; nothing was run. ``details`` has the other mistakes found."""

    code = "suite_invalid"


class NotFound(SandlotError):
    """Something was named that does not exist."""

    code = "not_found"
    exit_status = 3


class WorkspaceNotFound(NotFound):
    """No workspace has that id or name (or it was deleted)."""

    code = "workspace_not_found"
    default_hint = "sandlot workspace list"


class SnapshotNotFound(NotFound):
    """The workspace has no snapshot of that name."""

    code = "snapshot_not_found"
    default_hint = "sandlot workspace snapshot list ID"


class CommandNotFound(NotFound):
    """The workspace's history has no command of that number."""

    code = "command_not_found"
    default_hint = "sandlot workspace logs ID"


class ServiceNotFound(NotFound):
    """The workspace has, and had, no service of that name."""

    code = "service_not_found"
    default_hint = "sandlot workspace service list ID"


class ShellNotFound(NotFound):
    """The workspace has, and had, no shell of that name or number."""

    code = "shell_not_found"
    default_hint = "sandlot workspace shell list ID"


class BaseNotFound(NotFound):
    """No base has that id."""

    code = "base_not_found"
    default_hint = "sandlot base list"


class EnvironmentNotFound(NotFound):
    """No environment of that name or digest has been built or imported here."""

    code = "environment_not_found"
    default_hint = "sandlot env list"


class SecretNotFound(NotFound):
    """The workspace has no secret of that name."""

    code = "secret_not_found"
    default_hint = "sandlot workspace secret list ID"


class RunNotFound(NotFound):
    """There is no run of evals with that id, or in that folder."""

    code = "run_not_found"
    default_hint = "sandlot eval list"


class PathNotFound(NotFound):
    """A path does not exist, in the workspace or on the host; the message says where."""

    code = "path_not_found"
    default_hint = "check the spelling; sandlot workspace file list ID shows what is inside"


class Conflict(SandlotError):
    """The request collides with something that exists."""

    code = "conflict"
    exit_status = 4


class NameTaken(Conflict):
    """A live workspace, or a snapshot of this workspace, already has that name."""

    code = "name_taken"


class WorkspaceBusy(Conflict):
    """Another process holds the workspace's lifecycle lock for longer than we waited."""

    code = "workspace_busy"
    default_hint = "try again in a moment"


class ShellBusy(Conflict):
    """A shell does not read its input, or serves too many clients; nothing was written."""

    code = "shell_busy"
    default_hint = "try again, or interrupt what runs in it: sandlot workspace shell signal ID SHELL INT"


class ShellEnded(Conflict):
    """The shell has ended, so there is nobody to write to; what it printed can still be read."""

    code = "shell_ended"
    default_hint = "sandlot workspace shell open ID"


class PortTaken(Conflict):
    """A port of the host that was to be published is in use."""

    code = "port_taken"
    default_hint = "name another one, or publish without a host port and let sandlot pick: --publish PORT"


class TargetExists(Conflict):
    """A host path that would be written already exists."""

    code = "target_exists"
    default_hint = "name another destination, or say --overwrite"


class PatchRejected(Conflict):
    """A patch does not apply; nothing was changed. ``details`` has one line for each hunk or file."""

    code = "patch_rejected"
    default_hint = "make the patch against what the workspace holds: sandlot workspace file read ID PATH"


class SyncConflict(Conflict):
    """Files changed both on the host and in the workspace; nothing was pushed. ``details`` names them."""

    code = "sync_conflict"
    default_hint = "look at sandlot workspace diff ID; --force takes the host's side"


class HostConflict(Conflict):
    """A chat host's configuration holds something of another's where ours would be, or changed while we looked."""

    code = "host_conflict"
    default_hint = "sandlot host doctor HOST"


class RunBusy(Conflict):
    """Another process runs that run of evals at this moment."""

    code = "run_busy"
    default_hint = "wait until it has ended, or end it with ctrl-C"


class LimitReached(Conflict):
    """A configured limit, such as the number of workspaces, or the disk of one, does not allow more."""

    code = "limit_reached"
    default_hint = "sandlot workspace file delete ID PATH, or sandlot workspace reset ID"


class Refused(SandlotError):
    """The input could not, or must not, be used."""

    code = "refused"
    exit_status = 5


class SeedUnreadable(Refused):
    """A file of the seed cannot be read, or changed while it was read; nothing half-made stays behind."""

    code = "seed_unreadable"
    default_hint = "make it readable or leave it out (.gitignore), and create again"


class ArchiveRefused(Refused):
    """An archive holds members that leave its root, collide, or expand beyond the limit; nothing was written."""

    code = "archive_refused"
    default_hint = "look at it with tar -tvf or unzip -l; only archives you trust can be unpacked by hand"


class ImageRefused(Refused):
    """An OCI image is not what its digests say, or does what no image may; nothing of it was kept."""

    code = "image_refused"
    default_hint = "import another image, or one that was pulled and checked by another tool (skopeo copy)"


class RegistryFailed(Refused):
    """A registry could not be asked, or did not answer as one."""

    code = "registry_failed"
    default_hint = "check the reference and the network, and try again"


class BuildFailed(Refused):
    """An environment could not be built; nothing of it was kept."""

    code = "build_failed"
    default_hint = "look at the details; the same command builds again"


class UnsafePath(Refused):
    """A path leaves the place it must stay in."""

    code = "unsafe_path"
    default_hint = "name a path below /workspace"


class FileRefused(Refused):
    """A file operation inside the workspace failed: not a regular file, no permission, no space."""

    code = "file_refused"
    default_hint = "sandlot workspace file list ID shows kinds and modes"


class SecretExposed(Refused):
    """What was to leave the workspace holds the value of a secret; ``details`` names the files. Nothing was done."""

    code = "secret_exposed"
    default_hint = "take the value out of these files, or go on with --allow-secrets"


class GitFailed(Refused):
    """git refused; the message is its own."""

    code = "git_failed"
    default_hint = "try the same with git itself"


class HookFailed(Refused):
    """A hook of an eval, before a test or before all of them, did not do its work."""

    code = "hook_failed"
    default_hint = "put the hook right, or write enabled: false below hooks to run without any"


class HostConfigUnreadable(Refused):
    """A chat host's configuration file cannot be parsed, or not be edited safely; it was left as it is."""

    code = "host_config_unreadable"
    default_hint = "put it right at the place named, and try again; sandlot host doctor HOST"


class HostFailed(Refused):
    """A chat host's own command failed; the message is its own. What was there before is there again."""

    code = "host_failed"
    default_hint = "sandlot host doctor HOST"


class IsolationUnavailable(SandlotError):
    """This machine cannot isolate a workspace as asked. Nothing was run on the host instead."""

    code = "isolation_unavailable"
    exit_status = 6
    default_hint = "sandlot doctor"


class WorkspaceFailure(SandlotError):
    """The workspace broke; this is never a verdict on the command that ran in it."""

    code = "workspace_failure"
    exit_status = 7


class StartFailed(WorkspaceFailure):
    """The runtime could not start the workspace."""

    code = "start_failed"
    default_hint = "sandlot doctor"


class AgentUnresponsive(WorkspaceFailure):
    """The agent inside did not answer within its deadline."""

    code = "agent_unresponsive"
    default_hint = "sandlot workspace reset ID"


class CommandInterrupted(WorkspaceFailure):
    """The workspace was stopped, reset or killed, or the command's supervisor was killed, while the command ran."""

    code = "command_interrupted"
    default_hint = "sandlot workspace logs ID shows how far it came"


class NetworkUnavailable(WorkspaceFailure):
    """The network that a workspace is to have cannot be made on this machine, or its gateway did not start."""

    code = "network_unavailable"
    default_hint = "sandlot doctor"


class ProtocolError(WorkspaceFailure):
    """What came out of the workspace is not our protocol; the connection was dropped."""

    code = "protocol_error"
    default_hint = "sandlot workspace reset ID"


class StateError(SandlotError):
    """sandlot's own records are unusable."""

    code = "state_error"
    exit_status = 8
    default_hint = "sandlot doctor"


class StateUnwritable(StateError):
    """The state folder cannot be written: permission, read-only file system, or no space."""

    code = "state_unwritable"


class StateCorrupt(StateError):
    """The state database is damaged."""

    code = "state_corrupt"
    default_hint = "sandlot repair"


class StateTooNew(StateError):
    """The state database was written by a newer sandlot."""

    code = "state_too_new"
    default_hint = "upgrade sandlot, or point SANDLOT_STATE_DIR at another folder"
