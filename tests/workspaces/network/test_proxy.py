"""The egress proxy: what passes, what does not, and what its clients are told."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from dataclasses import dataclass

import pytest

from sandlot.model.network import NetworkMode
from sandlot.workspaces.network import proxy
from sandlot.workspaces.network.judge import Judge, Target
from tests.workspaces.network.conftest import DEADLINE_S, Origin, Serve, read_all, running
from tests.workspaces.network.test_server_name import hello


def get(host: str, path: str = "/", extra: str = "") -> bytes:
    return f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n".encode()


CLOSE = "Connection: close\r\n"


def test_a_request_to_an_allowed_host_arrives_as_its_own(serve: Serve, origin: Origin) -> None:
    place = f"one.test:{origin.port}"
    answer = serve(private=(place,)).ask(
        get(place, "/path?query#gone", CLOSE + "X-Kept: yes\r\nProxy-Authorization: Basic eDp5\r\nTE: gzip\r\n")
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"answer to /path?query")
    path, headers, _ = origin.seen[0]
    assert path == "/path?query"
    assert headers["host"] == place
    assert headers["x-kept"] == "yes"
    assert not {"proxy-authorization", "te", "connection"} & set(headers)


def test_requests_on_one_connection_are_judged_one_by_one(serve: Serve, origin: Origin) -> None:
    place = f"one.test:{origin.port}"
    served = serve(private=(place,))
    answer = served.ask(get(place, "/1") + get(place.upper(), "/2") + get("other.test"))
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.count(b"HTTP/1.1 403 ") == 1
    assert [path for path, _, _ in origin.seen] == ["/1", "/2"]
    assert served.refused == ["other.test:80"]


def test_a_body_of_any_kind_arrives(serve: Serve, origin: Origin) -> None:
    place = f"one.test:{origin.port}"
    head = f"POST http://{place}/ HTTP/1.1\r\nHost: {place}\r\n"
    body = b"x" * 300_000
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    served = serve(private=(place,))
    served.ask(f"{head}{CLOSE}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    served.ask(f"{head}{CLOSE}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks)
    assert [len(seen) for _, _, seen in origin.seen] == [300_000, 300_000]


def test_a_client_that_waits_to_be_told_to_continue_is_told(serve: Serve, origin: Origin) -> None:
    place = f"one.test:{origin.port}"
    head = f"POST http://{place}/ HTTP/1.1\r\nHost: {place}\r\n{CLOSE}Content-Length: 2\r\n"
    with serve(private=(place,)).connect() as client:
        client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hi")
        assert b"200 OK" in read_all(client)
    assert origin.seen[0][2] == b"hi"


def test_a_denial_says_what_and_what_would_allow_it(serve: Serve) -> None:
    served = serve(allow=("one.test",))
    answer = served.ask(get("Two.TEST.:8080"))
    assert answer.startswith(b"HTTP/1.1 403 network_denied: two.test:8080")
    assert b"hint: sandlot workspace update the-workspace --allow two.test:8080" in answer
    assert served.refused == ["two.test:8080"]
    assert served.resolved == []  # not even its name was asked for: that would tell somebody


@pytest.mark.parametrize(
    "literal", ["0x7f.1", "2130706433", "017700000001", "127.1", "[::ffff:127.0.0.1]", "0", "[::]"]
)
@pytest.mark.parametrize("mode", [NetworkMode.ALLOWLIST, NetworkMode.OPEN])
def test_addresses_in_odd_notations_reach_nothing(
    serve: Serve, origin: Origin, literal: str, mode: NetworkMode
) -> None:
    served = serve(mode=mode, private=(f"127.0.0.1:{origin.port + 1 if origin.port < 65535 else 1}",))
    assert served.ask(get(f"{literal}:{origin.port}")).startswith(b"HTTP/1.1 403 ")
    assert served.ask(f"CONNECT {literal}:{origin.port} HTTP/1.1\r\nHost: {literal}\r\n\r\n".encode()).startswith(
        b"HTTP/1.1 403 "
    )
    assert origin.seen == []


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["fd00:ec2::254"], ["::1"], ["64:ff9b::7f00:1"],
     ["93.184.216.34", "127.0.0.1"], ["2606:4700::1", "::ffff:10.0.0.1"]],
)  # fmt: skip
@pytest.mark.parametrize("mode", [NetworkMode.ALLOWLIST, NetworkMode.OPEN])
def test_an_allowed_name_with_a_private_address_is_closed(
    serve: Serve, addresses: list[str], mode: NetworkMode
) -> None:
    served = serve(mode=mode, allow=("inner.test",), names={"inner.test": addresses})
    answer = served.ask(get("inner.test"))
    assert answer.startswith(b"HTTP/1.1 403 network_denied: inner.test:80: its address ")
    assert served.ask(b"CONNECT inner.test:443 HTTP/1.1\r\nHost: inner.test\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    assert served.refused == ["inner.test:80", "inner.test:443"]


def test_metadata_stays_closed_to_a_private_host(serve: Serve) -> None:
    served = serve(private=("inner.test:80",), names={"inner.test": ["169.254.169.254"]})
    assert served.ask(get("inner.test")).startswith(b"HTTP/1.1 403 ")


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(serve: Serve, origin: Origin) -> None:
    """DNS rebinding: the second answer would lead elsewhere, so there must be no second question."""
    with running(Origin("127.0.0.2")) as trap:
        answers = [["127.0.0.1"], ["127.0.0.2"]]

        class Turning(dict[str, list[str]]):
            def get(self, *_: object) -> list[str]:  # a resolver that changes its mind
                return answers.pop(0)

        served = serve(private=(f"one.test:{origin.port}",), names=Turning())
        assert b"200 OK" in served.ask(get(f"one.test:{origin.port}", extra=CLOSE))
        assert served.resolved == ["one.test"]
        assert len(origin.seen) == 1
        assert trap.seen == []


@pytest.mark.parametrize(
    "header",
    [
        "Host: other.test",
        "Host: one.test",
        "Host: one.test:1",
        "Host: user@one.test",
        "Host: one.test%00.other.test",
        "Host: 0x7f.1",
    ],
)
def test_a_host_header_that_names_another_host_is_refused(serve: Serve, origin: Origin, header: str) -> None:
    place = f"one.test:{origin.port}"
    served = serve(private=(place,))
    assert served.ask(f"GET http://{place}/ HTTP/1.1\r\n{header}\r\n\r\n".encode()).startswith(b"HTTP/1.1 403 ")
    assert origin.seen == []
    assert served.refused == [place]


@pytest.mark.parametrize(
    "request_line",
    ["GET / HTTP/1.1", "GET ftp://one.test/ HTTP/1.1", "GET https://one.test/ HTTP/1.1", "CONNECT one.test HTTP/1.1",
     "GET http://one.test:x/ HTTP/1.1", "GET http://one.test:99999/ HTTP/1.1", "GET http://u:p@one.test/ HTTP/1.1",
     "GARBAGE"],
)  # fmt: skip
def test_what_is_no_request_to_a_proxy_is_a_bad_request(serve: Serve, request_line: str) -> None:
    served = serve(allow=("one.test",))
    assert served.ask(f"{request_line}\r\nHost: one.test\r\n\r\n".encode()).startswith(b"HTTP/1.1 400 ")
    assert served.resolved == []


def test_two_host_headers_are_a_bad_request(serve: Serve) -> None:
    answer = serve(allow=("one.test",)).ask(
        b"GET http://one.test/ HTTP/1.1\r\nHost: one.test\r\nHost: two.test\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_endless_head_is_refused(serve: Serve) -> None:
    answer = serve().ask(b"GET http://one.test/ HTTP/1.1\r\nX: " + b"x" * 200_000)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""  # or its reset overtakes our answer


def test_a_redirect_is_the_clients_own_next_request(serve: Serve, origin: Origin) -> None:
    place = f"one.test:{origin.port}"
    served = serve(private=(place,))
    answer = served.ask(get(place, "/redirect") + get("elsewhere.test"))
    assert b"302 Found" in answer
    assert answer.count(b"403 network_denied: elsewhere.test:80") == 1
    assert served.refused == ["elsewhere.test:80"]


def test_what_is_not_there_is_no_denial(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    served = serve(private=(f"one.test:{port}",))
    answer = served.ask(get(f"one.test:{port}"))
    assert answer.startswith(b"HTTP/1.1 502 host_unreachable")
    assert served.refused == []


def broken(answer: bytes) -> tuple[socket.socket, threading.Thread]:
    """A server that says something to one client and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(65536)
            accepted.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    return listener, thread


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"SSH-2.0-server\r\n"])
def test_a_host_that_speaks_no_http_is_a_bad_gateway(serve: Serve, said: bytes) -> None:
    listener, thread = broken(said)
    with listener:
        place = f"one.test:{listener.getsockname()[1]}"
        assert serve(private=(place,)).ask(get(place)).startswith(b"HTTP/1.1 502 bad_gateway")
        thread.join(DEADLINE_S)


