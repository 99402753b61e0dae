"""The arguments that name a shell."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.model.shell import ShellInfo
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import argument

__all__ = ["OneShell", "ShellResult"]


@dataclass(frozen=True, kw_only=True)
class OneShell(OneWorkspace):
    """Which shell of which workspace."""

    shell: str = argument("the shell's name or number", positional=True)


@dataclass(frozen=True, slots=True)
class ShellResult:
    """The shell as it is now."""

    shell: ShellInfo
