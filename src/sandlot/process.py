"""With runtimes/qemu/bound.py, the only place that spawns, waits for and kills host processes.

Identity of a process is (pid, start time, boot and pid namespace): a pid alone may have been reused, and means another
process in every container.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

TYPE_CHECKING = False  # who starts first, and soonest, imports this: neither typing nor pathlib
if TYPE_CHECKING:
    import subprocess

__all__ = [
    "Completed",
    "ProcessIdentity",
    "boot_id",
    "end_group",
    "foreign",
    "here",
    "identify",
    "kill_and_wait",
    "piped",
    "reap",
    "run",
    "session",
    "spawn_detached",
    "terminate",
]

KILL_WAIT_S = 10.0
"""How long a killed process may take to disappear before we say so."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, in a way that survives reuse of its pid and a reboot."""

    pid: int
    start_time: int
    """Clock ticks since boot, field 22 of /proc/PID/stat (proc(5))."""
    boot: str
    """Boot id and pid namespace, as ``here`` has them."""

    def alive(self) -> bool:
        """Whether this very process still exists and is not a zombie. One that we cannot see counts as alive."""
        return foreign(self.boot) or self._is_here()

    def _is_here(self) -> bool:
        state = _stat(self.pid)
        return state is not None and state[1] == self.start_time and state[0] not in "ZX" and self.boot == here()


@dataclass(frozen=True, slots=True)
class Completed:
    """The outcome of a finished host process."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def message(self) -> str:
        """The first line it printed on stderr that says something, or its exit status."""
        for line in self.stderr.decode("utf-8", "replace").splitlines():
            if line.strip() and not line.startswith(("hint:", "warning:")):
                return line.strip().removeprefix("fatal: ").removeprefix("error: ")
        return f"exit status {self.returncode}"


@cache
def boot_id() -> str:
    """The kernel's id of this boot (random(4))."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


@cache
def here() -> str:
    """This boot, and this pid namespace (pid_namespaces(7)): what a pid means anything in."""
    try:
        return f"{boot_id()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return boot_id()


def foreign(boot: str) -> bool:
    """Whether an identity is of this boot but of another pid namespace, where its process may be alive unseen."""
    theirs, _, namespace = boot.partition("/")
    mine, _, own = here().partition("/")
    return theirs == mine and namespace != own and bool(namespace and own)


def _stat(pid: int) -> tuple[str, int] | None:
    """(state letter, start time) of a process, or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The command name may hold spaces and parentheses; fields are counted from the last ")".
    fields = text[text.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[19])


def session(leader: ProcessIdentity) -> list[ProcessIdentity]:
    """The other processes of the session that a process opened, whether or not it is still there itself."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != leader.pid:
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    text = file.read()
            except OSError:
                continue
            fields = text[text.rindex(b")") + 2 :].split()
            if int(fields[3]) == leader.pid and int(fields[19]) >= leader.start_time:
                found.append(ProcessIdentity(int(name), int(fields[19]), leader.boot))
    return found


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a running process, or None when it is gone."""
    state = _stat(pid)
    return None if state is None else ProcessIdentity(pid, state[1], here())


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    stdout_to: int | None = None,
    pass_fds: Sequence[int] = (),
    timeout: float = 600.0,
) -> Completed:
    """Run a host tool (git, bwrap) to its end, in a session of its own, never through a shell.

    ``stdout_to`` is a file descriptor that receives stdout instead of memory. When the wait is interrupted or
    exceeds ``timeout`` seconds, its whole process group is killed.
    """
    import subprocess  # not needed, and not loaded, to run a command in a workspace

    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout_to is None else stdout_to,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    _ours[process.pid] = process
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    except BaseException:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        raise
    finally:
        _ours.pop(process.pid, None)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    return Completed(process.returncode, out or b"", err or b"")


_ours: dict[int, subprocess.Popen[bytes]] = {}
"""Those of ``run`` and ``piped``, until they were collected."""


@atexit.register
def _end_ours() -> None:
    """A thread that nobody waits for any more (after ctrl-C, say) runs no ``finally``: what it started ends here."""
    for pid in list(_ours):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def piped(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str],
    cwd: str | os.PathLike[str],
) -> Iterator[subprocess.Popen[bytes]]:
    """A host process to talk to, with pipes on its three streams, in a session of its own.

    Its whole process group is killed at the end, whether or not it ended by itself.
    """
    import subprocess

    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    _ours[process.pid] = process
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _ours.pop(process.pid, None)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what it did not read of what we wrote
                    pipe.close()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group of a ``piped`` process and collect it; its pipes stay open for what is still in them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def spawn_detached(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str],
    log: int,
    pass_fds: Sequence[int] = (),
    cwd: str = "/",
) -> subprocess.Popen[bytes]:
    """Start a process that outlives us: own session, no terminal, stdin closed, output to the ``log`` descriptor.

    The caller either polls the returned object or drops it; ``reap`` collects those that ended while we live.
    """
    import subprocess

    reap()
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    _children[process.pid] = process
    return process


_children: dict[int, subprocess.Popen[bytes]] = {}


def reap() -> None:
    """Collect detached children that ended, so that a long-lived caller keeps no zombies."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            _children.pop(pid, None)


def terminate(process: ProcessIdentity, *, grace_s: float) -> bool:
    """SIGTERM, a moment to put things in order, then SIGKILL; whether it is gone in the end."""
    if foreign(process.boot):
        return False
    try:
        fd = os.pidfd_open(process.pid)
    except (ProcessLookupError, OSError):
        return True
    try:
        if process.alive():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGTERM)
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            poller.poll(grace_s * 1000)
    finally:
        os.close(fd)
    return kill_and_wait([process])


def kill_and_wait(processes: Sequence[ProcessIdentity], *, deadline_s: float = KILL_WAIT_S) -> bool:
    """SIGKILL processes that are still the ones meant, and wait until they are gone.

    Returns whether all of them are gone within the deadline. Uses pidfds, so a reused pid is never hit; one of another
    pid namespace is left alone, and is not gone.
    """
    if any(foreign(process.boot) for process in processes):
        return False
    pidfds: list[int] = []
    try:
        for process in processes:
            try:
                fd = os.pidfd_open(process.pid)
            except (ProcessLookupError, OSError):
                continue
            if not process.alive():  # the pidfd now pins whoever has the pid; not ours, leave it alone
                os.close(fd)
                continue
            pidfds.append(fd)
            with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        end = time.monotonic() + deadline_s
        for fd in pidfds:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            left = max(0, int((end - time.monotonic()) * 1000))
            if not poller.poll(left):
                return False
        return True
    finally:
        for fd in pidfds:
            os.close(fd)
        reap()