def test_half_an_answer_is_never_a_whole_one(serve: Serve) -> None:
    listener, thread = broken(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    with listener:
        place = f"one.test:{listener.getsockname()[1]}"
        with serve(private=(place,)).connect() as client:
            client.sendall(get(place))
            found: list[bytes] = []
            with pytest.raises(ConnectionResetError):
                found.extend(iter(lambda: client.recv(65536), b""))
        thread.join(DEADLINE_S)
    assert b"502" not in b"".join(found)


def tunnel(client: socket.socket, place: str) -> bytes:
    """Ask for a tunnel; the head of the answer."""
    client.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
    found = b""
    while b"\r\n\r\n" not in found:
        data = client.recv(1)
        if not data:
            break
        found += data
    return found


def test_a_tunnel_carries_both_ways_and_closes_each_half_by_itself(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"one.test:{listener.getsockname()[1]}"
        heard: list[bytes] = []

        def run() -> None:
            accepted, _ = listener.accept()
            with accepted:
                heard.append(read_all(accepted))  # to the end of what the client sends
                accepted.sendall(b"y" * 1_000_000)

        thread = threading.Thread(target=run)
        thread.start()
        with serve(private=(place,)).connect() as client:
            assert tunnel(client, place).startswith(b"HTTP/1.1 200 ")
            client.sendall(b"x" * 1_000_000)
            client.shutdown(socket.SHUT_WR)
            assert len(read_all(client)) == 1_000_000
        thread.join(DEADLINE_S)
    assert [len(each) for each in heard] == [1_000_000]


def test_a_tunnel_to_a_port_that_is_not_allowed_is_refused(serve: Serve, origin: Origin) -> None:
    served = serve(allow=("one.test",))
    with served.connect() as client:
        assert tunnel(client, f"one.test:{origin.port}").startswith(b"HTTP/1.1 403 network_denied")
    assert served.refused == [f"one.test:{origin.port}"]


@dataclass(frozen=True)
class LocalTarget(Target):
    """A host whose port 443 is some port of this machine, as nobody but root may have the real one."""

    real: int = 0

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.real), timeout=DEADLINE_S)


