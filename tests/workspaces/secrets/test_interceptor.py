"""What the egress proxy is told: values go into requests to the bound host, and nowhere else."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandlot.model.secret import SecretBinding
from sandlot.paths import Paths, WorkspacePaths
from sandlot.workspaces.network.interception import Headers
from sandlot.workspaces.secrets import vault as vaults
from sandlot.workspaces.secrets.interceptor import SecretsInterceptor
from sandlot.workspaces.secrets.trust import with_authority
from sandlot.workspaces.secrets.vault import Kept, Vault

VALUE = "value/+&0123456789"
QUOTED = b"value%2F%2B%260123456789"
PLACE = "sandlot_secret_" + "a" * 32
BASIC = base64.b64encode(b"user:" + PLACE.encode())


@pytest.fixture
def own(tmp_path: Path) -> WorkspacePaths:
    found = Paths.at(tmp_path).workspace("ws-1")
    found.root.mkdir(parents=True)
    return found


def keep(own: WorkspacePaths, *hosts: str, value: str = VALUE) -> None:
    vault = Vault({"A": Kept(SecretBinding("A", hosts, PLACE), value)})
    vaults.save(own, with_authority(own, vault))


@pytest.fixture
def interceptor(own: WorkspacePaths, tmp_path: Path) -> SecretsInterceptor:
    keep(own, "api.example.com", "http://plain.example:8080")
    return SecretsInterceptor(Paths.at(tmp_path).workspace("ws-1"))


def headers(host: str, *more: tuple[bytes, bytes]) -> Headers:
    return [(b"host", host.encode()), (b"authorization", b"Bearer " + PLACE.encode()), *more]


LOADS = """
import ctypes, resource, sys
from pathlib import Path
from sandlot.paths import Paths
from sandlot.workspaces.network.interception import Interceptor, interceptor_of
found: Interceptor = interceptor_of(Paths.at(Path(sys.argv[1])), "ws-1")
print(type(found).__name__, found.terminates("api.example.com", 443), found.server_context("api.example.com"))
PR_GET_DUMPABLE = 3
print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_the_process_that_holds_values_leaves_no_core_and_cannot_be_inspected(
    own: WorkspacePaths, tmp_path: Path
) -> None:
    keep(own, "api.example.com")
    done = subprocess.run([sys.executable, "-c", LOADS, tmp_path], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("SecretsInterceptor True <ssl.SSLContext"), done.stderr
    assert lines[1] == "0 (0, 0)"


def test_only_bound_hosts_are_opened(interceptor: SecretsInterceptor) -> None:
    assert interceptor.terminates("api.example.com", 443)
    for host, port in (
        ("api.example.com", 8443),
        ("plain.example", 8080),
        ("example.com", 443),
        ("x.api.example.com", 443),
    ):
        assert not interceptor.terminates(host, port)


def test_values_go_into_headers_basic_credentials_and_the_query(interceptor: SecretsInterceptor) -> None:
    target, sent = interceptor.rewrite(
        "https",
        "api.example.com",
        443,
        b"/path?key=" + PLACE.encode() + b"&x=1",
        headers(
            "api.example.com", (b"x-basic", b"x"), (b"cookie", b"a=" + PLACE.encode()), (b"proxy-x", b"Basic " + BASIC)
        ),
    )
    assert target == b"/path?key=value%2F%2B%260123456789&x=1"
    found = dict(sent)
    assert found[b"authorization"] == b"Bearer " + VALUE.encode()
    assert found[b"cookie"] == b"a=" + VALUE.encode()
    assert base64.b64decode(found[b"proxy-x"].removeprefix(b"Basic ")) == b"user:" + VALUE.encode()


def test_values_never_go_into_paths_or_headers_that_frame_a_request(interceptor: SecretsInterceptor) -> None:
    place = PLACE.encode()
    more = ((b"connection", place), (b"transfer-encoding", place), (b"content-length", place), (b"te", place))
    target, sent = interceptor.rewrite("https", "api.example.com", 443, b"/" + place, headers("api.example.com", *more))
    assert target == b"/" + place
    assert [pair for pair in sent if pair[0] not in (b"host", b"authorization")] == list(more)


@pytest.mark.parametrize(
    ("scheme", "host", "port", "named"),
    [
        ("http", "api.example.com", 80, "api.example.com"),
        ("http", "api.example.com", 443, "api.example.com:443"),
        ("https", "api.example.com", 8443, "api.example.com:8443"),
        ("https", "plain.example", 8080, "plain.example:8080"),
        ("https", "evil.example", 443, "api.example.com"),
        ("https", "api.example.com", 443, "evil.example"),
        ("https", "api.example.com", 443, "api.example.com:444"),
        ("https", "api.example.com", 443, "api.example.com@evil.example"),
        ("https", "api.example.com.evil.example", 443, "api.example.com.evil.example"),
        ("http", "plain.example", 80, "plain.example"),
    ],
)
def test_values_go_nowhere_else(interceptor: SecretsInterceptor, scheme: str, host: str, port: int, named: str) -> None:
    before = headers(named)
    target = b"/?k=" + PLACE.encode()
    assert interceptor.rewrite(scheme, host, port, target, before) == (target, before)


def test_a_request_that_names_no_host_or_two_gets_no_value(interceptor: SecretsInterceptor) -> None:
    two: Headers = [*headers("api.example.com"), (b"host", b"evil.example")]
    for before in ([(b"authorization", PLACE.encode())], two):
        assert interceptor.rewrite("https", "api.example.com", 443, b"/", before)[1] == before


def test_plain_http_is_for_hosts_that_were_bound_so(interceptor: SecretsInterceptor) -> None:
    _, sent = interceptor.rewrite("http", "plain.example", 8080, b"/", headers("plain.example:8080"))
    assert dict(sent)[b"authorization"] == b"Bearer " + VALUE.encode()


def test_bound_hosts_are_asked_for_uncompressed_answers(interceptor: SecretsInterceptor) -> None:
    encoding = (b"accept-encoding", b"gzip")
    _, sent = interceptor.rewrite("https", "api.example.com", 443, b"/", headers("api.example.com", encoding))
    assert encoding not in sent
    later: Headers = [(b"host", b"api.example.com"), encoding]  # what an earlier request has left there comes back
    assert interceptor.rewrite("https", "api.example.com", 443, b"/", later)[1] == later[:1]
    other: Headers = [(b"host", b"other.example"), encoding]
    assert interceptor.rewrite("https", "other.example", 443, b"/", other)[1] == other


def test_answers_of_the_bound_host_are_blanked_out(interceptor: SecretsInterceptor) -> None:
    heard: Headers = [
        (b"x-echo", VALUE.encode()),
        (b"x-hex", VALUE.encode().hex().encode()),
        (b"location", b"/?k=" + QUOTED),
    ]
    shown, body = interceptor.redact_response("https", "api.example.com", 443, heard)
    place = PLACE.encode()
    assert shown == [(b"x-echo", place), (b"x-hex", b"*" * 2 * len(VALUE)), (b"location", b"/?k=" + place)]
    assert body is not None
    data = b"echo " + VALUE.encode() + b"."
    assert b"".join(body.feed(data[at : at + 3]) for at in range(0, len(data), 3)) + body.flush() == (
        b"echo " + b"*" * len(VALUE) + b"."
    )
    assert interceptor.redact_response("https", "other.example", 443, heard) == (heard, None)


def test_a_changed_vault_counts_at_once(own: WorkspacePaths, interceptor: SecretsInterceptor) -> None:
    keep(own, "other.example", value="second-value-01")
    assert not interceptor.terminates("api.example.com", 443)
    _, sent = interceptor.rewrite("https", "other.example", 443, b"/", headers("other.example"))
    assert dict(sent)[b"authorization"] == b"Bearer second-value-01"
    os.unlink(own.secrets)
    assert not interceptor.terminates("other.example", 443)


def test_with_a_damaged_vault_requests_go_as_they_are(own: WorkspacePaths, interceptor: SecretsInterceptor) -> None:
    own.secrets.write_text("{")
    before = headers("api.example.com")
    assert interceptor.rewrite("https", "api.example.com", 443, b"/", before) == (b"/", before)


def test_the_certificate_for_a_host_is_made_once(interceptor: SecretsInterceptor) -> None:
    assert interceptor.server_context("api.example.com") is interceptor.server_context("api.example.com")
