"""All operations: MCP name, CLI words, module. Modules are imported when used: start-up is a feature."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sandlot.errors import UsageError

if TYPE_CHECKING:
    from sandlot.operations.operation import Operation

__all__ = ["BY_COMMAND", "LINES", "load"]

LINES: tuple[tuple[str, str, str], ...] = (
    ("workspace_run", "run", "run"),
    ("workspace_create", "workspace create", "create"),
    ("workspace_list", "workspace list", "list"),
    ("workspace_status", "workspace status", "status"),
    ("workspace_update", "workspace update", "update"),
    ("workspace_exec", "workspace exec", "exec"),
    ("workspace_wait", "workspace wait", "wait"),
    ("workspace_kill", "workspace kill", "kill"),
    ("workspace_logs", "workspace logs", "logs"),
    ("workspace_summary", "workspace summary", "summary"),
    ("file_list", "workspace file list", "file_list"),
    ("file_read", "workspace file read", "file_read"),
    ("file_write", "workspace file write", "file_write"),
    ("file_search", "workspace file search", "file_search"),
    ("file_move", "workspace file move", "file_move"),
    ("file_delete", "workspace file delete", "file_delete"),
    ("patch_apply", "workspace patch apply", "patch_apply"),
    ("diff", "workspace diff", "diff"),
    ("workspace_apply", "workspace apply", "apply"),
    ("workspace_export", "workspace export", "export"),
    ("workspace_sync_push", "workspace sync push", "sync_push"),
    ("snapshot_create", "workspace snapshot create", "snapshot_create"),
    ("snapshot_list", "workspace snapshot list", "snapshot_list"),
    ("snapshot_delete", "workspace snapshot delete", "snapshot_delete"),
    ("secret_set", "workspace secret set", "secret_set"),
    ("secret_list", "workspace secret list", "secret_list"),
    ("secret_delete", "workspace secret delete", "secret_delete"),
    ("workspace_reset", "workspace reset", "reset"),
    ("workspace_fork", "workspace fork", "fork"),
    ("shell_open", "workspace shell open", "shell_open"),
    ("shell_read", "workspace shell read", "shell_read"),
    ("shell_write", "workspace shell write", "shell_write"),
    ("shell_resize", "workspace shell resize", "shell_resize"),
    ("shell_signal", "workspace shell signal", "shell_signal"),
    ("shell_close", "workspace shell close", "shell_close"),
    ("shell_list", "workspace shell list", "shell_list"),
    ("service_start", "workspace service start", "service_start"),
    ("service_list", "workspace service list", "service_list"),
    ("service_status", "workspace service status", "service_status"),
    ("service_logs", "workspace service logs", "service_logs"),
    ("service_stop", "workspace service stop", "service_stop"),
    ("workspace_start", "workspace start", "start"),
    ("workspace_stop", "workspace stop", "stop"),
    ("workspace_delete", "workspace delete", "delete"),
    ("base_list", "base list", "base_list"),
    ("base_prune", "base prune", "base_prune"),
    ("env_list", "env list", "env_list"),
    ("env_build", "env build", "env_build"),
    ("env_inspect", "env inspect", "env_inspect"),
    ("env_prune", "env prune", "env_prune"),
    ("env_import", "env import", "env_import"),
    ("prepare", "prepare", "prepare"),
    ("doctor", "doctor", "doctor"),
    ("repair", "repair", "repair"),
)

BY_COMMAND = {tuple(command.split()): name for name, command, _ in LINES}
_MODULES = {name: module for name, _, module in LINES}


def load(name: str) -> Operation[Any, Any]:
    """The operation of that name. Raises UsageError."""
    try:
        module = _MODULES[name]
    except KeyError:
        raise UsageError(f"there is no operation {name!r}", hint="known: " + ", ".join(_MODULES)) from None
    operation: Operation[Any, Any] = import_module(f"sandlot.operations.{module}").OPERATION
    return operation
