"""What a command reads on its standard input."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["standard_input"]


@contextlib.contextmanager
def standard_input(source: bytes | BinaryIO | None) -> Iterator[int]:
    """A descriptor for the command's stdin.

    Never a file or terminal of the host: through /proc/self/fd code inside could reopen a file for writing, and type
    into a terminal. What the host has is pumped through a pipe.
    """
    if source is None:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return
    read, write = os.pipe()
    pump = threading.Thread(target=_pump, args=(source, write), daemon=True, name="sandlot-stdin")
    pump.start()
    try:
        yield read
    finally:
        os.close(read)


def _pump(source: bytes | BinaryIO, write: int) -> None:
    try:
        if isinstance(source, bytes):
            view = memoryview(source)
            while view:
                view = view[os.write(write, view) :]
            return
        reader = getattr(source, "read1", source.read)
        while data := reader(1 << 16):
            view = memoryview(data)
            while view:
                view = view[os.write(write, view) :]
    except (BrokenPipeError, OSError, ValueError):
        pass  # the command does not read its input to the end, or the source was closed
    finally:
        os.close(write)
