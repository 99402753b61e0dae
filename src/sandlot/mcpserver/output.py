"""The pipe to the client: whole lines, from whichever thread."""

from __future__ import annotations

import os
import signal
import threading

__all__ = ["Output", "claim"]


class Output:
    """Writes lines to a descriptor; a client that no longer reads is not an error, it is the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        """Write all of it. Raises nothing."""
        with self._lock:
            view = memoryview(line)
            try:
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except BrokenPipeError:
                signal.raise_signal(signal.SIGTERM)  # nobody will ever read: the end, by the usual way
            except OSError:
                pass  # a file system that is full, say: the client misses a line, and will say so


def claim() -> tuple[int, int]:
    """Descriptors of the client's two pipes, which nothing else in this process or its children can reach.

    What anybody prints goes to standard error from here on, and standard input is empty.
    """
    taken = (os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return taken
