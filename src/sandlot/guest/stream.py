"""An output stream of a command, from its pipe to the host's file."""

import errno
import os
import sys

from sandlot.guest import sink
from sandlot.wire import messages

TYPE_CHECKING = False  # typing is not imported at the start of an agent
if TYPE_CHECKING:
    from sandlot.wire.masking import Masking

CHUNK = 1 << 20
AT_ONCE = 1 << 16
"""What a guest reads: memory for more is mapped anew each time, which costs an emulated one more than the reading."""
TAIL = 64 * 1024
"""Bytes of the end of a stream that are kept when its quota is exceeded."""
F_SETPIPE_SZ = 1031


class Stream:
    """One output stream of a command: a pipe from it, a host file to keep it in.

    The command never holds the host file itself: through /proc/self/fd it could reopen it, grow it without limit, or
    rewrite what the host later reads. The file holds the first ``quota`` bytes, then the last TAIL bytes. With
    ``masking`` no value of a secret that the command was given is ever in it.
    """

    def __init__(self, target: int, quota: int, masking: "Masking | None" = None) -> None:
        self.source, self.sink = os.pipe()
        os.set_blocking(self.source, False)
        self.target = sink.of(target)
        self.quota = quota
        self.masking = masking
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
        return self.open

    def _widen(self) -> None:
        import fcntl

        try:
            fcntl.fcntl(self.source, F_SETPIPE_SZ, CHUNK)
        except OSError:
            pass  # the user's share of pipe memory is used up; slower, not wrong

    def _move(self) -> int:
        """Move once; returns how many bytes were taken from the pipe."""
        room = self.quota - self.total
        if self.masking is None and room > 0 and not self.target.remote and sys.version_info >= (3, 10):
            try:
                moved = os.splice(self.source, self.target.descriptor, min(CHUNK, room), offset_dst=self.total)
                self.total += moved
                return moved
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSPC, errno.EFBIG):
                    raise
        data = os.read(self.source, AT_ONCE if self.target.remote else CHUNK)
        if data:
            self._keep(data if self.masking is None else self.masking.feed(data))
        return len(data)

    def _keep(self, data: bytes) -> None:
        room = self.quota - self.total
        kept = 0
        if room > 0:
            try:
                kept = self.target.write(data[:room], self.total)
            except OSError:
                self.quota = self.total  # the host's disk is full: count on, keep the tail in memory
        if kept < len(data):
            self.tail = (self.tail + data[kept:])[-TAIL:]
        self.total += len(data)

    def last(self, size: int) -> bytes:
        """The last bytes that were drained."""
        if self.tail:
            return self.tail[-size:]
        try:
            return self.target.last(size, self.total)
        except OSError:
            return b""

    def finish(self) -> None:
        """The command has closed its end."""
        if self.open:
            self.open = False
            os.close(self.source)
            if self.masking is not None:
                self._keep(self.masking.flush())
            self.save_tail()

    def save_tail(self) -> None:
        """Put the end of an over-long stream behind the part that was kept."""
        if self.tail:
            try:
                self.target.write(self.tail, self.quota)
            except OSError:
                pass


def streams_of(command: messages.Exec, out: int, err: int) -> "list[Stream]":
    """stdout and stderr of a command."""
    if not command.hidden:
        return [Stream(out, command.quota), Stream(err, command.quota)]
    from sandlot.wire.masking import Masking, Patterns  # 10 ms, for commands that are given a value alone

    values = [entry.partition(b"=")[2].decode() for entry in command.env[-command.hidden :]]
    patterns = Patterns(values)
    return [Stream(out, command.quota, Masking(patterns)), Stream(err, command.quota, Masking(patterns))]
