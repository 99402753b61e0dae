"""What every operation needs: the paths, settings, records, bases and runtimes of one user.

The heavy rooms are imported where they are first used: a command that runs in a workspace needs no bases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sandlot.errors import UsageError
from sandlot.paths import Paths
from sandlot.settings import Settings
from sandlot.workspaces.store import Store

if TYPE_CHECKING:
    from sandlot.bases.store import BaseStore
    from sandlot.model.environment import Environment
    from sandlot.runtimes.base import Runtime

__all__ = ["Context"]


def _bubblewrap(paths: Paths) -> Runtime:
    from sandlot.runtimes.bubblewrap.runtime import BubblewrapRuntime

    return BubblewrapRuntime(paths)


def _qemu(paths: Paths) -> Runtime:
    from sandlot.runtimes.qemu.runtime import QemuRuntime

    return QemuRuntime(paths)


RUNTIMES: dict[str, Callable[[Paths], Runtime]] = {"bubblewrap": _bubblewrap, "qemu": _qemu}
"""How each runtime is made, the cheapest first."""


@dataclass
class Context:
    """One user's sandlot. Making one opens nothing; everything is opened at first use."""

    paths: Paths
    settings: Settings

    @classmethod
    def default(cls) -> Context:
        """The calling user's."""
        return cls(Paths.default(), Settings.load())

    @cached_property
    def store(self) -> Store:
        self.paths.ensure()
        return Store(self.paths)

    @cached_property
    def environments(self) -> dict[str, Environment]:
        """Those read so far, by digest: they never change."""
        return {}

    @cached_property
    def bases(self) -> BaseStore:
        from sandlot.bases.store import BaseStore

        self.paths.ensure()
        return BaseStore(self.paths)

    @cached_property
    def _runtimes(self) -> dict[str, Runtime]:
        """Those that were asked for so far: most commands need one."""
        return {}

    @property
    def runtime_names(self) -> tuple[str, ...]:
        """Every runtime there is, the cheapest first."""
        return tuple(RUNTIMES)

    def runtime(self, name: str) -> Runtime:
        """The runtime of that name. Raises UsageError."""
        found = self._runtimes.get(name)
        if found is None:
            if name not in RUNTIMES:
                raise UsageError(f"unknown runtime {name!r}", hint=f"choose one of: {', '.join(RUNTIMES)}")
            self.paths.ensure()
            found = self._runtimes[name] = RUNTIMES[name](self.paths)
        return found

    def close(self) -> None:
        """Close what was opened."""
        if "store" in self.__dict__:
            self.store.database.close()
