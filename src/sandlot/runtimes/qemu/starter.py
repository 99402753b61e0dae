"""The first moments of a keeper: QEMU is started before anything is imported that it need not wait for.

``starter CONTROL LISTENING``, both descriptors; see keeper.py, which goes on from here.
"""

from __future__ import annotations

import _socket
import fcntl
import marshal
import os
import resource
import sys

from sandlot.guest.signals import signal
from sandlot.runtimes.qemu import landlock
from sandlot.runtimes.qemu.bound import Bound, spawn_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BOOT_S", "CLONE_S", "CONSOLE_FD", "CONTROL_FD", "MESSAGE", "PORT_FD", "main"]

MESSAGE = 65536
"""Longest message on the control socket."""
BOOT_S = 180.0
"""How long a guest may take to boot: 3 s on a quiet machine, 10 s on a busy one under emulation, ten times that in
a test run on a loaded one."""
CLONE_S = 60.0
"""The same for a clone; a tenth of a second is usual."""
DESCRIPTORS = 8192
PORT_FD, CONTROL_FD, CONSOLE_FD = 10, 11, 12
"""The numbers of the sockets that QEMU inherits; its command line names them."""


def _out_of_the_way(number: str) -> int:
    """A descriptor that we inherit, under a number that QEMU's are not given."""
    moved = fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, CONSOLE_FD + 1)
    os.close(int(number))
    return moved


def _limit_ourselves() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS) if hard > 0 else DESCRIPTORS, hard))
    except (OSError, ValueError):
        pass
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _spawn(plan: dict[str, Any]) -> tuple[Bound, list[int]]:
    """QEMU, and our ends of its sockets."""
    mine = []
    for number in (PORT_FD, CONTROL_FD, CONSOLE_FD):
        ours, theirs = _socket.socketpair()
        os.dup2(theirs.fileno(), number, inheritable=False)
        theirs.close()
        mine.append(ours.detach())
    passed = (PORT_FD, CONTROL_FD, CONSOLE_FD)
    # What QEMU itself says goes the way of the guest's console, too: a guest can make it complain without end.
    rules = landlock.ruleset(plan["reads"], plan["writes"])
    try:
        environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
        qemu = spawn_bound(plan["argv"], env=environment, log=CONSOLE_FD, pass_fds=passed, rules=rules)
    finally:
        if rules is not None:
            os.close(rules)
    for number in passed:
        os.close(number)
    return qemu, mine


def main() -> None:
    """Entry point."""
    control, listening = _out_of_the_way(sys.argv[1]), _out_of_the_way(sys.argv[2])
    _limit_ourselves()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    told = os.read(control, MESSAGE)
    if not told:
        return
    plan = marshal.loads(told)  # noqa: S302  of our own launcher, by a socket that nobody else has; the same Python
    qemu, ends = _spawn(plan)
    try:
        from sandlot.runtimes.qemu.keeper import keep

        keep(plan, qemu, control, listening, ends)
    except SystemExit:
        pass
    except Exception as error:  # what is left for whoever looks into the log
        print(f"the keeper failed: {error!r}", file=sys.stderr, flush=True)
        raise
    finally:
        qemu.kill()
        qemu.wait()


if __name__ == "__main__":
    main()
