"""What a host looks at to find its configuration: the user's home, the environment, the project."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import UsageError

__all__ = ["Around"]


@dataclass(frozen=True, slots=True)
class Around:
    """The surroundings of one run."""

    home: Path
    environ: Mapping[str, str]
    project: Path
    """The project whose files, and whose trust, are meant."""
    platform: str = sys.platform

    @classmethod
    def here(cls, project: str | None = None) -> Around:
        """Those of this process. Raises UsageError where there is no home, or the project is no folder."""
        home = os.environ.get("HOME") or os.path.expanduser("~")
        if not os.path.isabs(home):
            raise UsageError("there is no home folder: HOME is not set", hint="set HOME")
        try:
            folder = Path(os.path.abspath(project or os.curdir))
        except FileNotFoundError:
            raise UsageError("the current folder is no longer there", hint="cd to one that is") from None
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", hint="name the project's folder")
        return cls(Path(home), dict(os.environ), folder)

    @property
    def repository(self) -> Path:
        """The git repository that the project lies in (several hosts remember decisions by it), else the project."""
        real = self.project.resolve()
        return next((each for each in (real, *real.parents) if (each / ".git").exists()), real)

    def folder(self, variable: str, *default: str) -> Path:
        """A folder that a variable may name, else one below home."""
        named = self.environ.get(variable, "")
        return Path(named) if os.path.isabs(named) else self.home.joinpath(*default)

    @property
    def config(self) -> Path:
        """``$XDG_CONFIG_HOME``, else ``~/.config``."""
        return self.folder("XDG_CONFIG_HOME", ".config")

    def application(self, name: str) -> Path:
        """Where a desktop application keeps its settings."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support" / name
        return self.config / name

    def program(self, name: str) -> str | None:
        """The path of a program on PATH, or None."""
        return shutil.which(name, path=self.environ.get("PATH", os.defpath))

    def shown(self, path: Path) -> str:
        """A path the way people write it."""
        return f"~/{path.relative_to(self.home)}" if path.is_relative_to(self.home) else str(path)
