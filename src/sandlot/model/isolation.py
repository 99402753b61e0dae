"""What stands between a workspace and the host."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["IsolationLevel", "RuntimeChoice"]


class IsolationLevel(StrEnum):
    """Ordered from weakest to strongest; reported in every result and never silently lowered."""

    NONE = "none"
    PROCESS = "process"
    KERNEL = "kernel"
    VM_EMULATED = "vm-emulated"
    VM = "vm"

    @property
    def rank(self) -> int:
        """Position in the order; a higher one isolates more."""
        return list(IsolationLevel).index(self)

    def satisfies(self, minimum: IsolationLevel) -> bool:
        """Whether this level is at least ``minimum``."""
        return self.rank >= minimum.rank


class RuntimeChoice(StrEnum):
    """What isolates a workspace, as users say it; the cheapest first."""

    BUBBLEWRAP = "bubblewrap"
    """Namespaces of this machine's kernel."""
    QEMU = "qemu"
    """A virtual machine with a kernel of its own."""
    AUTO = "auto"
    """The cheapest that isolates as much as was demanded."""
