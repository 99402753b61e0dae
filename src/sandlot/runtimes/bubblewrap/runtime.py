"""Starting and ending a workspace with bubblewrap.

What only a start needs is imported by it: whether a workspace lives is asked by every command.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sandlot import process
from sandlot.errors import StartFailed, StateUnwritable, WorkspaceFailure
from sandlot.model.workspace import Instance
from sandlot.paths import Paths
from sandlot.runtimes.base import TRUST, Bounds, Fetch, LaunchRequest, ProbeReport
from sandlot.runtimes.bubblewrap.plan import ETC_FILES, Plan
from sandlot.runtimes.channel import Channel
from sandlot.wire import messages

if TYPE_CHECKING:
    import subprocess

    from sandlot.runtimes.bubblewrap.interpreter import Staged
    from sandlot.runtimes.bubblewrap.probe import Prober
    from sandlot.runtimes.relocated import Relocated

__all__ = ["BubblewrapRuntime"]

START_S = 30.0
"""How long an agent may take to answer its first ping; 20 ms is usual, a loaded machine needs more."""
LOG_BYTES = 16 * 1024


class BubblewrapRuntime:
    """The runtime named ``bubblewrap``: isolation level ``kernel``."""

    name = "bubblewrap"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._leashes: dict[str, int] = {}

    @cached_property
    def _prober(self) -> Prober:
        from sandlot.runtimes.bubblewrap.probe import Prober

        return Prober(self._paths)

    def probe(self, *, fresh: bool = False) -> ProbeReport:
        """See Runtime.probe."""
        return self._prober.report(fresh=fresh)

    def launch(self, request: LaunchRequest) -> Instance:
        """See Runtime.launch."""
        from sandlot.runtimes import seccomp
        from sandlot.runtimes.bubblewrap import devices, interpreter, limiting

        report = self.probe()
        if not report.available:
            raise report.refusal(self.name)
        staged = interpreter.stage(self._paths)
        token = os.urandom(8).hex()
        with contextlib.ExitStack() as stack:
            descriptors = _Descriptors(stack)
            listening = descriptors.listen(request.socket)
            leash_read, leash_write = descriptors.leash()
            own_etc = {} if request.root is not None else ETC_FILES  # an environment has its own, made like ours
            etc = {name: descriptors.data(text) for name, text in own_etc.items()}
            python = self._relocated(request)
            plan = _plan(request, staged, python, etc, devices.own_nodes(self._paths))
            held = limiting.prepare(self._paths.state, token, request)
            stack.callback(held.abandon)
            told = held.told(plan, request, descriptors.pass_on)
            # A file, not a pipe: when we are killed, a pipe's SIGPIPE would end the monitor while the child still waits
            # for it, and that child would wait for ever.
            info = os.dup(descriptors.data(""))
            stack.callback(os.close, info)
            info_fd = str(descriptors.passed[-1])
            as_root = request.building is not None
            filtering = descriptors.data(seccomp.program(pinned=held.pinned, as_root=as_root))
            extra = ("--seccomp", str(filtering), "--info-fd", info_fd)
            arguments = descriptors.data(plan.encoded(extra))
            argv = [
                str(self._prober.chosen.path), "--args", str(arguments), "--",
                *staged.argv(listening, request.idle_timeout_s or 0, leash_read, told, python.argv if python else ()),
            ]  # fmt: skip
            log = descriptors.log(request.log)
            # The environment is empty: --clearenv would still leave it readable in /proc/1/environ.
            started = process.spawn_detached(argv, env={}, log=log, pass_fds=descriptors.passed)
            descriptors.close_passed()
            held.begin(started.pid)
            instance = held.apply(self._await(started, info, request, token))
            self._leashes[token] = os.dup(leash_write)  # not inheritable (PEP 446)
        return instance

    def _relocated(self, request: LaunchRequest) -> Relocated | None:
        if request.root is None:
            return None
        from sandlot.runtimes.relocated import relocated

        return relocated(self._paths)

    def release(self, instance: Instance, socket: Path) -> None:
        """See Runtime.release."""
        with Channel(socket) as channel:
            channel.call(messages.RELEASE)
        self._drop_leash(instance)

    def _drop_leash(self, instance: Instance) -> None:
        leash = self._leashes.pop(instance.token, None)
        if leash is not None:
            os.close(leash)

    def _await(self, started: subprocess.Popen[bytes], info: int, request: LaunchRequest, token: str) -> Instance:
        """The running instance, once its agent has answered; everything is ended when it does not."""
        known = [identity for identity in (process.identify(started.pid),) if identity]
        try:
            with Channel(request.socket) as channel:
                channel.send(messages.PING)
                _first_word(channel, started, request.log)
                if channel.receive(START_S) is None:
                    raise StartFailed("bubblewrap could not start the workspace", details=_log_lines(request.log))
            agent = process.identify(_child_pid(info))  # written before the child was let go, so before it answered
            if agent is None or not known:
                raise StartFailed("the workspace ended while it started", details=_log_lines(request.log))
        except BaseException as error:
            for monitor in list(known):
                with contextlib.suppress(StartFailed):
                    agent = process.identify(_child_pid(info))
                    known += [agent] if agent and agent.start_time >= monitor.start_time else []
                known += process.session(monitor)  # a child that bubblewrap had not let go yet is still in it
            process.kill_and_wait(known)
            request.socket.unlink(missing_ok=True)
            if isinstance(error, WorkspaceFailure) and not isinstance(error, StartFailed):
                raise StartFailed(
                    f"the workspace's agent did not start: {error.message}", details=_log_lines(request.log)
                ) from error
            raise
        return Instance(token, agent.pid, agent.start_time, known[0].pid, known[0].start_time, agent.boot)

    def alive(self, instance: Instance) -> bool:
        """See Runtime.alive."""
        return process.ProcessIdentity(instance.agent_pid, instance.agent_start, instance.boot).alive()

    def kill(self, instance: Instance) -> None:
        """See Runtime.kill. PID 1's death ends its namespace; the monitor outside may hang, so it is killed as well."""
        self._drop_leash(instance)
        parts = [
            process.ProcessIdentity(instance.agent_pid, instance.agent_start, instance.boot),
            process.ProcessIdentity(instance.monitor_pid, instance.monitor_start, instance.boot),
        ]
        if not process.kill_and_wait(parts):
            raise WorkspaceFailure(
                f"process {instance.agent_pid} of the workspace did not end within {process.KILL_WAIT_S:.0f} s",
                hint="sandlot repair",
            )
        if instance.cgroups:
            from sandlot.runtimes.bubblewrap import cgroups

            cgroups.remove(instance.cgroups)

    def fetch(self, instance: Instance, socket: Path, target: str, folder: Path, bounds: Bounds) -> None:
        """See Runtime.fetch: nobody asks, for what changes lies in folders of the host."""

    def parting(self, instance: Instance, socket: Path) -> contextlib.AbstractContextManager[Fetch | None]:  # noqa: ARG002  the contract's
        """See Runtime.parting: what changes stays where it is."""
        return contextlib.nullcontext()

    def show_trust(self, instance: Instance, socket: Path, folder: Path) -> None:
        """See Runtime.show_trust: nobody asks, for the folder itself is shown."""

    def strays(self, known: frozenset[str], *, remove: bool = False) -> int:
        """See Runtime.strays: control groups are all that a start makes elsewhere."""
        from sandlot.runtimes.bubblewrap import cgroups

        found = cgroups.strays(self._paths.state, known)
        if remove:
            cgroups.remove(tuple(found))
        return len(found)


