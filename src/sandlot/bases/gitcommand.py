"""Running git on the host so that no repository, however hostile, decides what is executed.

git runs programs that a repository's configuration names (hooks, fsmonitor, filters, textconv, ssh commands, helpers of
remotes). So it never sees a source's configuration: it gets a git folder of our own making (gitview.py) with a few
checked values, no system and no user configuration, no transport, and no repository discovery.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sandlot import process
from sandlot.errors import GitFailed

__all__ = ["local_environment", "network_environment", "run_git"]

LOCAL_TIMEOUT_S = 600.0
"""How long git may work on one local repository."""

_KEPT = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR")
_NEVER = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_PAGER": "cat",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ADVICE": "0",
}


def local_environment(git_dir: Path, work_tree: Path | None = None) -> dict[str, str]:
    """The environment for git on a git folder of our own: nothing else is configured, no transport is allowed."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment = {
        **kept,
        **_NEVER,
        "GIT_DIR": os.fspath(git_dir),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
    }
    if work_tree is not None:
        environment["GIT_WORK_TREE"] = os.fspath(work_tree)
    return environment


def network_environment() -> dict[str, str]:
    """The environment for talking to a remote: the user's own configuration, git's own transports, no questions."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for name in ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_CONFIG_GLOBAL", "GIT_SSL_CAINFO"):
        if name in os.environ:
            environment[name] = os.environ[name]
    environment |= {**_NEVER, "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
    if "GIT_SSH" not in environment and "GIT_SSH_COMMAND" not in environment:
        environment["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
    return environment


def run_git(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    environment: dict[str, str],
    cwd: str | os.PathLike[str] = "/",
    stdin: bytes | None = None,
    timeout: float = LOCAL_TIMEOUT_S,
    doing: str = "",
    codes: tuple[int, ...] = (0,),
) -> bytes:
    """What git printed. ``doing`` says in the message what failed; ``codes`` are the exit statuses that are fine.

    Raises GitFailed with git's own message.
    """
    try:
        done = process.run(["git", *arguments], cwd=cwd, env=environment, stdin=stdin, timeout=timeout)
    except FileNotFoundError as error:
        raise GitFailed("git is not installed", hint="install git, or seed a folder without .git") from error
    except subprocess.TimeoutExpired as error:
        raise GitFailed(f"{doing or 'git'}: no end after {timeout:.0f} s") from error
    if done.returncode not in codes:
        raise GitFailed(f"{doing or 'git failed'}: {done.message}")
    return done.stdout
