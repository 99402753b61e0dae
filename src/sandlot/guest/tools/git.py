"""Running git inside the workspace: found on PATH, never asking, never locking what it need not."""

from __future__ import annotations

import os
import subprocess

from sandlot.guest.tools import ToolError

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
            [b"git", *arguments],
            cwd=f"/proc/self/fd/{folder}",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=error,
            pass_fds=(folder,),
        )
    except (FileNotFoundError, PermissionError):
        raise ToolError("file_refused", "git is not available inside the workspace") from None


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