def _plan(
    request: LaunchRequest, staged: Staged, python: Relocated | None, etc: dict[str, int], nodes: Path | None
) -> Plan:
    from sandlot.runtimes.bubblewrap import limiting
    from sandlot.runtimes.bubblewrap.interpreter import INSIDE

    plan = Plan()
    plan.isolate(request.hostname, as_root=request.building is not None)
    if request.root is None:
        plan.root(etc)
    else:
        plan.environment(request.root, request.building)
    prefixes = [*request.toolchains, *([staged.prefix] if staged.prefix and python is None else [])]
    plan.kernel_files(limiting.tmp_bytes(request.limits), nodes, tuple(prefixes), links=request.root is None)
    plan.show(staged.folder, INSIDE)
    if request.trust is not None:
        plan.show(request.trust, TRUST)
    if python is not None:
        from sandlot.runtimes.relocated import PYTHON_INSIDE

        plan.show(python.folder, PYTHON_INSIDE)
    for prefix in dict.fromkeys(prefixes):
        plan.show(prefix, str(prefix))
    for area in request.areas:
        plan.area(area)
    plan.seal(root=request.building is None)
    return plan


class _Descriptors:
    """Descriptors for the child, closed here once it has them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.passed: list[int] = []

    def _own(self, descriptor: int) -> int:
        self.passed.append(descriptor)
        return descriptor

    def close_passed(self) -> None:
        """Drop our copies: the child's are the only ones left, so its death is seen as the end of each stream."""
        for descriptor in self.passed:
            os.close(descriptor)
        self.passed = []

    def data(self, content: str | bytes) -> int:
        """A memory file to read from its start."""
        descriptor = os.memfd_create("sandlot")
        os.write(descriptor, content.encode() if isinstance(content, str) else content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._stack.callback(self._forget, descriptor)
        return self._own(descriptor)

    def pass_on(self, descriptor: int) -> int:
        """A copy, for the child, of a descriptor that somebody else owns."""
        copy = self._own(os.dup(descriptor))
        self._stack.callback(self._forget, copy)
        return copy

    def _forget(self, descriptor: int) -> None:
        if descriptor in self.passed:  # only when something failed before the child had it
            self.passed.remove(descriptor)
            os.close(descriptor)

    def leash(self) -> tuple[int, int]:
        """(the child's reading end, our writing end): the agent ends when nobody holds the writing end."""
        read, write = os.pipe()
        self._stack.callback(os.close, write)
        self._stack.callback(self._forget, read)
        return self._own(read), write

    def log(self, path: Path) -> int:
        """What the child prints, from the start of a file of bounded interest."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateUnwritable(f"cannot write {path}: {error.strerror}") from error
        self._stack.callback(os.close, descriptor)
        return descriptor

    def listen(self, path: Path) -> int:
        """The agent's listening socket, made here: clients can connect before the agent has started."""
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listening:
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                listening.bind(f"/proc/self/fd/{folder}/{path.name}")
            except OSError as error:
                raise StateUnwritable(f"cannot make the socket {path}: {error.strerror}") from error
            finally:
                os.close(folder)
            os.chmod(path, 0o600)
            listening.listen(128)
            descriptor = os.dup(listening.fileno())
        self._stack.callback(self._forget, descriptor)
        return self._own(descriptor)


def _first_word(channel: Channel, started: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the agent says something or hangs up. Raises StartFailed when bubblewrap ends before that."""
    try:
        monitor = os.pidfd_open(started.pid)
    except ProcessLookupError as error:
        raise StartFailed("bubblewrap could not start the workspace", details=_log_lines(log)) from error
    try:
        poller = select.poll()
        poller.register(monitor, select.POLLIN)
        poller.register(channel.fileno(), select.POLLIN)
        ready = [descriptor for descriptor, _ in poller.poll(START_S * 1000)]
    finally:
        os.close(monitor)
    if channel.fileno() not in ready:
        what = "bubblewrap could not start the workspace" if ready else "the workspace's agent does not answer"
        raise StartFailed(what, details=_log_lines(log))


def _child_pid(info: int) -> int:
    """The agent's pid on the host, as bubblewrap wrote it down."""
    try:
        return int(json.loads(os.pread(info, 4096, 0))["child-pid"])
    except (ValueError, KeyError, TypeError) as error:
        raise StartFailed("bubblewrap did not say what it started") from error


def _log_lines(path: Path) -> tuple[str, ...]:
    try:
        with open(path, "rb") as file:
            text = file.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[:20]
