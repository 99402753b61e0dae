"""A distribution's packages, fetched without root by the user's own apt into a cache of ours.

Which mirror, which keys, which proxy: all of that is the user's configuration of apt, which also checks signatures and
hashes. Ours are the folders (lists, archives, an empty list of installed packages), and a preference that lets nothing
but the wanted release in. No hook of the configuration is run.
"""

from __future__ import annotations

import os
import re
import shutil
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from sandlot import process
from sandlot.bases.environments.definitions import Definition
from sandlot.bases.environments.rootfs import RootTree
from sandlot.bases.progress import Progress
from sandlot.bases.tarball import tar_members
from sandlot.errors import BuildFailed
from sandlot.paths import Paths

__all__ = ["INSIDE", "Packages", "configuring", "fetch", "unpack"]

INSIDE = "opt/.sandlot-packages"
"""Where the packages lie in the tree while they are configured."""
FETCH_S = 1800.0
UNPACK_S = 600.0
_ESSENTIAL = ("?essential", "usr-is-merged")
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_URI = re.compile(r"'[^']+' (\S+) (\d+) ")
_CONF = """\
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::preferences "{folder}/preferences";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "{folder}";
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
{user}
"""
_PREFERENCES = """\
Package: *
Pin: release o={distribution}, n={release}*
Pin-Priority: 990

Package: *
Pin: release o=*
Pin-Priority: -10
"""


@dataclass(frozen=True, slots=True)
class Packages:
    """What was fetched."""

    essential: tuple[Path, ...]
    """What must be unpacked before anything can be configured."""
    all: tuple[Path, ...]
    sources: str
    """The sources.list for inside: where these came from, without credentials."""


def fetch(paths: Paths, definition: Definition, progress: Progress) -> Packages:
    """The packages of a definition, as new as the user's mirror has them. Raises BuildFailed, OSError."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise BuildFailed(
                f"{definition.name} is built from packages, and {tool} is not there to fetch them with",
                hint=f"on Debian and Ubuntu it always is; elsewhere: sandlot env import IMAGE --name {definition.name}",
            )
    folder = paths.packages / f"{definition.distribution.lower()}-{definition.release}"
    for part in ("lists/partial", "archives/partial"):
        (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "preferences").write_text(
        _PREFERENCES.format(distribution=definition.distribution, release=definition.release)
    )
    # Root's apt fetches as another user, who may not write here.
    user = 'APT::Sandbox::User "root";' if os.geteuid() == 0 else ""
    (folder / "conf").write_text(_CONF.format(folder=folder, user=user))
    progress("asking the mirror")
    _apt(folder, "update", "-q")
    sources = _sources(folder, definition)
    progress("fetching packages")
    names = (*_ESSENTIAL, *definition.packages)
    _apt(folder, "install", "-y", "-q", "--download-only", *names)
    return Packages(_listed(folder, *_ESSENTIAL), _listed(folder, *names), sources)


def _apt(folder: Path, *words: str, tool: str = "apt-get") -> str:
    environment = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    environment |= {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = process.run([tool, "-c", str(folder / "conf"), *words], env=environment, timeout=FETCH_S)
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        details = tuple(line for line in lines if line.startswith(("E:", "W:")))[:20]
        raise BuildFailed(
            f"{tool} could not {words[0]}: {details[0][3:] if details else done.message}",
            hint=f"see that the sources of apt have the release, and that {tool} {words[0]} works",
            details=details,
        )
    return done.stdout.decode("utf-8", "replace")


def _sources(folder: Path, definition: Definition) -> str:
    form = "$(IDENTIFIER)|$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    lines = []
    for line in _apt(folder, "indextargets", "--format", form).splitlines():
        kind, origin, name, uri, release, component = ([*line.split("|"), "", "", "", "", "", ""])[:6]
        if kind == "Packages" and origin == definition.distribution and name.startswith(definition.release):
            parts = urllib.parse.urlsplit(uri)
            shown = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
            lines.append(f"deb {shown} {release} {component}")
    if not lines:
        raise BuildFailed(
            f"the sources of apt on this machine have no {definition.distribution} {definition.release}",
            hint=f"add them, or make it of an image: sandlot env import IMAGE --name {definition.name}",
        )
    return "\n".join([*dict.fromkeys(lines), ""])


def _listed(folder: Path, *names: str) -> tuple[Path, ...]:
    """The archives that installing these takes, in apt's order."""
    elsewhere = f"Dir::Cache::archives={folder}/none"  # or it would name only what is still to be fetched
    text = _apt(folder, "install", "-y", "-qq", "--print-uris", "-o", elsewhere, *names)
    found = tuple(folder / "archives" / match[1] for line in text.splitlines() if (match := _URI.match(line)))
    missing = next((file for file in found if "/" in file.name or not file.is_file()), None)
    if not found or missing:
        raise BuildFailed(f"apt fetched no {missing.name if missing else names[0]}")
    return found


def unpack(tree: RootTree, packages: Packages, shop: Path, progress: Progress) -> None:
    """The essential packages unpacked, all of them laid down, and nothing configured. Raises BuildFailed, OSError."""
    for name in _MERGED:
        tree.enter([b"usr", name.encode()])
        tree.symlink(tree.root, [], name.encode(), b"usr/" + name.encode())
    for number, file in enumerate(packages.essential):
        progress("unpacking", number, len(packages.essential))
        _unpack_one(tree, file, shop / "data.tar")
    folder, parts = tree.enter(INSIDE.encode().split(b"/"))
    for file in packages.all:
        with open(file, "rb") as archive:
            tree.stream(folder, parts, os.fsencode(file.name), archive.read, os.fstat(archive.fileno()).st_size)
    etc, parts = tree.enter([b"etc", b"apt"])
    tree.put(etc, parts, b"sources.list", packages.sources.encode())


def _unpack_one(tree: RootTree, file: Path, scratch: Path) -> None:
    with open(scratch, "w+b") as data:
        done = process.run(
            ["dpkg-deb", "--fsys-tarfile", str(file)],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdout_to=data.fileno(),
            timeout=UNPACK_S,
        )
        if done.returncode != 0:
            raise BuildFailed(f"cannot unpack {file.name}: {done.message}")
        data.seek(0)
        tree.apply(tar_members(data, "data.tar", os.fstat(data.fileno()).st_size))


def configuring() -> str:
    """The script that makes the tree a system, run in it by /bin/sh."""
    return (
        "set -e; export LC_ALL=C.UTF-8\n"
        "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d\n"
        "mkdir -p /var/lib/dpkg; [ -e /var/lib/dpkg/status ] || : > /var/lib/dpkg/status\n"
        "for file in passwd group; do cp /usr/share/base-passwd/$file.master /etc/$file; done\n"
        f"dpkg --force-depends --force-unsafe-io --unpack /{INSIDE}/*.deb\n"
        "dpkg --force-unsafe-io --configure -a\n"
        f"rm -rf /{INSIDE} /usr/sbin/policy-rc.d /var/log/* /var/lib/dpkg/*-old\n"
    )
