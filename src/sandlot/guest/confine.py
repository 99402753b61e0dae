"""Starting the agent of a guest: PID 1 of a namespace of its own, an ordinary user without any privilege.

The bridge stays outside of that namespace, so the agent knows its connections by ``channel.peer_is_outside``, and
nothing inside can see, signal or inspect the bridge.
"""

import _socket
import ctypes
import os
import resource
import sys

from sandlot.guest import building, protect, storage
from sandlot.guest.bridge import Refused, Started
from sandlot.wire import bridge as wire
from sandlot.wire import frames

USER = 1000
FOLDER = "/run/sandlot/bridge"
ADDRESS = FOLDER + "/agent.sock"
"""In a folder that is root's alone; whoever got there would still be inside for the agent."""
BACKLOG = 128
_NEWNS, _NEWPID, _NEWIPC = 0x00020000, 0x20000000, 0x08000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 0x1000
_MS_REC, _MS_SLAVE = 0x4000, 0x80000
_PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_CHILD_SUBREAPER = 22, 24, 38, 36
_SECCOMP_MODE_FILTER = 2
_INSTRUCTION = 8
_CAPABILITIES = 64
_LIMITS = (
    (wire.PROCESSES, resource.RLIMIT_NPROC, resource.RLIM_INFINITY),
    (wire.FILES, resource.RLIMIT_NOFILE, 1 << 20),  # fs.nr_open
)
"""What START may limit, and the most that each can be."""
_CODE = "import sys; sys.path.insert(0, %r); from sandlot.guest.agent import main; main()"
"""The path is where this very file comes from: the agent runs the code that the bridge runs."""


class _Prepared:
    """An agent that waits to hear what START says, in the namespaces that it will have, and without privileges."""

    def __init__(self, instructions: bytes, *, builds: bool = False) -> None:
        """``instructions`` filter its system calls; ``builds``: it is to run a setup, see building.py.

        Raises OSError.
        """
        os.makedirs(FOLDER, 0o700, exist_ok=True)
        library = ctypes.CDLL(None, use_errno=True)
        _check(library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "adopt the agent")
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        leash, _held = os.pipe()  # never let go of: what the agent's host process hangs on is its keeper's business
        self._telling, told = os.pipe()
        values, self._saying = os.pipe()
        try:
            try:
                os.unlink(ADDRESS)
            except FileNotFoundError:
                pass
            listener.bind(ADDRESS)
            listener.listen(BACKLOG)
            self._middle = os.fork()
            if self._middle == 0:
                os.close(self._saying)
                _enter(library, listener.fileno(), leash, told, values, instructions, builds)
        except BaseException:
            os.close(self._telling)
            os.close(self._saying)
            raise
        finally:
            listener.close()
            for descriptor in (leash, told, values):
                os.close(descriptor)

    def drop(self) -> None:
        """Let it end."""
        os.close(self._saying)
        _all(self._telling)
        os.close(self._telling)
        os.waitpid(self._middle, 0)

    def go(self, values: "dict[bytes, bytes]") -> Started:
        """Let it begin. Raises Refused, OSError."""
        try:
            try:
                os.write(self._saying, frames.encode(wire.START, 0, wire.pairs(values)))
            except BrokenPipeError:
                pass  # it has ended, and has told why
        finally:
            os.close(self._saying)
        try:
            words = _all(self._telling)
        finally:
            os.close(self._telling)
            os.waitpid(self._middle, 0)
        pid, _, trouble = words.partition(b" ")
        if trouble or not pid.isdigit():
            raise Refused("start_failed", "the agent could not be started: " + os.fsdecode(trouble or b"no answer"))
        return Started(ADDRESS, os.pidfd_open(int(pid)))


_prepared: "list[_Prepared]" = []


def prepare(instructions: bytes) -> None:
    """Do all of a start that needs no answer from the host, for a template: its clones go on from there.

    ``instructions``: the filter of system calls for the agent and all below it.
    """
    _prepared.append(_Prepared(instructions))


def start(values: "dict[bytes, bytes]") -> Started:
    """Start the agent as START says. Raises Refused, OSError."""
    if wire.TMP in values:
        from sandlot.guest import boot

        boot.limit_tmp(int(values[wire.TMP]))
    if wire.ROOM in values:
        storage.hold_to(int(values[wire.ROOM]))
    ready = _prepared.pop()
    if wire.BUILDING in values:
        ready.drop()
        ready = _Prepared(values[wire.FILTER], builds=True)
    return ready.go(values)


def _limit(values: "dict[bytes, bytes]") -> None:
    """What the guest's kernel holds the agent, and everything below it, to; nobody inside can raise it again."""
    for name, kind, _ in _LIMITS:
        if name in values:
            most = int(values[name])
            resource.setrlimit(kind, (most, most))


