"""Every way from an open network to what is private.

Arguments: a public host:port, a multicast group, addresses nobody may reach.
"""

import errno
import json
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

public, port = sys.argv[1].split(":")[0], int(sys.argv[1].split(":")[1])
group, closed = sys.argv[2], sys.argv[3:]
reached, errors = [], {}
pool, attempts = ThreadPoolExecutor(64), []
BINDTODEVICE, UNICAST_IF = 25, 50
OPTIONS = 4
(DEVICE,) = (name for _, name in socket.if_nameindex() if name != "lo")


def attempt(name, action):
    def run():
        try:
            if action():
                reached.append(name)
        except OSError as error:
            errors[name] = errno.errorcode.get(error.errno or 0, str(error))

    attempts.append(pool.submit(run))  # most of them wait for an answer that never comes


def tcp(address, port=port, prepare=None, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.settimeout(1.5)
        if prepare is not None:
            prepare(made)
        made.connect((address, port))
        made.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"world" in made.recv(4096)


def udp(address, port=port, prepare=None):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(0.3)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if prepare is not None:
            prepare(made)
        made.sendto(b"hello", (address, port))
        return made.recv(10)


def device(made):
    made.setsockopt(socket.SOL_SOCKET, BINDTODEVICE, DEVICE.encode())


def unicast(made):
    made.setsockopt(socket.IPPROTO_IP, UNICAST_IF, struct.pack("!I", socket.if_nametoindex(DEVICE)))


def multicast(made):
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.2.100"))


def routed(kind, through, to):
    """Strict or loose source routing by IP options: the first stop is public, the last one is not."""

    def prepare(made):
        stops = socket.inet_aton(through) + socket.inet_aton(to)
        made.setsockopt(socket.IPPROTO_IP, OPTIONS, bytes([kind, 3 + len(stops), 4]) + stops + b"\0")

    return prepare


def proxied(request):
    with socket.create_connection(("127.0.0.1", 3128), 5) as made:
        made.sendall(request)
        answer = made.recv(4096)
        return answer.startswith(b"HTTP/1.1 200")


works = {"tcp": tcp(public), "udp": bool(udp(public)), "proxy": proxied(
    b"GET http://%s:%d/ HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (public.encode(), port, public.encode(), port))}  # fmt: skip
for address in closed:
    for name, prepare in (("plain", None), ("device", device), ("unicast", unicast)):
        attempt("tcp %s %s" % (name, address), lambda address=address, prepare=prepare: tcp(address, prepare=prepare))
        attempt("udp %s %s" % (name, address), lambda address=address, prepare=prepare: udp(address, prepare=prepare))
    attempt("tcp mapped " + address, lambda address=address: tcp("::ffff:" + address, family=socket.AF_INET6))
    for kind in (131, 137):
        onward, back = routed(kind, address, public), routed(kind, public, address)
        attempt("routed %d %s" % (kind, address), lambda prepare=onward: tcp(public, prepare=prepare) and None)
        attempt("routed back %d %s" % (kind, address), lambda to=address, prepare=back: tcp(to, prepare=prepare))
    place = b"%s:%d" % (address.encode(), port)
    for line in (b"CONNECT %s", b"GET http://%s/"):
        request = (line + b" HTTP/1.1\r\nHost: %s\r\n\r\n") % (place, place)
        attempt("%s through the proxy" % request, lambda request=request: proxied(request))
# What the user-mode network itself has: the host as 10.0.2.2, its DNS as .3, broadcasts, and IPv6.
for address in ("10.0.2.2", "10.0.2.3", "10.0.2.4", "10.0.2.15", "10.0.2.255", "255.255.255.255"):
    for number in (port, 22, 53, 69, 80):
        if (address, number) != ("10.0.2.3", 53):
            attempt("tcp %s:%d" % (address, number), lambda to=address, number=number: tcp(to, number) or True)
    attempt("udp %s" % address, lambda address=address: udp(address))
    attempt("udp device %s" % address, lambda address=address: udp(address, prepare=device))
# Neither needs a route, nor a neighbour that answers.
for address in (group, "224.0.0.251", "10.0.2.255", "255.255.255.255"):
    for name, prepare in (("device", device), ("multicast", multicast), ("unicast", unicast)):
        attempt("%s %s" % (name, address), lambda to=address, prepare=prepare: udp(to, prepare=prepare))
for address in (
    "fd00::2",
    "fd00::3",
    "fe80::2",
    "fe80::2%" + DEVICE,
    "::ffff:10.0.2.2",
    "64:ff9b::a09:909",
    "2001:db8::1",
):
    attempt("tcp6 " + address, lambda address=address: tcp(address, family=socket.AF_INET6) or True)
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close() or True)
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close() or True)
for each in attempts:
    each.result()
json.dump({"works": works, "reached": reached, "errors": errors}, sys.stdout)
