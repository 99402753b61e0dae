"""Which folders of the host an agent's program needs to be shown, and nothing beyond them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["find_program", "folders_of"]

SHOWN_ANYWAY = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")
"""Every workspace has the host's /usr."""


def find_program(program: str, folder: str) -> str | None:
    """The absolute path of a program: as it is named, relative to the targets file, or on PATH."""
    named = os.path.expanduser(program)
    if "/" in named:
        path = os.path.join(folder, named)
        return os.path.normpath(path) if os.access(path, os.X_OK) and os.path.isfile(path) else None
    return shutil.which(named)


def folders_of(path: str) -> tuple[str, ...]:
    """The folders to show so that this program runs at its real path; a script of Node needs Node, too."""
    real = os.path.realpath(path)
    folders = [_folder(real)]
    if real.endswith((".js", ".mjs", ".cjs")) and (node := shutil.which("node")) is not None:
        folders.append(_prefix(os.path.realpath(node)))
    return tuple(dict.fromkeys(each for each in folders if each))


def _folder(real: str) -> str:
    if real.startswith(SHOWN_ANYWAY):
        return ""
    parts = Path(real).parts
    if "node_modules" in parts:  # the program finds its packages beside it; the prefix around them may be a home
        return str(Path(*parts[: parts.index("node_modules") + 1]))
    return os.path.dirname(real)


def _prefix(real: str) -> str:
    """Of an interpreter: the folder of bin, lib and include where there is one."""
    if real.startswith(SHOWN_ANYWAY):
        return ""
    prefix = Path(real).parent.parent
    return str(prefix) if (prefix / "include" / "node").is_dir() else os.path.dirname(real)
