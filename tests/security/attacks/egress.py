"""Every way past an allow list. Arguments: an allowed host:port, and a port of the host where nobody may get to."""

import json
import os
import socket
import sys

allowed, forbidden = sys.argv[1], int(sys.argv[2])
proxy = ("127.0.0.1", 3128)
reached, answers = [], {}


def ask(name, request):
    """What the proxy says to some bytes; an answer of 200 is a hole."""
    with socket.create_connection(proxy, 10) as made:
        made.sendall(request)
        found = b""
        try:
            while len(found) < 4096:
                data = made.recv(4096)
                if not data:
                    break
                found += data
                if b"\r\n\r\n" in found and found.startswith(b"HTTP/1.1 200"):
                    break
        except OSError:
            pass
    answers[name] = found[:12].decode("latin-1")
    if found.startswith(b"HTTP/1.1 2") or b"canary" in found:
        reached.append(name)


def attempt(name, action):
    try:
        action()
        reached.append(name)
    except OSError:
        pass


hosts = [
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "2130706433",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "2852039166",
    "[fd00:ec2::254]",
    "[fe80::1%25lo]",
    "127.0.0.2%00.one.test",
    "one.test@127.0.0.1",
    "127.0.0.1#one.test",
    "one.test\\@127.0.0.1",
    "metadata.google.internal",
    socket.gethostname(),
]
for host in hosts:
    for port in (forbidden, 80, 443):
        place = "%s:%d" % (host, port)
        ask("GET " + place, ("GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n" % (place, place)).encode())
        ask("CONNECT " + place, ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (place, place)).encode())
    place = "%s:%d" % (host, forbidden)
    ask("Host " + place, ("GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n" % (allowed, place)).encode())
    ask("1.0 " + place, ("GET http://%s/ HTTP/1.0\r\n\r\n" % place).encode())
ask("port", ("CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n" % (allowed.split(":")[0], forbidden)).encode())
smuggled = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (forbidden, forbidden)
head = b"POST http://%s/ HTTP/1.1\r\nHost: %s\r\n" % (allowed.encode(), allowed.encode())
for name, body in (
    ("smuggle length", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled),
    ("smuggle two lengths", b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled),
    ("smuggle encoding", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled),
    ("smuggle space", b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled),
):
    with socket.create_connection(proxy, 10) as made:
        made.sendall(head + body)
        made.shutdown(socket.SHUT_WR)
        found = b""
        try:
            while True:
                data = made.recv(65536)
                if not data:
                    break
                found += data
        except OSError:
            pass
    answers[name] = found[:12].decode("latin-1")
    if b"canary" in found:
        reached.append(name)
for address in ("127.0.0.1", "127.0.0.2", "10.0.2.2", "192.0.2.1", "8.8.8.8"):
    for port in (forbidden, 53, 80, 443):
        attempt("direct %s:%d" % (address, port), lambda a=address, p=port: socket.create_connection((a, p), 1).close())
for server in ("10.0.2.3", "127.0.0.53", "127.0.0.1", "8.8.8.8", "192.0.2.53"):

    def query(server=server):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.settimeout(0.3)
            made.sendto(b"\1\0\1\0\0\1\0\0\0\0\0\0\7example\3org\0\0\1\0\1", (server, 53))
            made.recv(512)

    attempt("dns at " + server, query)
attempt("dns", lambda: socket.getaddrinfo("example.org", 80))
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET):
    attempt("raw %d" % family, lambda family=family: socket.socket(family, socket.SOCK_RAW, 1).close())
attempt("ping", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close())
# The gateway's helper has joined this network: nothing of it may be seen from here.
processes = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
commands = []
for name in processes:
    with open("/proc/%s/cmdline" % name, "rb") as file:
        commands.append(file.read().decode("latin-1"))
interfaces = [name for _, name in socket.if_nameindex()]
with open("/proc/net/unix") as file:
    sockets = [line.split()[-1] for line in file.readlines()[1:] if line.split()[-1].startswith(("@", "/"))]
with socket.create_connection(proxy, 10) as made:  # it works at all: what is refused is refused on purpose
    made.sendall(("GET http://%s/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (allowed, allowed)).encode())
    works = made.recv(4096)[:12].decode("latin-1")
json.dump({"reached": reached, "answers": answers, "works": works, "gateway": [c for c in commands if "gateway" in c],
           "sockets": sockets, "interfaces": interfaces}, sys.stdout)  # fmt: skip
