"""Shells: how one is opened, what is said on a connection to one, and the head of its transcript.

A client sends JOIN and waits for JOINED; from then on the connection carries the messages below. The transcript is a
host file that the shell's worker writes and that anybody on the host may read at any time, without a connection::

    offset  size  meaning (integers big endian)
    0       8     capacity: bytes of the ring
    8       8     total: bytes of the whole stream so far
    16      2     rows
    18      2     columns
    64            the ring: byte n of the stream lies at 64 + n % capacity

The worker writes at most BATCH bytes before it writes the new total, so the BATCH oldest bytes of the ring may just be
overwritten: only the last ``capacity - BATCH`` bytes are to be believed. At the end the file is cut to what is used.
"""

import struct

from sandlot.wire import messages

# client -> worker, after JOINED
INPUT = 32  #   bytes                 -> RESULT | FAILED shell_busy (then nothing of it was taken)
RESIZE = 33  #  rows, columns         -> RESULT
SIGNAL = 34  #  number, for the foreground process group  -> RESULT | FAILED
CLOSE = 35  #   -                     -> RESULT; EXITED when everything has ended

# worker -> client: JOINED (total, rows, columns), OUTPUT (total) when there is more to read, EXITED (see
# messages.Exited) at the end

HEADER = struct.Struct(">QQHH")
DATA = 64
BATCH = 64 * 1024
CAPACITY = 1024 * 1024 + BATCH
MAX_CAPACITY = 64 * 1024 * 1024
MAX_ROWS = 500
MAX_COLUMNS = 1000
INPUT_QUEUE = 64 * 1024
"""Bytes that wait for a shell which does not read; more are refused."""


class Open:
    """Open a shell: its size, and the command as for EXEC."""

    __slots__ = ("columns", "command", "rows")

    def __init__(self, command: messages.Exec, rows: int, columns: int) -> None:
        self.command = command
        self.rows = rows
        self.columns = columns

    def fields(self) -> "list[bytes]":
        """The number first, as in every request of a numbered command."""
        number, *rest = self.command.fields()
        return [number, b"%d" % self.rows, b"%d" % self.columns, *rest]

    @classmethod
    def parse(cls, fields: "list[bytes]") -> "Open":
        """Raises ValueError."""
        if len(fields) < 4:
            raise ValueError("short shell request")
        rows, columns = size(fields[1:3])
        return cls(messages.Exec.parse([fields[0], *fields[3:]]), rows, columns)


def size(fields: "list[bytes]") -> "tuple[int, int]":
    """(rows, columns) of two fields, checked. Raises ValueError."""
    if len(fields) != 2:
        raise ValueError("a size is rows and columns")
    return messages.integer(fields[0], 1, MAX_ROWS), messages.integer(fields[1], 1, MAX_COLUMNS)
