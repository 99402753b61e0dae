"""A project from a fresh checkout: installed from an index, served, probed from inside and from the host, stopped."""

from __future__ import annotations

import functools
import http.server
import ssl
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.model.service import ServiceState
from sandlot.sdk import Sandlot
from sandlot.workspaces.secrets.sources import TRUST_VARIABLES
from sandlot.workspaces.secrets.trust import BUNDLE
from tests.workspaces.network.conftest import DEADLINE_S
from tests.workspaces.network.test_opened_tls import certificate

APP = """
import http.server
from greeting import TEXT
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(TEXT)
http.server.HTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""
WHEEL = {
    "greeting.py": 'TEXT = b"hello from inside"\n',
    "greeting-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1\n",
    "greeting-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "greeting-1.dist-info/RECORD": "greeting.py,,\ngreeting-1.dist-info/METADATA,,\ngreeting-1.dist-info/RECORD,,\n",
}
FILE = "greeting-1-py3-none-any.whl"
ADDRESS = "127.0.0.2"
PROBE = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/').read().decode())"
TOOLCHAINS = [] if sys.base_prefix.startswith("/usr") else [sys.base_prefix]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files, without a word."""

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """host:port of a package index behind TLS, whose authority nobody knows but this host's own bundle."""
    simple = tmp_path / "www" / "simple" / "greeting"
    simple.mkdir(parents=True)
    with zipfile.ZipFile(simple / FILE, "w") as archive:
        for name, text in WHEEL.items():
            archive.writestr(name, text)
    simple.joinpath("index.html").write_text(f'<a href="{FILE}">{FILE}</a>')
    file = certificate(tmp_path, ADDRESS)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer((ADDRESS, 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"{ADDRESS}:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(DEADLINE_S)


def test_a_checkout_is_installed_served_probed_and_stopped(sandlot: Sandlot, index: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    project.joinpath("app.py").write_text(APP)
    workspace = sandlot.create(project, toolchains=TOOLCHAINS, publish=[8000])
    if not workspace.exec(["python3", "-m", "pip", "--version"]).ok:
        pytest.skip("the Python of this machine has no pip")
    install = [
        "python3", "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check", "--retries", "1",
        "--target", "lib", "--index-url", f"https://{index}/simple/", "greeting",
    ]  # fmt: skip

    refused = workspace.exec(install)
    assert not refused.ok
    assert f"network_denied: {index}: the network of this workspace is off" in refused.stderr.text
    assert refused.denied[0].startswith(index)

    workspace.update(allow_private=[index])
    done = workspace.exec(install)
    assert done.ok, done.stderr.text
    assert done.denied == ()

    web = workspace.services.start(
        "web", ["python3", "app.py"], env={"PYTHONPATH": "lib"}, ready_http="http://127.0.0.1:8000/"
    )
    assert web.service.state is ServiceState.READY
    assert workspace.exec(["python3", "-c", PROBE]).stdout.text == "hello from inside\n"
    (port,) = workspace.status().workspace.network.ports
    with urllib.request.urlopen(f"http://127.0.0.1:{port.host_port}/", timeout=DEADLINE_S) as answer:
        assert answer.read() == b"hello from inside"
    assert '"GET / HTTP/1.1" 200' in workspace.services.logs("web").stderr
    assert workspace.services.stop("web").service.state is ServiceState.STOPPED
    assert not workspace.exec(["python3", "-c", PROBE]).ok


def test_inside_one_trusts_whom_the_host_trusts_once_there_is_a_network(
    sandlot: Sandlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = certificate(tmp_path, "one.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    shown = f'for name in {" ".join(TRUST_VARIABLES)}; do printenv "$name" || echo none; done'
    workspace = sandlot.create()
    assert workspace.exec(shown).stdout.text.split() == ["none"] * len(TRUST_VARIABLES)
    workspace.update(allow=["one.test"])
    assert workspace.exec(shown).stdout.text.split() == [BUNDLE] * len(TRUST_VARIABLES)
    assert workspace.exec(["cat", BUNDLE]).stdout.text == bundle.read_text()
    other = certificate(tmp_path, "two.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    workspace.stop()
    workspace.start()
    assert workspace.exec(["cat", BUNDLE]).stdout.text == other.read_text()
    workspace.update(network="off", disallow=["one.test"])
    assert "none" in workspace.exec(shown).stdout.text


def test_without_a_bundle_of_the_host_tools_keep_their_own(sandlot: Sandlot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandlot.workspaces.secrets.trust._host_bundle", lambda: b"")
    workspace = sandlot.create(allow=["one.test"])
    assert workspace.exec(["printenv", *TRUST_VARIABLES]).stdout.text == ""
