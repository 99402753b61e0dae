"""The arguments that give a workspace a network, and the network as answers show it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sandlot.errors import UsageError
from sandlot.model.network import AllowEntry, Network, NetworkMode, PublishedPort
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.operation import argument
from sandlot.runtimes.base import Finding
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import is_running
from sandlot.workspaces.network import presets, serving
from sandlot.workspaces.network.presets import Preset

__all__ = [
    "EgressRequest",
    "NetworkInfo",
    "NetworkRequest",
    "PortInfo",
    "changed_network",
    "network_finding",
    "network_info",
    "network_of",
    "network_warnings",
]


@dataclass(frozen=True, kw_only=True)
class EgressRequest:
    """What the workspace may reach."""

    network: NetworkMode | None = argument(
        "what it may reach [default: off, or allowlist when hosts are allowed]", default=None
    )
    allow: tuple[str, ...] = argument(
        "let it reach HOST, *.HOST or HOST:PORT (ports 80 and 443 unless named)", default=(), metavar="HOST"
    )
    allow_preset: tuple[str, ...] = argument(
        "let it reach what a tool of yours is set up to use: " + ", ".join(Preset), default=(), metavar="PRESET"
    )
    allow_private: tuple[str, ...] = argument(
        "let it reach this one although its address is private; whoever is there must expect it",
        default=(),
        metavar="HOST:PORT",
    )


@dataclass(frozen=True, kw_only=True)
class NetworkRequest(EgressRequest):
    """What the workspace may reach, and what of it can be reached."""

    publish: tuple[str, ...] = argument(
        "make a port inside reachable at 127.0.0.1, at a port of your choice or a free one",
        default=(),
        metavar="[HOSTPORT:]PORT",
    )


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A published port."""

    port: int
    host_port: int
    """On 127.0.0.1; 0 until the workspace has been started."""


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """What a workspace may reach, and where it can be reached."""

    mode: NetworkMode = NetworkMode.OFF
    allow: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    ports: tuple[PortInfo, ...] = ()
    served: bool = True
    """False: its gateway was killed; the next command starts it anew."""


def network_of(request: EgressRequest) -> Network:
    """The network that a request asks for. Raises UsageError."""
    return changed_network(Network(), request)


def changed_network(
    network: Network, request: EgressRequest, disallow: tuple[str, ...] = (), unpublish: tuple[str, ...] = ()
) -> Network:
    """A network with what a request adds to it, and without what is named last. Raises UsageError."""
    network = _without(network, disallow, unpublish)
    allow = [_entry(each) for each in request.allow]
    for preset in request.allow_preset:
        allow += _preset(preset)
    private = [_private(each) for each in request.allow_private]
    mode = request.network or network.mode
    if (allow or private) and mode is NetworkMode.OFF:
        if request.network is NetworkMode.OFF:
            raise UsageError("the network cannot be off and reach hosts", hint="--network allowlist")
        mode = NetworkMode.ALLOWLIST
    return replace(
        network,
        mode=mode,
        allow=tuple(dict.fromkeys((*network.allow, *allow))),
        private=tuple(dict.fromkeys((*network.private, *private))),
        published=_published(network.published, request.publish if isinstance(request, NetworkRequest) else ()),
    )


def _without(network: Network, disallow: tuple[str, ...], unpublish: tuple[str, ...]) -> Network:
    gone = {_entry(each) for each in disallow}
    ports = {each.port for each in _published((), unpublish)}
    for each in sorted(gone - {*network.allow, *network.private}):
        raise UsageError(f"{each} is not on the list", hint="sandlot workspace status ID shows it")
    for port in sorted(ports - {each.port for each in network.published}):
        raise UsageError(f"port {port} is not published", hint="sandlot workspace status ID shows which are")
    return replace(
        network,
        allow=tuple(each for each in network.allow if each not in gone),
        private=tuple(each for each in network.private if each not in gone),
        published=tuple(each for each in network.published if each.port not in ports),
    )


def _entry(text: str) -> str:
    try:
        return str(AllowEntry.parse(text))
    except ValueError:
        raise UsageError(
            f"{text!r} is no host to allow", hint="write HOST, *.HOST or HOST:PORT, an address as 192.0.2.1"
        ) from None


def _preset(word: str) -> list[str]:
    try:
        preset = Preset(word)
    except ValueError:
        raise UsageError(f"there is no preset {word!r}", hint="choose one of: " + ", ".join(Preset)) from None
    return presets.hosts(preset)


def _private(text: str) -> str:
    entry = AllowEntry.parse(_entry(text))
    if entry.port is None or entry.wildcard:
        raise UsageError(f"{text!r} does not name one host and port", hint="--allow-private HOST:PORT")
    return str(entry)


def _published(known: tuple[PublishedPort, ...], texts: tuple[str, ...]) -> tuple[PublishedPort, ...]:
    ports = {each.port: each for each in known}
    for text in texts:
        try:
            added = PublishedPort.parse(text)
        except ValueError:
            raise UsageError(f"{text!r} is no port to publish", hint="write PORT or HOSTPORT:PORT") from None
        if added.fixed or added.port not in ports:
            ports[added.port] = added
    fixed = [each.host_port for each in ports.values() if each.fixed]
    for each in fixed:
        if fixed.count(each) > 1:
            raise UsageError(f"port {each} of the host cannot stand for two ports inside")
    return tuple(ports.values())


def network_info(context: Context, record: WorkspaceRecord) -> NetworkInfo:
    """The public facts of a record's network."""
    network = record.network
    return NetworkInfo(
        mode=network.mode,
        allow=network.allow,
        allow_private=network.private,
        ports=tuple(PortInfo(each.port, each.host_port) for each in network.published),
        served=not (serving.down(record) and is_running(context, record)),
    )


def network_warnings(context: Context, record: WorkspaceRecord) -> list[str]:
    """What a user of the workspace's network should know."""
    found = [
        f"port {each.port} moved to 127.0.0.1:{each.host_port}: {each.moved_from} was taken"
        for each in record.network.published
        if each.moved_from
    ]
    if serving.down(record) and is_running(context, record):
        found.append("the network gateway has ended; the next command starts it anew")
    return found


def network_finding() -> Finding:
    """For doctor: whether the mode ``open`` can be had here; the others need nothing."""
    from sandlot.workspaces.network import open_network

    if (problem := open_network.problem()) is not None:
        return Finding("network.open", False, f"--network open needs {problem[0]}", problem[1], required=False)
    return Finding("network.open", True, f"--network open, by {open_network.TOOL}", required=False)
