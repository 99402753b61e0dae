"""Where the host keeps something that is written here at offsets: an output, a transcript, the record of an end.

On the host's own kernel that is a file of the host. In a guest it is a socket to the bridge, which carries the same
words to the file; the host bounds what it believes of them.
"""

import os
import struct

_SOCKET = 0o140000  # inode(7)
_KIND = 0o170000
WRITE, CUT = b"W", b"C"
HEAD = struct.Struct(">cQ")
"""What a packet begins with: WRITE and an offset, before the bytes; CUT and a size."""
PIECE = 32 * 1024 - 20
"""Most bytes of a packet: as many as one frame of the bridge takes (wire/bridge.py, which no other agent needs)."""
RECENT = 4096


class Sink:
    """A file of the host."""

    remote = False

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write(self, data: bytes, offset: int) -> int:
        """How much was written. Raises OSError."""
        return os.pwrite(self.descriptor, data, offset)

    def cut(self, size: int) -> None:
        """Its size from now on. Raises OSError."""
        os.ftruncate(self.descriptor, size)

    def last(self, size: int, end: int) -> bytes:
        """At most ``size`` bytes before ``end``. Raises OSError."""
        return os.pread(self.descriptor, size, max(0, end - size))

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)


class RemoteSink(Sink):
    """A socket to the bridge: packets, in order. When the host cannot write any more, so can we."""

    remote = True

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._recent = b""

    def write(self, data: bytes, offset: int) -> int:
        """Waits for the bridge, which always goes on taking what comes."""
        for at in range(0, len(data), PIECE):
            os.writev(self.descriptor, [HEAD.pack(WRITE, offset + at), data[at : at + PIECE]])
        self._recent = (self._recent + data[-RECENT:])[-RECENT:]
        return len(data)

    def cut(self, size: int) -> None:
        os.writev(self.descriptor, [HEAD.pack(CUT, size)])

    def last(self, size: int, end: int) -> bytes:  # noqa: ARG002  the end is all that is kept
        """The last RECENT bytes that were written, at most."""
        return self._recent[-size:]


def of(descriptor: int) -> Sink:
    """The sink behind a descriptor that the host has passed."""
    return (RemoteSink if os.fstat(descriptor).st_mode & _KIND == _SOCKET else Sink)(descriptor)
