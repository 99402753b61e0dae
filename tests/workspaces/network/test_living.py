"""A project from a fresh checkout: installed from an index, served, probed from inside and from the host, stopped."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.model.service import ServiceState
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.secrets.sources import TRUST_VARIABLES
from sandlot.workspaces.secrets.trust import BUNDLE
from tests.workspaces.network.conftest import DEADLINE_S
from tests.workspaces.network.test_opened_tls import certificate

APP = "from greeting import TEXT\nfrom wsgiref.simple_server import make_server\n" """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [TEXT.encode()]
make_server("127.0.0.1", 8000, app).serve_forever()
"""
PROBE = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/').read().decode(), end='')"
LIMIT_S = 60


def wheel(folder: Path) -> None:
    """A package with nothing but a greeting."""
    metadata = "Metadata-Version: 2.1\nName: greeting\nVersion: 1\n"
    with zipfile.ZipFile(folder / "greeting-1-py3-none-any.whl", "w") as archive:
        archive.writestr("greeting.py", 'TEXT = "hello from inside\\n"\n')
        archive.writestr("greeting-1.dist-info/METADATA", metadata)
        archive.writestr(
            "greeting-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            "greeting-1.dist-info/RECORD",
            "greeting.py,,\ngreeting-1.dist-info/METADATA,,\ngreeting-1.dist-info/WHEEL,,\ngreeting-1.dist-info/RECORD,,\n",
        )


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """host:port of a package index behind TLS, whose authority only this host's bundle knows."""
    simple = tmp_path / "www" / "simple" / "greeting"
    simple.mkdir(parents=True)
    wheel(simple)
    simple.joinpath("index.html").write_text('<a href="greeting-1-py3-none-any.whl">greeting-1-py3-none-any.whl</a>')
    file = certificate(tmp_path, "localhost.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.2", 0), lambda *words: Quiet(*words, directory=str(tmp_path / "www"))
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_for_address(tmp_path, monkeypatch))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.2:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(DEADLINE_S)
