"""Images in a registry, by the OCI distribution specification 1.1: pull alone, nothing is ever pushed.

The registry is whichever the user names; https, and http for the loopback address alone. A token or password goes to
the registry it is for and to the realm it names, never along a redirect to somewhere else.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandlot._version import __version__
from sandlot.bases.content import CHUNK
from sandlot.bases.environments.image import MAX_DOCUMENT, Descriptor
from sandlot.errors import RegistryFailed, UsageError

__all__ = ["Reference", "Registry", "parse_reference"]

TIMEOUT_S = 60.0
"""How long a registry may be silent."""
MAX_REDIRECTS = 5
_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)  # fmt: skip
_REFERENCE = re.compile(
    r"(?P<host>[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?)/"
    r"(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha(?:256|512):[0-9a-f]+))?",
    re.ASCII,
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Reference:
    """One image of a registry."""

    host: str
    path: str
    tag: str
    digest: str | None

    def __str__(self) -> str:
        return f"{self.host}/{self.path}:{self.tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def url(self) -> str:
        """Where its registry is."""
        return f"{'http' if _loopback(self.host) else 'https'}://{self.host}/v2/{self.path}"


def parse_reference(text: str) -> Reference:
    """``HOST[:PORT]/PATH[:TAG][@DIGEST]``, with ``docker://`` before it or without. Raises UsageError."""
    found = _REFERENCE.fullmatch(text.removeprefix("docker://"))
    if found is None or not (re.search(r"[.:]", found["host"]) or found["host"] == "localhost"):
        raise UsageError(
            f"{text!r} names no image of a registry",
            hint="write HOST/IMAGE:TAG with the registry's own name, or the path of a folder or file that exists",
        )
    return Reference(found["host"], found["path"], found["tag"] or "latest", found["digest"])


def _loopback(host: str) -> bool:
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class Registry:
    """One image of a registry, as a source."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._authorization = ""
        direct = [urllib.request.ProxyHandler({})] if _loopback(reference.host) else []
        self._opener = urllib.request.build_opener(_NoRedirects, *direct)

    @property
    def name(self) -> str:
        """The reference as the user wrote it."""
        return str(self.reference)

    def start(self) -> tuple[bytes, str | None]:
        """The manifest or index of the tag, or of the digest."""
        which = self.reference.digest or self.reference.tag
        with self._get(f"{self.reference.url}/manifests/{which}") as answer:
            return _bounded(answer), self.reference.digest

    def content(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob, or a manifest, by its digest."""
        kind = "manifests" if "manifest" in descriptor.media_type or "index" in descriptor.media_type else "blobs"
        with self._get(f"{self.reference.url}/{kind}/{descriptor.digest}") as answer:
            while piece := _read(answer, CHUNK):
                yield piece

    # -- HTTP --------------------------------------------------------------------------------------------------

    @contextmanager
    def _get(self, url: str) -> Iterator[Any]:
        answer = self._send(url, self._authorization)
        if answer.status == 401 and not self._authorization:
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.close()
            self._authorization = self._answer_to(challenge)
            answer = self._send(url, self._authorization)
        try:
            if answer.status != 200:
                raise self._refusal(answer)
            yield answer
        finally:
            answer.close()

    def _send(self, url: str, authorization: str) -> Any:
        """Ask, and follow redirects: to https or as we came, with what authorizes us for the same place only."""
        asked = urllib.parse.urlsplit(url)
        for _ in range(MAX_REDIRECTS):
            headers = {"Accept": _ACCEPT, "User-Agent": f"sandlot/{__version__}"}
            now = urllib.parse.urlsplit(url)
            if authorization and (now.scheme, now.netloc) == (asked.scheme, asked.netloc):
                headers["Authorization"] = authorization
            request = urllib.request.Request(url, headers=headers)  # noqa: S310  the scheme is checked
            try:
                answer = self._opener.open(request, timeout=TIMEOUT_S)
            except urllib.error.HTTPError as error:
                answer = error
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise RegistryFailed(f"cannot reach {self.reference.host}: {_reason(error)}") from error
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            target = urllib.parse.urljoin(url, answer.headers.get("Location", ""))
            answer.close()
            self._check_scheme(target, "redirects to")
            url = target
        raise RegistryFailed(f"{self.reference.host} redirects again and again")

    def _check_scheme(self, url: str, what: str) -> None:
        found = urllib.parse.urlsplit(url)
        if found.scheme == "https" or (
            found.scheme == "http" and _loopback(found.netloc) and _loopback(self.reference.host)
        ):
            return
        shown = f"{found.scheme}://{found.hostname}"[:200]
        raise RegistryFailed(f"{self.reference.host} {what} {shown!r}, which is not https")

    def _answer_to(self, challenge: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        own = _credentials(self.reference.host)
        if scheme.lower() == "basic" and own:
            return f"Basic {own}"
        about = dict(_CHALLENGE.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in about:
            raise RegistryFailed(
                f"{self.reference.host} wants a password",
                hint="docker login (or podman, skopeo login) keeps one for it",
            )
        self._check_scheme(about["realm"], "wants a token from")
        wanted = {"service": about.get("service"), "scope": f"repository:{self.reference.path}:pull"}
        query = urllib.parse.urlencode({name: value for name, value in wanted.items() if value})
        url = f"{about['realm']}{'&' if '?' in about['realm'] else '?'}{query}"
        answer = self._send(url, f"Basic {own}" if own else "")
        try:
            if answer.status != 200:
                raise RegistryFailed(f"{self.reference.host} gives no token for {self.reference.path}: {answer.status}")
            found = json.loads(_bounded(answer))
            token = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError, RecursionError) as error:
            raise RegistryFailed(f"{self.reference.host} gives a token that is none") from error
        finally:
            answer.close()
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{1,65536}", token):
            raise RegistryFailed(f"{self.reference.host} gives a token that is none")
        return f"Bearer {token}"

    def _refusal(self, answer: Any) -> RegistryFailed:
        if answer.status == 404:
            return RegistryFailed(f"{self.reference.host} has no {self.reference.path}:{self.reference.tag}")
        hint = "docker login (or podman, skopeo login) keeps a password" if answer.status in (401, 403) else None
        return RegistryFailed(f"{self.reference.host} answers with status {answer.status}", hint=hint)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """We follow them ourselves: this one would hand our authorization to wherever they lead."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _read(answer: Any, size: int) -> bytes:
    try:
        data: bytes = answer.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise RegistryFailed(f"the registry broke off: {_reason(error)}") from error
    return data


def _bounded(answer: Any) -> bytes:
    data = _read(answer, MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise RegistryFailed(f"the registry answers with more than {MAX_DOCUMENT} bytes")
    return data


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", error)
    if isinstance(inner, ssl.SSLError | socket.gaierror | TimeoutError) or not isinstance(inner, OSError):
        return str(inner)[:200] or type(inner).__name__
    return inner.strerror or str(inner)[:200]


def _credentials(host: str) -> str:
    """What the user has logged in with (``auths`` of Docker's and podman's file), as Basic wants it; else ""."""
    home = Path(os.environ.get("HOME") or "/")
    places = [Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"]
    if os.environ.get("XDG_RUNTIME_DIR"):
        places.append(Path(os.environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    for place in places:
        try:
            auths = json.loads(place.read_bytes())["auths"]
            text = next(
                str(auths[name]["auth"]) for name in (host, f"https://{host}", f"https://{host}/v1/") if name in auths
            )
            base64.b64decode(text, validate=True)
        except (OSError, ValueError, KeyError, TypeError, StopIteration, binascii.Error):
            continue
        return text
    return ""
