"""sandlot: a disposable, isolated workspace for every coding agent, and a provably clean one for every eval.

The floor plan, from the ground up; imports go downwards only (import-linter holds it):

::

    cli                      words and formats
    demo, aio, sdk           what people import
    operations               one file per verb: request, result, behaviour
    workspaces               records, life, commands, changes, saved states, reaper
    bases       runtimes     content-addressed trees     what isolates (bubblewrap/, conformance)
    guest                    the agent inside a workspace; knows only wire
    wire                     frames between host and agent
    model                    the nouns
    settings                 user settings
    process  paths           host processes     every path on disk
    errors                   the exception tree
"""

from __future__ import annotations

from importlib import import_module

from sandlot._version import __version__

TYPE_CHECKING = False  # typing's own takes 8 ms to import, which every command and every keeper would wait for
if TYPE_CHECKING:
    from typing import Any

    from sandlot.aio import AsyncSandlot, AsyncWorkspace
    from sandlot.errors import SandlotError
    from sandlot.model.isolation import IsolationLevel
    from sandlot.model.secret import Secret
    from sandlot.sdk import Sandlot, Workspace

__all__ = [
    "AsyncSandlot",
    "AsyncWorkspace",
    "IsolationLevel",
    "Sandlot",
    "SandlotError",
    "Secret",
    "Workspace",
    "__version__",
]

_HOMES = {
    "AsyncSandlot": "sandlot.aio",
    "AsyncWorkspace": "sandlot.aio",
    "IsolationLevel": "sandlot.model.isolation",
    "Sandlot": "sandlot.sdk",
    "SandlotError": "sandlot.errors",
    "Secret": "sandlot.model.secret",
    "Workspace": "sandlot.sdk",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: ``import sandlot`` stays close to a bare interpreter."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
