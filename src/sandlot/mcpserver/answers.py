"""What a server says before anybody calls a tool, prepared from the SDK's own answers.

Importing the SDK takes longer than a host waits before it builds the first turn of its model. So what never changes
while a server runs (the handshake, the lists of tools and prompts) is in the package as the bytes that the SDK would
send; ``scripts/mcp_answers.py`` writes them, and a test compares them with the SDK.

``answers/SURFACE.json`` (``SURFACE-read-only.json`` with ``--read-only``)::

    {"results": [TEXT, ...],                         each one JSON, as text
     "legacy": {VERSION: {METHOD: NUMBER}},          the handshake's protocol versions; numbers count results
     "modern": {VERSION: {METHOD: NUMBER}},          the versions in which each request stands for itself
     "errors": {METHOD: TEXT}}                       methods that hosts try and this server does not have
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

__all__ = ["FOLDER", "Answers", "file_name", "known", "load"]

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers")
_NAME = re.compile(r"[a-z-]+")


class Answers:
    """Prepared answers of one surface."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._results: list[str] = found["results"]
        self._legacy: dict[str, dict[str, int]] = found["legacy"]
        self._modern: dict[str, dict[str, int]] = found["modern"]
        self.errors: dict[str, str] = found["errors"]

    @property
    def latest(self) -> str:
        """The version that a handshake ends in when the client asks for one we do not know."""
        return max(self._legacy)

    def knows(self, version: object) -> bool:
        """Whether a handshake may end in this version."""
        return isinstance(version, str) and version in self._legacy

    def legacy(self, version: str, method: str) -> str | None:
        """The result of a request after a handshake; None: ask the SDK."""
        number = self._legacy[version].get(method)
        return None if number is None else self._results[number]

    def modern(self, version: object, method: str) -> str | None:
        """The result of a request that names its protocol version itself; None: ask the SDK."""
        number = self._modern.get(version, {}).get(method) if isinstance(version, str) else None
        return None if number is None else self._results[number]


def file_name(surface: str, *, read_only: bool) -> str:
    """The name of a surface's file."""
    return f"{surface}{'-read-only' if read_only else ''}.json"


def known(surface: str) -> bool:
    """Whether there is anything prepared of that name."""
    return _NAME.fullmatch(surface) is not None and os.path.exists(
        os.path.join(FOLDER, file_name(surface, read_only=False))
    )


def load(surface: str, *, read_only: bool) -> Answers | None:
    """The prepared answers; None when there are none, and the SDK has to speak for itself."""
    if not _NAME.fullmatch(surface):
        return None
    try:
        with open(os.path.join(FOLDER, file_name(surface, read_only=read_only)), "rb") as file:
            return Answers(json.loads(file.read()))
    except (OSError, ValueError, KeyError):
        return None
