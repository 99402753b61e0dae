"""The command that an entry starts: our server, with the mode it is to have."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from sandlot.modes import CORE, FULL, StartupMode, surface

__all__ = ["SERVER", "Allow", "Invocation", "Launch", "Scope", "is_ours", "own_program"]

SERVER = "sandlot"
"""The name of our entry: short, since hosts put it before every tool's name and cut at 60 characters."""
_SERVE = ("mcp", "serve")


class Scope(StrEnum):
    """For whom an entry is: the user in every project, or everybody in one project."""

    USER = "user"
    PROJECT = "project"


class Allow(StrEnum):
    """Which tools a host may use without asking its user each time."""

    NONE = "none"
    READ_ONLY = "read-only"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Invocation:
    """What an entry says is to be started."""

    command: str
    arguments: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    passed: tuple[str, ...] = ()
    """Variables of the host's environment that the entry asks for by name (Codex)."""

    def line(self) -> str:
        """As it is typed."""
        return shlex.join((self.command, *self.arguments))


@dataclass(frozen=True, slots=True)
class Launch:
    """What the server is started with. Neither mode nor profile: the surface ``workspace-core``."""

    mode: StartupMode | None = None
    profile: str | None = None
    read_only: bool = False
    project_path: str | None = None
    environment: str | None = None
    runtime: str | None = None
    min_isolation: str | None = None
    """Like what is above it: as the server's option of that name takes it, and kept when an entry is put right."""

    def __post_init__(self) -> None:
        surface(self.mode, profile=self.profile)  # raises UsageError

    @property
    def surface_name(self) -> str:
        """What it shows, in a word."""
        return self.mode or self.profile or CORE

    def words(self) -> tuple[str, ...]:
        """Our own words on its command line."""
        words = [*_SERVE]
        for option, value in (
            ("--mode", self.mode),
            ("--profile", self.profile),
            ("--project-path", self.project_path),
            ("--environment", self.environment),
            ("--runtime", self.runtime),
            ("--min-isolation", self.min_isolation),
        ):
            if value is not None:
                words += [option, str(value)]
        return (*words, "--read-only") if self.read_only else tuple(words)

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Launch:
        """What a command line says, as far as it can be read; words that we never write are passed over."""
        at = next((i for i in range(len(arguments) - 1) if tuple(arguments[i : i + 2]) == _SERVE), len(arguments))
        words = list(arguments[at + 2 :])
        values: dict[str, str] = {}
        for option, value in itertools.pairwise(words):
            values.setdefault(option, value)
        mode, profile = values.get("--mode"), values.get("--profile")
        return cls(
            mode=StartupMode(mode) if mode in set(StartupMode) else None,
            profile=profile if profile in (CORE, FULL) and mode is None else None,
            read_only="--read-only" in words,
            project_path=values.get("--project-path"),
            environment=values.get("--environment"),
            runtime=values.get("--runtime"),
            min_isolation=values.get("--min-isolation"),
        )

    def over(self, here: Launch) -> Launch:
        """This one, with what it leaves open as an entry has it by now: what a user has demanded is not lowered."""
        names = ("project_path", "environment", "runtime", "min_isolation")
        return replace(self, **{name: getattr(self, name) or getattr(here, name) for name in names})


def own_program(scope: Scope) -> tuple[str, ...]:
    """What starts sandlot: a user's entry names this installation, a project's entry what is found on PATH.

    Hosts start servers with another PATH than a terminal has, so the path is absolute; but an entry in a project is
    committed and runs on machines of other people, where neither this path nor this home exists.
    """
    if scope is Scope.PROJECT:
        return ("sandlot",)
    script = Path(sys.executable).parent / "sandlot"  # not resolved: that of a virtual environment is beside its link
    if os.access(script, os.X_OK) and script.is_file():
        return (str(script),)
    return (sys.executable, "-m", "sandlot")


def is_ours(invocation: Invocation) -> bool:
    """Whether this starts a server of sandlot, in whatever way (also by uvx or a wrapper)."""
    return _SERVE in itertools.pairwise(invocation.arguments)
