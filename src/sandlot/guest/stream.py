"""An output stream of a command, from its pipe to the host's file."""

import errno
import os
import sys

CHUNK = 1 << 20
TAIL = 64 * 1024
"""Bytes of the end of a stream that are kept when its quota is exceeded."""
F_SETPIPE_SZ = 1031


class Stream:
    """One output stream of a command: a pipe from it, a host file to keep it in.

    The command never holds the host file itself: through /proc/self/fd it could reopen it, grow it without limit, or
    rewrite what the host later reads. The file holds the first ``quota`` bytes, then the last TAIL bytes.
    """

    def __init__(self, target: int, quota: int) -> None:
        self.source, self.sink = os.pipe()
        os.set_blocking(self.source, False)
        self.target = target
        self.quota = quota
        self.total = 0
        self.tail = b""
        self.open = True

    def drain(self, budget: int = 16) -> bool:
        """Move what is there now; returns whether more may come."""
        while self.open and budget:
            budget -= 1
            try:
                moved = self._move()
            except BlockingIOError:
                return True
            except InterruptedError:
                continue
            if moved == 0:
                self.finish()
                return False
            if moved == 65536:  # the pipe was full: the command writes fast, give it more room
                self._widen()
            self.total += moved
        return self.open

    def _widen(self) -> None:
        import fcntl

        try:
            fcntl.fcntl(self.source, F_SETPIPE_SZ, CHUNK)
        except OSError:
            pass  # the user's share of pipe memory is used up; slower, not wrong

    def _move(self) -> int:
        room = self.quota - self.total
        if room > 0 and sys.version_info >= (3, 10):
            try:
                return os.splice(self.source, self.target, min(CHUNK, room), offset_dst=self.total)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSPC, errno.EFBIG):
                    raise
        data = os.read(self.source, CHUNK)
        kept = 0
        if room > 0:
            try:
                kept = os.pwrite(self.target, data[:room], self.total)
            except OSError:
                self.quota = self.total  # the host's disk is full: count on, keep the tail in memory
        if kept < len(data):
            self.tail = (self.tail + data[kept:])[-TAIL:]
        return len(data)

    def finish(self) -> None:
        """The command has closed its end."""
        if self.open:
            self.open = False
            os.close(self.source)
            self.save_tail()

    def save_tail(self) -> None:
        """Put the end of an over-long stream behind the part that was kept."""
        if self.tail:
            try:
                os.pwrite(self.target, self.tail, self.quota)
            except OSError:
                pass
