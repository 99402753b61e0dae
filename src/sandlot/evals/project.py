"""Which project a folder belongs to."""

from __future__ import annotations

from pathlib import Path

__all__ = ["project_of"]


def project_of(folder: Path) -> Path:
    """The project that a folder lies in: the nearest one upward with ``.sandlot`` or ``.git``, else the folder."""
    for each in (folder, *folder.parents):
        if (each / ".sandlot").is_dir() or (each / ".git").exists():
            return each
    return folder
