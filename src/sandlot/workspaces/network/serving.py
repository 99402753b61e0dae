"""Who serves a workspace's network: a gateway on the host, or, where nothing may be reached, the agent that refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from sandlot.errors import SandlotError
from sandlot.model.network import PROXY_PORT, NetworkMode
from sandlot.model.workspace import Instance, WorkspaceRecord
from sandlot.runtimes.base import StorageKind
from sandlot.runtimes.channel import Channel
from sandlot.wire import messages
from sandlot.workspaces.context import Context

if TYPE_CHECKING:
    from sandlot.workspaces.network.control import Gateway

__all__ = ["Serving", "anew", "changed", "collect_denials", "down", "ensure", "starting", "variables"]

_PROXY = f"http://127.0.0.1:{PROXY_PORT}"
_LOCAL = "localhost,127.0.0.1,::1,sandlot"
ANSWER_S = 2.0
"""How long to wait for an agent's word about what it refuses: it is only good to know, and a hung one has none."""


class Serving:
    """The network of a workspace that is being started."""

    def __init__(self, context: Context, gateway: Gateway | None) -> None:
        self._context = context
        self._gateway = gateway

    def join(self, record: WorkspaceRecord, instance: Instance) -> WorkspaceRecord:
        """The record with its instance, once its network is served. Raises PortTaken, NetworkUnavailable."""
        if self._gateway is not None:
            record = self._gateway.join(record, instance)
        else:
            record = replace(record, instance=instance)
        if record.network.mode is NetworkMode.OFF:
            _refuse(self._context, record, PROXY_PORT)
        return record

    def release(self) -> None:
        """Let it outlive us."""
        if self._gateway is not None:
            self._gateway.release()


@contextlib.contextmanager
def starting(context: Context, record: WorkspaceRecord) -> Iterator[Serving]:
    """What is to serve the record's network, on its way while the workspace itself starts; gone if the block fails."""
    if not record.network.needs_gateway:
        yield Serving(context, None)
        return
    from sandlot.workspaces.network import control

    if record.network.mode is not NetworkMode.OFF:
        from sandlot.workspaces.secrets.trust import show_host_bundle

        show_host_bundle(context.paths.workspace(record.id), record)
    with control.starting(context, record) as gateway:
        yield Serving(context, gateway)


def _refuse(context: Context, record: WorkspaceRecord, port: int) -> None:
    """Have the agent answer in the proxy's place, or (port 0) no more.

    Without it tools fail all the same, only less readably, so nothing else depends on it.
    """
    own = context.paths.workspace(record.id).generation(record.generation)
    with contextlib.suppress(SandlotError, OSError), Channel(own.socket) as channel:
        channel.call(messages.REFUSE, [b"%d" % port, record.label.encode()], timeout_s=ANSWER_S)


def down(record: WorkspaceRecord) -> bool:
    """Whether the network of a running workspace is not served although it should be: its gateway was killed."""
    if not record.network.needs_gateway or record.instance is None:
        return False
    from sandlot.workspaces.network import control

    return not control.alive(record.instance)


def collect_denials(context: Context, record: WorkspaceRecord) -> None:
    """Write down what a running agent has refused; where there is a gateway it writes its own log."""
    if record.network.mode is NetworkMode.OFF and record.instance is not None:
        _collect(context, record)


def _collect(context: Context, record: WorkspaceRecord) -> None:
    from sandlot.workspaces.network import denials

    own = context.paths.workspace(record.id)
    with contextlib.suppress(SandlotError, OSError), Channel(own.generation(record.generation).socket) as channel:
        found = [denials.refused(each) for each in channel.call(messages.DENIALS, timeout_s=ANSWER_S)]
        if found:
            denials.record(own.denials, [each for each in found if each is not None])


def ensure(context: Context, record: WorkspaceRecord) -> WorkspaceRecord:
    """The record of a running workspace whose gateway runs, started anew if somebody has killed it."""
    return replaced(context, record.id) if down(record) else record


def replaced(context: Context, key: str) -> WorkspaceRecord:
    """Start the gateway of a running workspace anew if it does not run."""
    from sandlot.workspaces.lifecycle import is_running, locked

    with locked(context, key) as record:
        return anew(context, record) if down(record) and is_running(context, record) else record


def anew(context: Context, record: WorkspaceRecord) -> WorkspaceRecord:
    """Serve the network of a running workspace as its record now says. The caller holds the lock."""
    from sandlot.workspaces.network import control

    if record.instance is None:
        return record
    control.kill(record.instance)
    _collect(context, record)  # what it has refused until now, it forgets with the next line
    _refuse(context, record, 0)
    instance = replace(record.instance, gateway_pid=0, gateway_start=0)
    with starting(context, record) as network:
        record = network.join(record, instance)
        _show_trust(context, record)
        context.store.save(record)
        network.release()
    return record


def _show_trust(context: Context, record: WorkspaceRecord) -> None:
    """A running guest has copies of the certificates: it gets those that the network has brought."""
    if (
        record.storage == StorageKind.GUEST
        and record.instance is not None
        and record.network.mode is not NetworkMode.OFF
    ):
        own = context.paths.workspace(record.id)
        socket = own.generation(record.generation).socket
        context.runtime(record.runtime).show_trust(record.instance, socket, own.trust)


def changed(context: Context, record: WorkspaceRecord, before: WorkspaceRecord) -> WorkspaceRecord:
    """Serve a running workspace's changed network; if that fails, the one ``before`` it again. The lock is held.

    Raises PortTaken, NetworkUnavailable.
    """
    try:
        return anew(context, record)
    except BaseException:
        context.store.save(before)
        with contextlib.suppress(SandlotError):  # then nobody serves it, and the next command tries again
            anew(context, before)
        raise


def variables() -> dict[str, str]:
    """What tells everything inside where the proxy is: also when the network is off, for the sake of the answer."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), _PROXY)
    found = {**proxies, "no_proxy": _LOCAL}
    return {**found, **{name.upper(): value for name, value in found.items()}}
