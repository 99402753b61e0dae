"""Process trees: finding, freezing and killing them."""

import os
import time

from sandlot.guest.signals import signal

ATTEMPT_S = 0.05
"""How long to wait for everything to be stopped before it is let go and stopped anew: who has just made a process with
vfork waits, unstoppable, for that process, and would do so for ever when it was stopped before it could exec."""
PASSES = 50
"""Rounds of stop-and-look-again before a tree that keeps growing is killed as it stands."""


def processes() -> "dict[int, tuple[int, str]]":
    """Every process in our pid namespace: pid -> (parent, state letter)."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as file:
                text = file.read()
        except OSError:
            continue
        fields = text[text.rindex(b")") + 2 :].split(None, 2)
        table[int(name)] = (int(fields[1]), fields[0].decode())
    return table


def descendants(root: int) -> "list[int]":
    """Living descendants of a process, zombies left out."""
    table = processes()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found = []
    pending = [root]
    while pending:
        for pid in children.get(pending.pop(), ()):
            pending.append(pid)
            if table[pid][1] not in "ZX":
                found.append(pid)
    return found


def send(pids: "list[int]", number: int) -> None:
    """Signal processes, those that are gone left out."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def reap() -> None:
    """Collect every zombie child."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def kill_all(root: int) -> int:
    """SIGKILL everything below ``root`` and return how many there were; nothing is reaped here.

    Stopping first keeps a fork bomb from outrunning us: a stopped process cannot fork, so the set of running ones
    shrinks with every pass.
    """
    stopped: set[int] = set()
    for _ in range(PASSES):
        fresh = [pid for pid in descendants(root) if pid not in stopped]
        if not fresh:
            break
        send(fresh, signal.SIGSTOP)
        stopped.update(fresh)
    left = descendants(root)
    send(left, signal.SIGKILL)
    return len(left)


def kill_descendants(root: int, deadline: float) -> int:
    """Kill and reap everything below ``root``, which is us, a subreaper; return how many survive ``deadline``."""
    while True:
        left = kill_all(root)
        reap()
        if not left:
            return 0
        if time.monotonic() > deadline:
            return len(descendants(root))
        time.sleep(0.001)


def kill_session(leader: int) -> None:
    """SIGKILL every process of a session and all that descends from them, until none is left (0: nothing)."""
    for _ in range(PASSES if leader else 0):
        left = []
        for pid, (_, state) in processes().items():
            try:
                member = pid > 1 and state not in "ZX" and os.getsid(pid) == leader
            except ProcessLookupError:
                continue
            left += [pid, *descendants(pid)] if member else []
        if not left:
            return
        send(left, signal.SIGKILL)


class Freeze:
    """All processes of the namespace stopped, except PID 1, which is the caller."""

    def __init__(self, workers: "set[int]") -> None:
        """``workers`` are ours: they go on afterwards, whoever stopped them."""
        self._left_alone = {pid for pid, (_, state) in processes().items() if state in "Tt"} - workers

    def stop(self, deadline: float) -> bool:
        """Stop everything; False when something could not be stopped in time (it is in an uninterruptible wait)."""
        while not self._attempt(time.monotonic() + ATTEMPT_S):
            if time.monotonic() > deadline:
                return False
            self.resume()
            time.sleep(0.002)
        return True

    def _attempt(self, deadline: float) -> bool:
        try:
            os.kill(-1, signal.SIGSTOP)
        except ProcessLookupError:
            return True
        while True:
            moving = [pid for pid, (_, state) in processes().items() if pid != 1 and state not in "TtZX"]
            if not moving:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.0005)

    def resume(self) -> None:
        """Let everything go on that was going on before."""
        send([pid for pid in processes() if pid != 1 and pid not in self._left_alone], signal.SIGCONT)
