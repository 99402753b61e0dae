"""What a target needs of its workspace: known before the workspace is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandlot.model.secret import Secret

__all__ = ["TargetNeeds"]


@dataclass(frozen=True, slots=True)
class TargetNeeds:
    """Host folders to show read-only, secrets bound to hosts, and what may be reached."""

    toolchains: tuple[str, ...] = ()
    """Absolute host folders, shown read-only at the same path."""
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """By the name of the environment variable; the value never gets inside, the proxy puts it in."""
    allow: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    open_network: bool = False

    def create_words(self) -> dict[str, Any]:
        """Keyword arguments for ``Sandlot.create``."""
        words: dict[str, Any] = {}
        if self.toolchains:
            words["toolchains"] = self.toolchains
        return {**words, **self.update_words(), **({"secrets": self.secrets} if self.secrets else {})}

    def update_words(self) -> dict[str, Any]:
        """Keyword arguments for ``Workspace.update``: the network of a workspace that exists already."""
        if self.open_network:
            return {"network": "open"}
        words: dict[str, Any] = {}
        if self.allow:
            words["allow"] = self.allow
        if self.allow_private:
            words["allow_private"] = self.allow_private
        return words
