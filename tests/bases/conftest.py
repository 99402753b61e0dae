from __future__ import annotations

from pathlib import Path

import pytest

from sandlot.bases import archive, scan
from sandlot.bases.store import BaseStore

from .seeding import store_at


@pytest.fixture
def store(tmp_path: Path) -> BaseStore:
    return store_at(tmp_path / "state")


@pytest.fixture
def no_clock_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe the times of files that were written right now: nothing writes behind the test's back."""
    monkeypatch.setattr(scan, "RACY_NS", -(10**12))
    monkeypatch.setattr(archive, "RACY_NS", -(10**12))
