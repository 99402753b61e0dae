"""The tools that run inside a workspace: files, search, patch and sync.

A tool is ``tool(args, bulk, emit) -> fields``: ``args`` are flat byte fields (integers in decimal ASCII, flags ``0``
or ``1``, the workspace's root folder first), ``bulk`` is a descriptor that carries content (or -1), ``emit`` sends one
list entry, and what is returned are the fields of the final answer. Each tool's docstring is its contract.

A path is absolute or relative to the root; it is bytes, so any name works. The sandbox is the boundary: a path may lead
anywhere inside it. A tool never opens anything but folders and regular files, so it cannot hang on a FIFO or a device.

Tools end on SIGTERM by raising ``interruption.Terminated`` (a SystemExit) after putting things back.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Emit = Callable[[list[bytes]], None]
    Tool = Callable[[list[bytes], int, Emit], list[bytes]]

__all__ = ["TOOLS", "ToolError", "get"]

TOOLS = {
    "file_delete": "deleting:file_delete",
    "file_list": "listing:file_list",
    "file_move": "moving:file_move",
    "file_read": "reading:file_read",
    "file_search": "search:file_search",
    "file_write": "writing:file_write",
    "patch_apply": "patch:patch_apply",
    "receive": "receive:receive",
    "recover": "swap:recover",
}


class ToolError(Exception):
    """A tool refused or failed.

    ``code`` is path_not_found, file_refused, unsafe_path, patch_rejected, sync_conflict or invalid_argument;
    ``message`` one sentence without control characters; ``details`` further lines, for a rejected patch one for each
    hunk or file.
    """

    def __init__(self, code: str, message: str, details: list[str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or []


def get(name: str) -> Tool:
    """The tool of that name, importing only its own module. Raises ToolError (invalid_argument) for an unknown name."""
    try:
        module, function = TOOLS[name].split(":")
    except KeyError:
        raise ToolError("invalid_argument", f"there is no tool named {name!r}") from None
    from importlib import import_module

    tool: Tool = getattr(import_module(f"{__name__}.{module}"), function)
    return tool
