"""git on the host, for cloning: no questions, no hooks, no filters, nothing that a repository asks to be run.

Talking to a remote takes the user's own configuration (credentials, proxies, ``insteadOf``); working on what came from
there takes none at all. git only ever runs on folders that it made itself a moment ago, never on a tree that a
workspace could write.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sandlot import process
from sandlot.errors import GitFailed

if TYPE_CHECKING:
    from sandlot.workspaces.cancellation import Cancellation

__all__ = ["GIT_TIMEOUT_S", "cancelled_by", "drain", "git", "shown_url"]

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
    "GIT_LFS_SKIP_SMUDGE": "1",  # the user's own filter, but .lfsconfig of a stranger would say where it goes
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # no ext::, no helper of a URL's choice
}
_KEPT = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_CONFIG_GLOBAL", "GIT_SSL_CAINFO")
_SAFE = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.logAllRefUpdates=false",
    "-c", "core.attributesFile=/dev/null", "-c", "submodule.recurse=false", "-c", "gc.auto=0",
    "-c", "maintenance.auto=false", "-c", "protocol.version=2", "-c", "advice.detachedHead=false",
)  # fmt: skip
"""Before every command. Version 2 of the protocol serves any commit by its id, reachable from a ref or not."""


_CANCELLATION: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)
_LOOK_S = 0.1
"""How often to look whether a command is to be ended."""


@contextmanager
def cancelled_by(cancellation: Cancellation | None) -> Iterator[None]:
    """Within the block, in this thread, git ends when that is cancelled (ctrl-C does not wait for a clone)."""
    token = _CANCELLATION.set(cancellation)
    try:
        yield
    finally:
        _CANCELLATION.reset(token)


def git(
    arguments: Sequence[str], *, cwd: Path, remote: bool, doing: str, codes: tuple[int, ...] = (0,), url: str = ""
) -> process.Completed:
    """Run git in ``cwd``. ``remote``: it may talk to a remote, with the user's configuration.

    Raises GitFailed with what was being done (``doing``) and git's own message, without what is secret in ``url``.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    if remote:
        environment |= {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    else:
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
    try:
        done = _run(["git", *_SAFE, *arguments], cwd, environment | _QUIET)
    except FileNotFoundError as error:
        raise GitFailed("git is not installed", hint="install git, or use a template instead of repos") from error
    except subprocess.TimeoutExpired as error:
        raise GitFailed(f"{doing}: no end after {GIT_TIMEOUT_S:.0f} s") from error
    if done.returncode not in codes:
        raise GitFailed(
            f"{doing}: {_without_secrets(done.message, url)}", hint="check the URL, the ref and your access to it"
        )
    return done


def _run(argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> process.Completed:
    """Raises subprocess.TimeoutExpired, Cancelled; nothing of git is left then."""
    cancellation = _CANCELLATION.get()
    if cancellation is None:
        return process.run(argv, cwd=cwd, env=environment, timeout=GIT_TIMEOUT_S)
    out: list[bytes] = []
    err: list[bytes] = []
    with process.piped(argv, env=environment, cwd=cwd) as running:
        pipes = ((running.stdout, out), (running.stderr, err))
        threads = [threading.Thread(target=drain, args=each, daemon=True) for each in pipes]
        for thread in threads:
            thread.start()
        try:
            for _ in range(int(GIT_TIMEOUT_S / _LOOK_S)):
                cancellation.check()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.Completed(running.wait(_LOOK_S), _joined(threads[0], out), _joined(threads[1], err))
            raise subprocess.TimeoutExpired(argv, GIT_TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):  # so that the pipes end
                os.killpg(running.pid, signal.SIGKILL)
            for thread in threads:
                thread.join(process.KILL_WAIT_S)


def _joined(thread: threading.Thread, parts: list[bytes]) -> bytes:
    thread.join(process.KILL_WAIT_S)
    return b"".join(parts)


def drain(pipe: IO[bytes] | None, parts: list[bytes], keep: int | None = None) -> None:
    """Read a pipe to its end; with ``keep``, hold on to about that many of the last bytes."""
    with contextlib.suppress(OSError, ValueError):
        while pipe is not None and (data := pipe.read1(1 << 16)):  # type: ignore[attr-defined]  # pipes are buffered
            parts.append(data)
            while keep is not None and len(parts) > 2 and sum(map(len, parts[1:])) > keep:
                parts.pop(0)


def shown_url(url: str) -> str:
    """A URL without user, password and query, for messages and manifests."""
    scheme, colon, rest = url.partition("://")
    if not colon:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _without_secrets(message: str, url: str) -> str:
    """git shows a URL without its password, but not in every message, and always with its query."""
    _, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    for secret in (host.rpartition("@")[0], path.partition("?")[2]):
        if secret:
            message = message.replace(secret, "...")
    return message
