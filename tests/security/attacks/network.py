"""Every way to the host or beyond. Arguments, of listeners there: TCP port, UDP port, abstract name, socket path."""

import errno
import json
import os
import socket
import struct
import sys

tcp, udp, abstract, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
reached, errors = [], {}


def attempt(name, action):
    try:
        action()
        reached.append(name)
    except OSError as error:
        errors[name] = errno.errorcode.get(error.errno or 0, str(error))


def stream(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.settimeout(2)
        made.connect(address)


def datagram(family, address):
    """A datagram that nobody answers has not arrived: only an answer counts."""
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.settimeout(0.3)
        made.sendto(b"hello", address)
        made.recv(10)


for host in (
    "127.0.0.1",
    "localhost",
    "10.0.2.2",
    "172.17.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "192.0.2.1",
    "8.8.8.8",
):
    for port in (tcp, 22, 53, 80, 2375):
        attempt("tcp %s:%d" % (host, port), lambda host=host, port=port: stream(socket.AF_INET, (host, port)))
    attempt("udp %s:%d" % (host, udp), lambda host=host: datagram(socket.AF_INET, (host, udp)))
for host in ("::1", "::ffff:127.0.0.1", "fe80::1", "2001:db8::1"):
    attempt("tcp6 " + host, lambda host=host: stream(socket.AF_INET6, (host, tcp)))
    attempt("udp6 " + host, lambda host=host: datagram(socket.AF_INET6, (host, udp)))
attempt("dns", lambda: socket.getaddrinfo("example.org", 80))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close())
attempt("any address", lambda: stream(socket.AF_INET, ("0.0.0.0", tcp)))
attempt("abstract", lambda: stream(socket.AF_UNIX, "\0" + abstract))
for name in (
    path, "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/systemd/private",
    "/run/dbus/system_bus_socket", "/run/user/%d/bus" % os.getuid(), "/tmp/.X11-unix/X0",
):  # fmt: skip
    attempt("unix " + name, lambda name=name: stream(socket.AF_UNIX, name))
with open("/proc/net/unix") as file:
    sockets = [line.split()[-1] for line in file.readlines()[1:] if line.split()[-1].startswith(("@", "/"))]


def interfaces():
    """By netlink: one dump of RTM_GETLINK."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as made:
        made.send(struct.pack("=IHHIIBBHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0, 0))
        return [name for _, name in socket.if_nameindex()]


json.dump({"reached": reached, "errors": errors, "sockets": sockets, "interfaces": interfaces()}, sys.stdout)
