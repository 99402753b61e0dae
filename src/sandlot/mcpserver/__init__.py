"""The MCP server: tools derived from operations and a surface of ``modes``.

``front`` answers a client at once, from ``answers`` prepared before; ``session`` takes over at the first call, with the
SDK's server (``server``) behind it. ``calls`` runs one call of a tool, ``host_paths`` and ``confinement`` hold what it
may name on the host, ``results`` and ``failures`` are what it answers with. ``http`` serves the same on a port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandlot.mcpserver.server import SandlotServer, create_server

__all__ = ["SandlotServer", "create_server"]


def __getattr__(name: str) -> Any:
    """Imported when first used: the front must not pay for the SDK."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sandlot.mcpserver import server

    return getattr(server, name)
