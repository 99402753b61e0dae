"""What the egress proxy lets others do with requests that leave a workspace: put secrets into them, above all.

The proxy asks ``terminates`` for every CONNECT to a host that the policy allows. Where the answer is yes it speaks TLS
with the workspace itself (``server_context``), verified TLS with the real host, and ``rewrite`` sees each request in
between. Plain requests are rewritten without asking. Everything is called from the proxy's connection threads, several
at once, after the policy has allowed the host; no call may block on the network.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

    from sandlot.paths import Paths

__all__ = ["Filter", "Headers", "Interceptor", "Untouched", "interceptor_of"]

Headers = list[tuple[bytes, bytes]]
"""(lower-cased name, value) in the order of the request."""

_SECRETS = "sandlot.workspaces.secrets.interceptor"


class Filter(Protocol):
    """What the body of an answer passes through; never changes how long it is."""

    def feed(self, data: bytes, /) -> bytes:
        """What can be passed on now; some may be held back."""

    def flush(self) -> bytes:
        """The rest, at the end."""


class Interceptor(Protocol):
    """Sees requests to allowed hosts. ``host`` is the normalised name (lower case, IDNA, no trailing dot)."""

    def terminates(self, host: str, port: int, /) -> bool:
        """Whether TLS to this host is to be opened, so that ``rewrite`` sees what is inside."""

    def server_context(self, host: str, /) -> ssl.SSLContext:
        """What the proxy speaks TLS with towards the workspace, as ``host``."""

    def rewrite(self, scheme: str, host: str, port: int, target: bytes, headers: Headers, /) -> tuple[bytes, Headers]:
        """The request target (path and query) and headers that go to the host instead.

        ``scheme`` is ``http`` or ``https``. Must keep ``host``, the framing headers and what the proxy adds.
        """

    def redact_response(self, scheme: str, host: str, port: int, headers: Headers, /) -> tuple[Headers, Filter | None]:
        """The answer's headers as the workspace may see them, and what its body has to pass through, if anything."""


class Untouched:
    """The interceptor of a workspace without secrets: every tunnel stays closed, every request as it is."""

    def terminates(self, _host: str, _port: int, /) -> bool:
        return False

    def server_context(self, _host: str, /) -> ssl.SSLContext:
        raise NotImplementedError("no tunnel is opened")

    def rewrite(
        self, _scheme: str, _host: str, _port: int, target: bytes, headers: Headers, /
    ) -> tuple[bytes, Headers]:
        return target, headers

    def redact_response(
        self, _scheme: str, _host: str, _port: int, headers: Headers, /
    ) -> tuple[Headers, Filter | None]:
        return headers, None


def interceptor_of(paths: Paths, workspace_id: str) -> Interceptor:
    """The workspace's interceptor: that of its secrets, if this build has any."""
    try:
        missing = find_spec(_SECRETS) is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        return Untouched()
    found: Interceptor = import_module(_SECRETS).load(paths, workspace_id)
    return found