def judge_for(port: int) -> type[Judge]:
    class Local(Judge):
        def judge(self, host: str, wanted: int) -> Target:
            return LocalTarget(self.name(host, wanted), wanted, ("127.0.0.1",), port)

    return Local


@pytest.fixture
def listener() -> object:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(DEADLINE_S)
        yield made


def first_bytes(listener: socket.socket, size: int) -> bytes:
    accepted, _ = listener.accept()
    with accepted:
        accepted.settimeout(DEADLINE_S)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while len(found) < size and (data := accepted.recv(size)):
                found += data
        return found


@pytest.mark.parametrize("cut", [1, 5, 40, 10_000])
def test_tls_to_the_host_of_the_tunnel_passes_unchanged(serve: Serve, listener: socket.socket, cut: int) -> None:
    served = serve(allow=("one.test",), judge=judge_for(listener.getsockname()[1]))
    sent = hello("ONE.test")
    with served.connect() as client:
        assert tunnel(client, "one.test:443").startswith(b"HTTP/1.1 200 ")
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), cut):
            client.sendall(sent[at : at + cut])
        assert first_bytes(listener, len(sent)) == sent
    assert served.refused == []


@pytest.mark.parametrize(
    "sent",
    [hello("two.test"), hello("one.test.two.test"), b"SSH-2.0-client\r\n", b"GET / HTTP/1.1\r\nHost: two.test\r\n\r\n"],
)
def test_a_tunnel_to_443_carries_tls_to_that_host_and_nothing_else(
    serve: Serve, listener: socket.socket, sent: bytes
) -> None:
    served = serve(allow=("one.test",), judge=judge_for(listener.getsockname()[1]))
    with served.connect() as client:
        assert tunnel(client, "one.test:443").startswith(b"HTTP/1.1 200 ")
        client.sendall(sent)
        assert read_all(client) in (b"", bytes((21, 3, 3, 0, 2, 2, 112)))
    assert first_bytes(listener, 1) == b""
    assert served.refused == ["one.test:443"]


