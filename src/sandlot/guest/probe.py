"""One look at whether a service is ready, made by a process of its own: whatever it meets, its worker never waits.

The looking process ends itself when its time is up, and when its worker is gone.
"""

import _socket
import os
import select
import time

from sandlot.guest import protect, tree
from sandlot.guest.controlled import IGNORED
from sandlot.guest.signals import signal
from sandlot.guest.supervisor import program
from sandlot.wire import service

ANSWER_BYTES = 1024
_READY = b"+"
_TERMINATED = b"-the check was ended"


class Unready(Exception):
    """Why it is not ready."""


class Probe:
    """A look under way."""

    def __init__(self, check: bytes, words: "list[bytes]", cwd: bytes, env: "list[bytes]", limit_s: float) -> None:
        """``limit_s``: the look counts as failed after that. Raises OSError when no process can be made."""
        self.no_answer = "no answer within %.1f s" % limit_s
        self.source, sink = os.pipe()
        worker = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self.source)
            os.close(sink)
            raise
        if self.pid == 0:
            _look(worker, sink, check, words, cwd, env, limit_s, self.no_answer)
        os.close(sink)
        self.overdue = time.monotonic() + limit_s + 1.0  # it has been stopped, or cannot run: it is killed then

    def answer(self) -> "str | None":
        """Why the service is not ready; None: it is. To be called once the source can be read, or to give it up."""
        os.set_blocking(self.source, False)
        try:
            text = os.read(self.source, ANSWER_BYTES)
        except BlockingIOError:
            text = b""
        if not text:
            self._kill()
        self._end()
        if text == _READY:
            return None
        return os.fsdecode(text[1:]) if text else "the check did not answer"

    def close(self) -> None:
        """Give it up; nothing of it is left, what its command started included."""
        self._kill()
        self._end()

    def _kill(self) -> None:
        """End what it runs, also when somebody has killed it first: its command is ours then, but in its session."""
        tree.send(tree.descendants(self.pid), signal.SIGKILL)
        tree.kill_session(self.pid)

    def _end(self) -> None:
        tree.send([self.pid], signal.SIGKILL)  # even when it has answered: somebody may have stopped it since
        os.waitpid(self.pid, 0)
        os.close(self.source)


def _look(
    worker: int,
    sink: int,
    check: bytes,
    words: "list[bytes]",
    cwd: bytes,
    env: "list[bytes]",
    limit_s: float,
    no_answer: str,
) -> None:
    """Runs in the forked process; never returns."""
    text = _TERMINATED
    try:
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, _interrupted)
        protect.end_with_parent(signal.SIGTERM)
        if os.getppid() == worker:
            os.setsid()  # by which its command is found
            _keep_only(sink)  # above all not the lock that says that the service runs
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            os.chdir(cwd)
            try:
                _LOOKS[check](words, env)
                text = _READY
            except Unready as error:
                text = b"-" + os.fsencode(str(error))
            except OSError as error:
                text = b"-" + os.fsencode(error.strerror or str(error))
    except _Interrupted as error:
        if error.number == signal.SIGALRM:
            text = b"-" + no_answer.encode()
    except BaseException as error:  # it must never go on as a second worker
        text = b"-" + repr(error).encode()
    finally:
        try:
            if check == service.COMMAND:
                tree.send(tree.descendants(os.getpid()), signal.SIGKILL)
            os.write(sink, text[:ANSWER_BYTES])
        finally:
            os._exit(0)


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number


def _interrupted(number: int, _frame: object) -> None:
    raise _Interrupted(number)


def _keep_only(kept: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one the list was read from


def _file(words: "list[bytes]", _env: "list[bytes]") -> None:
    try:
        os.stat(words[0])
    except OSError as error:
        raise Unready("%s: %s" % (os.fsdecode(words[0]), error.strerror)) from None


def _connected(host: bytes, port: bytes) -> "_socket.socket":
    where = "%s port %s" % (host.decode(), port.decode())
    why = "no address"
    try:
        found = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)
    except OSError as error:  # gaierror is one
        raise Unready("%s: %s" % (where, error.strerror or error)) from None
    for family, kind, protocol, _, address in found:
        attempt = None
        try:
            attempt = _socket.socket(family, kind, protocol)
            attempt.connect(address)
            return attempt
        except OSError as error:
            why = error.strerror or str(error)
            if attempt is not None:
                attempt.close()
    raise Unready("%s: %s" % (where, why.lower()))


def _tcp(words: "list[bytes]", _env: "list[bytes]") -> None:
    _connected(words[0], words[1]).close()


def _http(words: "list[bytes]", _env: "list[bytes]") -> None:
    """The first line of the answer decides; nothing else is read, and a redirect is an answer like any other."""
    host, port, path, header = words
    connection = _connected(host, port)
    request = b"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sandlot\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    connection.sendall(request % (path, header))
    line = b""
    while b"\n" not in line and len(line) < ANSWER_BYTES:
        data = connection.recv(ANSWER_BYTES)
        if not data:
            break
        line += data
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        raise Unready("the answer is not HTTP")
    if not 200 <= int(parts[1][:4]) < 400:
        raise Unready("HTTP status %d" % int(parts[1][:4]))


def _command(words: "list[bytes]", env: "list[bytes]") -> None:
    environment = dict(entry.split(b"=", 1) for entry in env)
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    try:
        pid = os.posix_spawn(
            program(words[0], environment.get(b"PATH", b"/usr/bin:/bin")),
            words,
            environment,
            file_actions=actions,
            setpgroup=0,  # `kill 0` in it is not for us
            setsigmask=[],
            setsigdef=IGNORED,
        )
    except OSError as error:
        raise Unready("%s: %s" % (os.fsdecode(words[0]), error.strerror)) from None
    pidfd = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.poll()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise Unready("%s was ended by signal %d" % (os.fsdecode(words[0]), os.WTERMSIG(status)))
    if os.WEXITSTATUS(status):
        raise Unready("%s exited with %d" % (os.fsdecode(words[0]), os.WEXITSTATUS(status)))


_LOOKS = {service.FILE: _file, service.TCP: _tcp, service.HTTP: _http, service.COMMAND: _command}
