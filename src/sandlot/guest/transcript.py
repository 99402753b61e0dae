"""What a shell prints, as it is kept: a ring in a file of the host."""

from sandlot.guest.sink import Sink
from sandlot.wire import shell as wire


class Transcript:
    """The ring in the host's file; see wire/shell.py."""

    def __init__(self, file: Sink, rows: int, columns: int) -> None:
        self.file = file
        self.total = 0
        self.rows = rows
        self.columns = columns
        self.head()

    def head(self) -> None:
        """Write down how far it goes. A file system that fails loses output, never the shell."""
        try:
            self.file.write(wire.HEADER.pack(wire.CAPACITY, self.total, self.rows, self.columns), 0)
        except OSError:
            pass

    def add(self, data: bytes) -> None:
        """Append at most BATCH bytes."""
        at = self.total % wire.CAPACITY
        first = data[: wire.CAPACITY - at]
        try:
            self.file.write(first, wire.DATA + at)
            if len(first) < len(data):
                self.file.write(data[len(first) :], wire.DATA)
        except OSError:
            pass  # see head
        self.total += len(data)
        self.head()

    def finish(self) -> None:
        """Give back what a short one did not use."""
        try:
            self.file.cut(wire.DATA + min(self.total, wire.CAPACITY))
        except OSError:
            pass
        self.file.close()
