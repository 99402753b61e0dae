"""Who may want to see every file of a suite before it is read: a chat's runs must not take what a chat has written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["about_to_read", "watched_by"]

_LOOK: ContextVar[Callable[[Path], None] | None] = ContextVar("look", default=None)


@contextmanager
def watched_by(look: Callable[[Path], None]) -> Iterator[None]:
    """Within the block, in this thread, ``look`` is called first, and refuses a file by raising."""
    token = _LOOK.set(look)
    try:
        yield
    finally:
        _LOOK.reset(token)


def about_to_read(path: Path) -> None:
    """Raises whatever the one who watches raises."""
    look = _LOOK.get()
    if look is not None:
        look(path)
