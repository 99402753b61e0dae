"""Running git inside the workspace: ours or found on PATH, never asking, never locking what it need not."""

from __future__ import annotations

import os
import subprocess

from sandlot.guest.tools import ToolError

OWN = "/run/sandlot/python"
"""Where an environment that is not the host's is shown programs of ours, git among them; see runtimes/relocated.py."""
_OWN_GIT = [os.fsencode(each) for each in (OWN + "/lib/ld.so", "--library-path", OWN + "/lib", OWN + "/bin/git")]
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def environment(**extra: str) -> dict[str, str]:
    """git's environment: nothing inherited but PATH and HOME."""
    kept = {"PATH": os.environ.get("PATH") or DEFAULT_PATH}
    if "HOME" in os.environ:
        kept["HOME"] = os.environ["HOME"]
    fixed = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_PAGER": "cat"}
    return {**kept, **fixed, **extra}


def start(arguments: list[bytes], folder: int, env: dict[str, str], error: int) -> subprocess.Popen[bytes]:
    """git with its stdout in a pipe and its stderr in ``error``, working in an open folder.

    Raises ToolError (file_refused) when there is no git.
    """
    try:
        return subprocess.Popen(
            [*_program(), *arguments],
            cwd=f"/proc/self/fd/{folder}",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=error,
            pass_fds=(folder,),
        )
    except (FileNotFoundError, PermissionError):
        raise ToolError("file_refused", "git is not available inside the workspace") from None


def _program() -> list[bytes]:
    """The words that start git: most images have none, so ours is asked first where there is one."""
    return _OWN_GIT if os.path.exists(_OWN_GIT[-1]) else [b"git"]


def run(arguments: list[bytes], folder: int, env: dict[str, str]) -> tuple[int, bytes]:
    """(exit status, stderr) of a git command that prints nothing of interest on stdout."""
    process = start(arguments, folder, env, subprocess.PIPE)
    try:
        _, message = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    return process.returncode, message
