"""What the pages of the recipes say."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.docs.sessions import ROOT

__all__ = ["FOLDER", "calls", "headings", "page"]

FOLDER = ROOT / "docs" / "use-cases"
_STEP = re.compile(r"^## (\d+)\. (.*)$", re.MULTILINE)
_BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """The text of a recipe's page."""
    return (FOLDER / f"{name}.md").read_text()


def headings(name: str) -> list[str]:
    """The steps of a page, which are numbered without a gap."""
    found = _STEP.findall(page(name))
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [text for _, text in found]


def calls(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The calls of tools that a page shows: name and arguments."""
    lines = [line for block in _BLOCK.findall(page(name)) for line in block.splitlines()]
    return [(tool, json.loads(arguments)) for tool, _, arguments in (line.partition(" ") for line in lines)]