def _all(descriptor: int) -> bytes:
    """Everything until the last writer is gone: the agent's program has been started, or its process has ended."""
    found = b""
    while len(found) < 65536:
        data = os.read(descriptor, 65536)
        if not data:
            break
        found += data
    return found


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def _enter(
    library: "ctypes.CDLL", listener: int, leash: int, told: int, values: int, instructions: bytes, builds: bool
) -> None:
    """The process between: its child is the first in the new namespace. Never returns."""
    try:
        _check(library.unshare(_NEWNS | _NEWPID | _NEWIPC), "make namespaces")
        pid = os.fork()
        if pid:
            os.write(told, b"%d" % pid)
            os._exit(0)
        _become(library, listener, leash, values, instructions, builds)
    except BaseException as error:
        os.write(told, b" " + os.fsencode(str(error))[:1000])
    finally:
        os._exit(1)


def _become(library: "ctypes.CDLL", listener: int, leash: int, saying: int, instructions: bytes, builds: bool) -> None:
    """PID 1: give everything up, then run the agent, as the values say that come through ``saying``. Raises OSError.

    A template waits at that, so all before it costs its clones nothing.
    """
    # What is mounted outside later, the areas above all, shows here, and nothing that is mounted here shows outside.
    _check(library.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None), "keep mounts apart")
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _check(library.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(flags), None), "mount /proc")
    # Of this mount only: the bridge, outside, writes to its own. Some files there ask for no privilege.
    flags |= _MS_REMOUNT | _MS_BIND | _MS_RDONLY
    _check(library.mount(b"none", b"/proc", None, ctypes.c_ulong(flags), None), "make /proc read-only")
    os.setsid()
    if builds:
        building.enter(library)
    for capability in range(_CAPABILITIES):
        if builds and capability in building.CAPABILITIES:
            continue
        if library.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # there are no more of them
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for _, kind, most in _LIMITS:  # from here on we can only lower them
        resource.setrlimit(kind, (resource.getrlimit(kind)[0], most))
    os.setgroups([])
    if builds:
        building.keep_capabilities(library)
    else:
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)  # which drops every capability
    _check(library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "renounce privileges")
    _filter(library, instructions)
    protect.find()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.set_inheritable(listener, True)
    os.set_inheritable(leash, True)
    told = frames.Decoder().feed(_all(saying))
    if not told:
        os._exit(1)  # whoever prepared us has changed its mind
    os.close(saying)
    values = wire.values_of(told[0][2])
    _limit(values)
    if wire.PYTHON not in values and "sandlot.guest.agent" in sys.modules:
        _go_on_as_agent(listener, leash, values)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    python = os.fsdecode(values.get(wire.PYTHON, b"")) or sys.executable
    idle, limits = _told(values)
    arguments = ["-I", "-S", "-E", "-B", "-c", _CODE % root, "%d" % listener, idle, "%d" % leash, limits]
    os.chdir("/")
    os.execve(python, [python, *arguments], {})  # noqa: S606  a list of arguments


class _Program(ctypes.Structure):
    """struct sock_fprog, seccomp(2)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter(library: "ctypes.CDLL", instructions: bytes) -> None:
    """Deny system calls from here on, to whatever we start, too; nobody can take it back. Raises OSError."""
    program = _Program(len(instructions) // _INSTRUCTION, instructions)
    _check(library.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "filter system calls")


def _told(values: "dict[bytes, bytes]") -> "tuple[str, str]":
    """(idle time, limits) as the agent reads them."""
    limits = values.get(wire.LIMITS, b"").decode()
    return values.get(wire.IDLE, b"0").decode(), limits + (",sync=1" if limits else "sync=1")


def _go_on_as_agent(listener: int, leash: int, values: "dict[bytes, bytes]") -> None:
    """Be the agent in this very process, whose modules a template has loaded. Never returns.

    Starting an interpreter takes an emulated guest more than a second. What this process has of the bridge's memory is
    code and what the workspace was given anyway; of its descriptors it keeps those that an agent gets, and no other:
    the port above all is closed here, since there is no exec that would.
    """
    from sandlot.guest import agent

    kept = sorted((listener, leash))
    os.closerange(3, kept[0])
    os.closerange(kept[0] + 1, kept[1])
    os.closerange(kept[1] + 1, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.chdir("/")
    idle, limits = _told(values)
    sys.argv = ["agent", "%d" % listener, idle, "%d" % leash, limits]
    status = 1
    try:
        agent.main()
        status = 0
    except BaseException:  # it must never go on as a second bridge
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
