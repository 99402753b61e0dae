"""``signal`` without its enums: importing those would take a third of an agent's start."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal"]
