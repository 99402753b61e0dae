"""git on the host, for cloning: no questions, no hooks, no filters, nothing that a repository asks to be run.

Talking to a remote takes the user's own configuration (credentials, proxies, ``insteadOf``); working on what came from
there takes none at all. git only ever runs on folders that it made itself a moment ago, never on a tree that a
workspace could write.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sandlot import process
from sandlot.errors import GitFailed

__all__ = ["GIT_TIMEOUT_S", "git", "shown_url"]

GIT_TIMEOUT_S = 900.0
"""How long one git command may take; clones of large repositories over slow lines included."""

_QUIET = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_PAGER": "cat",
    "GIT_ADVICE": "0",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # no ext::, no helper of a URL's choice
}
_KEPT = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_CONFIG_GLOBAL", "GIT_SSL_CAINFO")
_SAFE = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.logAllRefUpdates=false",
    "-c", "core.attributesFile=/dev/null", "-c", "submodule.recurse=false", "-c", "gc.auto=0",
    "-c", "maintenance.auto=false", "-c", "protocol.version=2", "-c", "advice.detachedHead=false",
)  # fmt: skip
"""Before every command. Version 2 of the protocol serves any commit by its id, reachable from a ref or not."""


def git(
    arguments: Sequence[str], *, cwd: Path, remote: bool, doing: str, codes: tuple[int, ...] = (0,)
) -> process.Completed:
    """Run git in ``cwd``. ``remote``: it may talk to a remote, with the user's configuration.

    Raises GitFailed with git's own message, and what was being done (``doing``).
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    if remote:
        environment |= {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    else:
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
    try:
        done = process.run(["git", *_SAFE, *arguments], cwd=cwd, env=environment | _QUIET, timeout=GIT_TIMEOUT_S)
    except FileNotFoundError as error:
        raise GitFailed("git is not installed", hint="install git, or use a template instead of repos") from error
    except subprocess.TimeoutExpired as error:
        raise GitFailed(f"{doing}: no end after {GIT_TIMEOUT_S:.0f} s") from error
    if done.returncode not in codes:
        raise GitFailed(f"{doing}: {done.message}", hint="check the URL, the ref and your access to it")
    return done


def shown_url(url: str) -> str:
    """A URL without user, password and query, for messages and manifests."""
    scheme, colon, rest = url.partition("://")
    if not colon:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
