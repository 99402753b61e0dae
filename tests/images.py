"""OCI images made by tests: layers, layout folders, saved archives, a registry on loopback."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import platform
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import zstandard

from sandlot.runtimes.relocated import _libraries, _loader_of

Entry = tuple[tarfile.TarInfo, bytes]
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def entry(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644
) -> Entry:
    """One member; folders and links by ``kind``."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime, info.size = kind, target, mode, 1_600_000_000, len(content)
    return info, content


def folder(name: str, mode: int = 0o755) -> Entry:
    return entry(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> Entry:
    return entry(name, kind=tarfile.SYMTYPE, target=target)


def hardlink(name: str, target: str) -> Entry:
    return entry(name, kind=tarfile.LNKTYPE, target=target)


def layer(*entries: Entry) -> bytes:
    """A plain tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Image:
    """An image as its blobs; tests change them to make it a wrong one."""

    layers: Sequence[bytes]
    config: Mapping[str, Any] = field(default_factory=dict)
    compression: str = "gzip"
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        about = {
            "architecture": MACHINE,
            "os": "linux",
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in self.layers]},
        }
        self.manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put(json.dumps(about).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [self.put(self._packed(each), f"{LAYER}+{self.compression}") for each in self.layers],
        }

    def _packed(self, data: bytes) -> bytes:
        if self.compression == "gzip":
            return gzip.compress(data, mtime=0)
        return zstandard.compress(data) if self.compression == "zstd" else data

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Add a blob; returns its descriptor."""
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def index(self) -> bytes:
        """The index of a layout that holds this image alone."""
        described = self.put(json.dumps(self.manifest).encode(), MANIFEST)
        return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}).encode()

    def layout(self, path: Path) -> Path:
        """Write an OCI layout folder."""
        index = self.index()
        for name, data in self.blobs.items():
            place = path / "blobs" / name.replace(":", "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        (path / "index.json").write_bytes(index)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return path

    def oci_archive(self, path: Path, scratch: Path) -> Path:
        """Write the layout as one archive, as ``skopeo copy`` to ``oci-archive:`` does."""
        with tarfile.open(path, "w") as tar:
            tar.add(self.layout(scratch), arcname=".")
        return path

    def docker_archive(self, path: Path, tag: str = "made:1", form: str = "/layer.tar") -> Path:
        """Write what ``docker save`` wrote before it knew OCI: plain layers, and no digests of them.

        ``form`` ends the names of layers: ``.tar`` is skopeo's.
        """
        config = self.blobs[self.manifest["config"]["digest"]]
        name = hashlib.sha256(config).hexdigest()
        names = [f"{hashlib.sha256(each).hexdigest()}{form}" for each in self.layers]
        listing = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": names}]
        members = [(f"{name}.json", config), *zip(names, self.layers, strict=True)]
        path.write_bytes(layer(*(entry(*each) for each in [*members, ("manifest.json", json.dumps(listing).encode())])))
        return path


@cache
def runnable(
    names: tuple[str, ...] = ("sh", "cat", "ls", "id", "env", "mkdir", "rm", "ln", "sleep", "chown", "touch"),
) -> bytes:
    """A layer with a shell and a few programs of this machine, and the libraries they need."""
    programs = [path for name in names if (path := shutil.which(name))]
    files: dict[str, bytes] = {}
    for program in programs:
        real = os.path.realpath(program)
        files[f"bin/{os.path.basename(program)}"] = Path(real).read_bytes()
        loader = _loader_of(real)
        assert loader is not None
        files[loader.lstrip("/")] = Path(loader).read_bytes()
        for library in _libraries(loader, [real]):
            files[library.lstrip("/")] = Path(library).read_bytes()
    return layer(*(entry(name, content, mode=0o755) for name, content in sorted(files.items())))


@dataclass
class Served:
    """A registry on loopback: what it has, what it was asked for, and how it behaves."""

    image: Image
    token: str = ""
    """What it wants to be shown; "": nothing."""
    redirect: str = ""
    """Where blobs are said to be."""
    host: str = ""
    index: bytes = b""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, Authorization)"""


@contextmanager
def registry(image: Image, *, token: str = "", redirect: str = "") -> Iterator[Served]:
    """Serve an image as ``HOST/team/tool:1``."""
    served = Served(image, token, redirect, index=image.index())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("Authorization", "")))
            if self.path.startswith("/token?"):
                self._send(200, json.dumps({"token": served.token}).encode())
            elif served.token and self.headers.get("Authorization") != f"Bearer {served.token}":
                challenge = f'Bearer realm="http://{served.host}/token",service="test",scope="x"'
                self._send(401, b"", {"WWW-Authenticate": challenge})
            elif self.path == "/v2/team/tool/manifests/1":
                self._send(200, served.index)
            elif self.path.startswith(("/v2/team/tool/manifests/", "/v2/team/tool/blobs/", "/elsewhere/")):
                self._blob(self.path.rpartition("/")[2])
            else:
                self._send(404, b"{}")

        def _blob(self, name: str) -> None:
            if served.redirect and "/blobs/" in self.path:
                self._send(307, b"", {"Location": f"{served.redirect}/elsewhere/{name}"})
            elif name in image.blobs:
                self._send(200, image.blobs[name])
            else:
                self._send(404, b"{}")

        def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tree_of(root: Path) -> dict[str, str]:
    """path -> what is there, of everything but what every environment has."""
    found = {}
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(place, name)
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = f"-> {os.readlink(path)}"
            else:
                found[key] = "folder" if path.is_dir() else path.read_text(errors="replace")
    return found
