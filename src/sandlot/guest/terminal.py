"""A terminal of our own making: the end that a shell has, and the one that its worker holds."""

import fcntl
import os
import struct
import termios

from sandlot.guest.controlled import IGNORED
from sandlot.guest.supervisor import program
from sandlot.wire import messages


class Terminal:
    """Both ends of a pseudo-terminal.

    Our own copy of the shell's end keeps the terminal alive whatever the shell closes. Both are close-on-exec, and we
    cannot be inspected, so nobody inside gets hold of the master.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.master, self.slave = os.openpty()
        self.resize(rows, columns)
        os.set_blocking(self.master, False)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the size to whoever asks; the kernel sends SIGWINCH to the program in front."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def foreground(self) -> int:
        """The process group that has the terminal; 0 where there is none."""
        group = os.tcgetpgrp(self.master)
        return group if group > 1 else 0

    def spawn(self, command: messages.Exec) -> int:
        """Start the leader of a session that gets the terminal by opening it first. Raises OSError."""
        environment: dict[bytes, bytes] = {}
        for entry in command.env:
            name, _, value = entry.partition(b"=")
            environment[name] = value
        path = os.ttyname(self.slave)
        os.chdir(command.cwd)
        try:
            return os.posix_spawn(
                program(command.argv[0], environment.get(b"PATH", b"/usr/bin:/bin")),
                command.argv,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, path, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=IGNORED,
            )
        finally:
            os.chdir("/")
