"""Starting a process that ends with us, without what sandlot.process takes to import: every start of a guest waits."""

from __future__ import annotations

import ctypes
import os

from sandlot.guest.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Bound", "spawn_bound"]

_PDEATHSIG, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 24, 38  # prctl(2)
_CAPABILITIES = 64
_LANDLOCK_RESTRICT_SELF = 446


class Bound:
    """A child that the kernel kills when we end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._waited = False

    def kill(self) -> None:
        """SIGKILL, unless its end has been waited for."""
        if not self._waited:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Until it has ended."""
        if not self._waited:
            os.waitpid(self.pid, 0)
            self._waited = True


def spawn_bound(
    argv: Sequence[str], *, env: Mapping[str, str], log: int, pass_fds: Sequence[int] = (), rules: int | None = None
) -> Bound:
    """Start a process that the kernel kills when we end, however we do, and that has no privilege, also as root.

    The kernel means the thread that starts it (PR_SET_PDEATHSIG, prctl(2)): call this from one that lives as long as
    the process, and while there is no other. Nothing it starts can get privileges again. ``argv`` begins with a path.
    ``rules`` is a Landlock ruleset that holds for it; without one it may do with files what this user may. It gets
    ``log`` as its output, the descriptors ``pass_fds`` and no other. Raises OSError when it cannot be executed.
    """
    library = ctypes.CDLL(None)
    parent = os.getpid()
    failed, failing = os.pipe()  # closed by the exec
    pid = os.fork()
    if pid == 0:
        try:
            _detach(log, {*pass_fds, failing, *(() if rules is None else (rules,))})
            _bind(library, parent, rules)
            for descriptor in pass_fds:
                os.set_inheritable(descriptor, True)
            os.execve(argv[0], list(argv), dict(env))  # noqa: S606  a list of arguments
        except OSError as error:
            os.write(failing, b"%d" % (error.errno or 1))
        finally:
            os._exit(127)
    os.close(failing)
    try:
        number = os.read(failed, 16)
    finally:
        os.close(failed)
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)), argv[0])
    return Bound(pid)


def _detach(log: int, kept: Iterable[int]) -> None:
    """In the child: a session of its own, no input, output to the log, and nothing of ours but what is kept."""
    os.setsid()
    os.chdir("/")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _bind(library: ctypes.CDLL, parent: int, rules: int | None) -> None:
    """In the child: what holds for it, and for all that it starts."""
    library.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    for capability in range(_CAPABILITIES):  # what is not in the bounding set is not there after the exec
        if library.prctl(_DROP_BOUND, capability, 0, 0, 0) != 0:
            break  # there are no more, or we are nobody who has any
    if rules is not None and library.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) != 0:
        os._exit(127)
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(127)
