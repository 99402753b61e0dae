"""Allow lists that come from how the user's own tools are set up, or from what those tools do without any setup.

No list of hosts is kept here: whoever uses a mirror gets the mirror, and a tool's own default is asked of the tool.
"""

from __future__ import annotations

import contextlib
import html
import os
import re
import shutil
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from sandlot import process
from sandlot.errors import UsageError
from sandlot.model.network import AllowEntry

__all__ = ["Preset", "hosts"]

TOOL_S = 30.0
PROBE_PROJECT = "pip"
"""A project that every index of Python packages has, as pip itself comes from there."""
PAGE_BYTES = 4 << 20
MAX_FILE_HOSTS = 8
GITHUB = ("github.com", "*.github.com", "*.githubusercontent.com")


class Preset(StrEnum):
    """Whose hosts."""

    PYTHON_PACKAGES = "python-packages"
    NPM_PACKAGES = "npm-packages"
    DEBIAN_PACKAGES = "debian-packages"
    GITHUB = "github"


def hosts(preset: Preset) -> list[str]:
    """Entries for an allow list. Raises UsageError when the tool is not there, or names no host."""
    if preset is Preset.GITHUB:
        return list(GITHUB)
    tool, urls = {
        Preset.PYTHON_PACKAGES: ("pip", _python),
        Preset.NPM_PACKAGES: ("npm", _npm),
        Preset.DEBIAN_PACKAGES: ("apt", _debian),
    }[preset]
    found = list(dict.fromkeys(entry for url in urls() if (entry := _entry(url)) is not None))
    if not found:
        raise UsageError(
            f"the preset {preset} found no host in the configuration of {tool} on this machine",
            hint=f"install or configure {tool}, or name the hosts: --allow HOST",
        )
    return found


def _entry(url: str) -> str | None:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url.strip())
        if parts.scheme in ("http", "https") and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return str(AllowEntry.parse(host if parts.port in (None, 80, 443) else f"{host}:{parts.port}"))
    return None


def _asked(*argv: str) -> str:
    """What a tool prints; nothing if it is not there or fails."""
    path = shutil.which(argv[0])
    if path is None:
        return ""
    with contextlib.suppress(OSError, TimeoutError):
        done = process.run([path, *argv[1:]], env=dict(os.environ), timeout=TOOL_S)
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
    return ""


def _python() -> Iterable[str]:
    """The index and the extra ones; without an index, the default that pip itself has."""
    pip = _pip()
    settings = _settings(_asked(*pip, "config", "list"))
    index = os.environ.get("PIP_INDEX_URL") or settings.get("index-url")
    extra = os.environ.get("PIP_EXTRA_INDEX_URL") or settings.get("extra-index-url", "")
    indexes = [index] if index else re.findall(r"https?://[^\s)\]]+", _default_index(pip))
    for each in [*indexes, *extra.split()]:
        yield each
        yield from _file_hosts(each)
    for host in (os.environ.get("PIP_TRUSTED_HOST") or settings.get("trusted-host", "")).split():
        yield f"https://{host}"


def _file_hosts(index: str) -> Iterable[str]:
    """Where the files are that an index links to, which need not be beside it: its page of one project says so.

    The page is a list of links (PEP 503). When it cannot be had the index alone is allowed, and a denial says the rest.
    """
    import urllib.request  # only here, and it is large

    url = f"{index.rstrip('/')}/{PROBE_PROJECT}/"
    if not url.startswith(("http://", "https://")):
        return
    with contextlib.suppress(OSError, ValueError):
        request = urllib.request.Request(url, headers={"Accept": "text/html"})  # noqa: S310  checked just above
        with urllib.request.urlopen(request, timeout=TOOL_S) as page:  # noqa: S310
            text = page.read(PAGE_BYTES).decode("utf-8", "replace")
            base = page.url
        parts = {urlsplit(urljoin(base, html.unescape(link))) for link in re.findall(r"""href=["']([^"']+)""", text)}
        for scheme, host in sorted({(part.scheme, part.netloc) for part in parts})[:MAX_FILE_HOSTS]:
            yield f"{scheme}://{host.rpartition('@')[2]}/"


def _pip() -> tuple[str, ...]:
    for name in ("pip", "pip3"):
        if shutil.which(name):
            return (name,)
    return ("python3", "-m", "pip")


def _default_index(pip: tuple[str, ...]) -> str:
    """What pip says of ``--index-url`` in its help: ``(default https://...)``."""
    text = " ".join(_asked(*pip, "download", "--help").split())
    found = re.search(r"--index-url.*?\(default:? ([^)]+)\)", text)
    return found[1] if found else ""


def _settings(text: str) -> dict[str, str]:
    """``pip config list``: one ``section.name='value'`` a line; a command's own section counts, too."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found.setdefault(name.rpartition(".")[2].strip(), value.strip().strip("'\"").replace("\\n", " "))
    return found


def _npm() -> Iterable[str]:
    """The registry (npm knows its own default), and those of single scopes."""
    yield _asked("npm", "config", "get", "registry")
    for line in _npmrc():
        name, _, value = line.partition("=")
        if name.strip().endswith("registry"):
            yield value.strip(" \"'")


def _npmrc() -> list[str]:
    lines: list[str] = []
    for path in (Path.home() / ".npmrc", Path("/etc/npmrc")):
        with contextlib.suppress(OSError):
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines


def _debian() -> Iterable[str]:
    """Every address in apt's sources, in the old and the new format."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]
    for file in [*files, *sorted(folder.glob("sources.list.d/*.sources"))]:
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                if not line.lstrip().startswith("#"):
                    yield from re.findall(r"https?://[^\s\]]+", line)