def test_a_tunnel_to_port_80_carries_requests_to_that_host_and_nothing_else(serve: Serve, origin: Origin) -> None:
    """Else an allowed name would open the way to every site that is served at the same address."""
    served = serve(allow=("one.test",), judge=judge_for(origin.port))
    asked = b"GET /%s HTTP/1.1\r\nHost: %s\r\n" + CLOSE.encode() + b"\r\n"
    connect = b"CONNECT one.test:80 HTTP/1.1\r\nHost: one.test\r\n\r\n"
    with served.connect() as client:
        tunnel(client, "one.test:80")
        client.sendall(asked % (b"later", b"one.test"))
        assert read_all(client).endswith(b"answer to /later")
    assert served.ask(connect + asked % (b"early", b"one.test")).endswith(b"answer to /early")
    for host in (b"two.test", b"one.test:81"):
        assert b"HTTP/1.1 403 network_denied" in served.ask(connect + asked % (b"x", host))
    for bytes_ in (b"SSH-2.0-x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", hello("one.test"), connect):
        assert b" 200 OK" not in served.ask(connect + bytes_ + b"\r\n\r\n")
    assert [path for path, _, _ in origin.seen] == ["/later", "/early"]


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.2", "websocket, h2c"])
def test_an_upgrade_to_what_would_hide_the_host_is_not_passed_on(serve: Serve, origin: Origin, protocol: str) -> None:
    place = f"one.test:{origin.port}"
    extra = f"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n"
    assert b" 200 OK" in serve(private=(place,)).ask(get(place, "/", extra))
    assert not {"upgrade", "http2-settings", "connection"} & set(origin.seen[0][1])


def test_a_client_that_drips_its_request_is_not_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "IDLE_CLIENT_S", 0.3)
    drops = itertools.cycle(b"GET http://one.test/ HTTP/1.1\r\nX: " + b"x" * 50)
    with serve(allow=("one.test",)).connect() as client:
        client.settimeout(0.05)  # the pace of the drops
        for drop in itertools.islice(drops, 400):
            try:
                client.sendall(bytes((drop,)))
                if client.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
        pytest.fail("it is still listening after 20 s")


def test_another_protocol_after_an_upgrade_passes_both_ways(serve: Serve, listener: socket.socket) -> None:
    place = f"one.test:{listener.getsockname()[1]}"

    def run() -> None:
        accepted, _ = listener.accept()
        with accepted:
            head = accepted.recv(65536).lower()
            assert b"upgrade: websocket" in head
            assert b"connection: upgrade" in head
            accepted.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst"
            )
            accepted.sendall(read_all(accepted))

    thread = threading.Thread(target=run)
    thread.start()
    with serve(private=(place,)).connect() as client:
        client.sendall(get(place, "/", "Connection: Upgrade\r\nUpgrade: websocket\r\n"))
        client.sendall(b"ping")
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)
    thread.join(DEADLINE_S)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"upgrade: websocket" in answer.lower()
    assert answer.endswith(b"firstping")
