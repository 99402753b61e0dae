"""Tunnels that the proxy opens for an interceptor: TLS on both sides, each request seen in between."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandlot.workspaces.network.interception import Headers, Untouched
from tests.workspaces.network.conftest import DEADLINE_S, Origin, Serve, read_all, running
from tests.workspaces.network.test_proxy import tunnel


def certificate(folder: Path, host: str) -> Path:
    """A file with key and certificate of ``host``, a name or an address, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{host}.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Stamp(Untouched):
    """Opens every tunnel and puts a header into every request."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def terminates(self, _host: str, _port: int, /) -> bool:
        return True

    def server_context(self, _host: str, /) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        return context

    def rewrite(self, scheme: str, host: str, port: int, target: bytes, headers: Headers, /) -> tuple[bytes, Headers]:
        return target + b"!", [*headers, (b"x-seen", f"{scheme} {host} {port}".encode())]


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Origin, Path]]:
    """A web server for one.test behind TLS, and its certificate."""
    file = certificate(tmp_path, "one.test")
    server = Origin()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with running(server) as made:
        yield made, file


def opened(client: socket.socket, file: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(file))
    return context.wrap_socket(client, server_hostname="one.test")


def test_requests_in_an_opened_tunnel_are_seen_one_by_one(
    serve: Serve, secure: tuple[Origin, Path], tmp_path: Path
) -> None:
    origin, file = secure
    (tmp_path / "inner").mkdir()
    inner = certificate(tmp_path / "inner", "one.test")
    place = f"one.test:{origin.port}"
    served = serve(private=(place,), interceptor=Stamp(inner), trust=str(file))
    with served.connect() as client:
        assert tunnel(client, place).startswith(b"HTTP/1.1 200 ")
        with opened(client, inner) as tls:
            request = f"GET /%d HTTP/1.1\r\nHost: {place}\r\n%s\r\n"
            tls.sendall((request % (1, "")).encode())
            tls.sendall((request % (2, "Connection: close\r\n")).encode())
            answer = read_all(tls)
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert [path for path, _, _ in origin.seen] == ["/1!", "/2!"]
    assert {headers["x-seen"] for _, headers, _ in origin.seen} == {f"https one.test {origin.port}"}
    assert served.resolved == ["one.test"]


def test_a_request_to_another_host_inside_an_opened_tunnel_is_refused(
    serve: Serve, secure: tuple[Origin, Path]
) -> None:
    origin, file = secure
    place = f"one.test:{origin.port}"
    served = serve(private=(place,), interceptor=Stamp(file), trust=str(file))
    for target, host in (("/", "two.test"), ("https://two.test/", "two.test"), (f"http://{place}/", place)):
        with served.connect() as client:
            tunnel(client, place)
            with opened(client, file) as tls:
                tls.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert read_all(tls)[9:12] in (b"403", b"400")
    assert origin.seen == []


def test_a_host_that_cannot_prove_who_it_is_gets_no_request(serve: Serve, secure: tuple[Origin, Path]) -> None:
    origin, file = secure
    served = serve(private=(f"two.test:{origin.port}", f"one.test:{origin.port}"), interceptor=Stamp(file))
    for name in ("one.test", "two.test"):
        with served.connect() as client:
            assert tunnel(client, f"{name}:{origin.port}").startswith(b"HTTP/1.1 502 tls_failed")
    assert origin.seen == []


def test_a_client_that_does_not_trust_us_is_left_alone(serve: Serve, secure: tuple[Origin, Path]) -> None:
    origin, file = secure
    served = serve(private=(f"one.test:{origin.port}",), interceptor=Stamp(file), trust=str(file))
    with served.connect() as client:
        tunnel(client, f"one.test:{origin.port}")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ssl.create_default_context().wrap_socket(client, server_hostname="one.test")
    assert origin.seen == []


def test_another_protocol_inside_an_opened_tunnel_passes_both_ways(serve: Serve, tmp_path: Path) -> None:
    file = certificate(tmp_path, "one.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True) as tls:
                assert b"x-seen" in tls.recv(65536).lower()
                tls.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                tls.sendall(tls.recv(100).upper())

        thread = threading.Thread(target=run)
        thread.start()
        place = f"one.test:{listener.getsockname()[1]}"
        served = serve(private=(place,), interceptor=Stamp(file), trust=str(file))
        with served.connect() as client:
            tunnel(client, place)
            with opened(client, file) as tls:
                tls.sendall(
                    f"GET / HTTP/1.1\r\nHost: {place}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
                )
                assert tls.recv(65536).startswith(b"HTTP/1.1 101 ")
                tls.sendall(b"ping")
                assert tls.recv(100) == b"PING"
        thread.join(DEADLINE_S)
