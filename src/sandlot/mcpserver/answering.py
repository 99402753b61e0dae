"""What a call answers with, and what its words have to know about the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandlot.mcpserver.cleaning import one_line, origin_line

if TYPE_CHECKING:
    from sandlot.mcpserver.tools import Tool

__all__ = ["CAP", "Answer", "Asked", "guarded"]

CAP = 10_000
"""Bytes of text that an answer has at most: hosts cut longer ones, each in its own way."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Text for the model; and the same facts as data, where hosts may show the model those alone."""

    text: str
    structured: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: the tool, the request's fields, and the names of the tools that the surface shows beside it."""

    tool: Tool
    fields: Mapping[str, Any]
    shown: frozenset[str]

    @property
    def workspace(self) -> str:
        """What the call named its workspace, on one line."""
        return one_line(str(self.fields.get("workspace", "")), 80)

    def takes(self, argument: str) -> bool:
        """Whether the tool shows this argument."""
        return any(each.name == argument for each in self.tool.inputs)

    def next_call(self, **arguments: object) -> str:
        """How to read on with this very tool."""
        return "the same call with " + " ".join(f"{name}={value}" for name, value in arguments.items())


def call_of(tool: str, **arguments: object) -> str:
    """A call in words."""
    return " ".join((tool, *(f"{name}={value}" for name, value in arguments.items())))


def guarded(facts: list[str], workspace: str, what: str, body: str) -> str:
    """Our own facts, then the line that marks what follows as the workspace's, then that; nothing of ours behind it."""
    lines = [line for line in facts if line]
    return "\n".join([*lines, origin_line(workspace, what), body] if body else lines)
