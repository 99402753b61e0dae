"""An interface of an open network gets its addresses and routes: in the namespace, or the guest, that we are in."""

import errno
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# rtnetlink(7)
_NEWLINK, _NEWADDR, _NEWROUTE, _REQUEST_ACK_CREATE = 16, 20, 24, 0x405
_MTU, _LOCAL_ADDRESS, _TO, _DEVICE, _GATEWAY, _UP = 4, 2, 1, 4, 5, 1
_UNICAST, _PROHIBIT, _MAIN, _STATIC, _EVERYWHERE, _ON_LINK = 1, 8, 254, 4, 0, 253


def configure(device: str, mtu: int, address: str, gateway: str, reachable: str, closed: "Iterable[str]") -> None:
    """Routes, then the device up with its address. Raises OSError.

    ``closed``: networks, to which connecting fails at once and with a reason; ``reachable``: an address of them that is
    open. What really holds is a filter on the host.
    """
    index = socket.if_nametoindex(device)
    to = [(each, _route(*each.split("/"), kind=_PROHIBIT)) for each in closed]
    # A single address instead of a network: then there are no neighbours and no broadcast address either.
    on_link = [_route(each, "32", kind=_UNICAST, device=index) for each in (gateway, reachable)]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
        for _, route in to:
            _ask(netlink, _NEWROUTE, route)
        link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _UP, _UP) + _attribute(_MTU, struct.pack("=I", mtu))
        _ask(netlink, _NEWLINK, link)
        own = struct.pack("=BBBBI", socket.AF_INET, 32, 0, _EVERYWHERE, index)
        _ask(netlink, _NEWADDR, own + _attribute(_LOCAL_ADDRESS, socket.inet_aton(address)))
        for route in (*on_link, _route("0.0.0.0", "0", kind=_UNICAST, device=index, gateway=gateway)):  # noqa: S104  all
            _ask(netlink, _NEWROUTE, route)


def _route(address: str, length: str, *, kind: int, device: int = 0, gateway: str = "") -> bytes:
    scope = _ON_LINK if device and not gateway else _EVERYWHERE
    route = struct.pack("=BBBBBBBBI", socket.AF_INET, int(length), 0, 0, _MAIN, _STATIC, scope, kind, 0)
    route += _attribute(_TO, socket.inet_aton(address))
    if device:
        route += _attribute(_DEVICE, struct.pack("=i", device))
    return route + (_attribute(_GATEWAY, socket.inet_aton(gateway)) if gateway else b"")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


def _ask(netlink: socket.socket, kind: int, body: bytes) -> None:
    netlink.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_ACK_CREATE, 1, 0) + body)
    code = -struct.unpack_from("=i", netlink.recv(65536), 16)[0]
    if code not in (0, errno.EEXIST):
        raise OSError(code, os.strerror(code))
