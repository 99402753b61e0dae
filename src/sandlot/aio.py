"""The SDK for asyncio: the same methods, awaited.

::

    async with AsyncSandlot() as sandlot, await sandlot.create(".") as workspace:
        async with asyncio.timeout(60):
            result = await workspace.exec(["pytest", "-q"])

Each call runs the synchronous method in a thread; up to ``THREADS`` at once, more wait. A cancelled call has ended
when CancelledError arrives: a command's whole tree is gone, a workspace that was being made is deleted, and anything
else has been done completely (or never begun).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from sandlot.sdk import Environments, Files, Sandlot, Secrets, Services, Shell, Shells, Snapshots, Workspace
from sandlot.workspaces.cancellation import Cancellation

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from types import TracebackType

    from sandlot.model.shell import ShellInfo
    from sandlot.operations.described import WorkspaceInfo
    from sandlot.paths import Paths

__all__ = [
    "AsyncEnvironments",
    "AsyncFiles",
    "AsyncSandlot",
    "AsyncSecrets",
    "AsyncServices",
    "AsyncShell",
    "AsyncShells",
    "AsyncSnapshots",
    "AsyncWorkspace",
]

THREADS = 64
"""How many calls of one AsyncSandlot run at the same time."""

P = ParamSpec("P")
R = TypeVar("R")
Sync = TypeVar("Sync")
Twin = TypeVar("Twin")
Inner = TypeVar("Inner")
Ends = TypeVar("Ends", Shell, Workspace)


class _Threads:
    """Where the synchronous calls run."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "sandlot")

    async def call(
        self,
        work: Callable[[], R],
        *,
        cancel: Callable[[], None] | None = None,
        undo: Callable[[R], object] | None = None,
    ) -> R:
        """Run ``work`` in a thread. When we are cancelled: ``cancel`` it, wait for its end, ``undo`` its result."""
        future = self._pool.submit(work)
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if future.cancel():
                raise  # it had not begun
            if cancel is not None:
                cancel()
            await _ended(waiter)
            if undo is not None and not waiter.cancelled() and waiter.exception() is None:
                await _ended(asyncio.wrap_future(self._pool.submit(undo, waiter.result())))
            raise

    async def close(self) -> None:
        """Wait for what runs."""
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)


async def _ended(future: asyncio.Future[Any]) -> None:
    """Wait for it, however often we are cancelled meanwhile: leaving would leave its work behind."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()  # looked at; the caller gets CancelledError


class _Facade(Generic[Inner]):
    """An object of the SDK and the threads its methods run in."""

    def __init__(self, inner: Inner, threads: _Threads) -> None:
        self._inner = inner
        self._threads = threads


class _Managed(_Facade[Ends]):
    """One whose end is that of an ``async with`` statement."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._threads.call(functools.partial(self._inner.__exit__, kind, error, trace))


def _awaited(
    method: Callable[Concatenate[Sync, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """The asynchronous twin of a method of the SDK, with its parameters and its documentation."""

    @functools.wraps(method)
    async def twin(self: _Facade[Any], /, *arguments: P.args, **named: P.kwargs) -> R:
        return await self._threads.call(functools.partial(method, self._inner, *arguments, **named))

    return twin


def _cancellable(
    method: Callable[Concatenate[Sync, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """The same for a method that waits for a command: cancelled with its task. ``on_output`` is called in the loop."""

    @functools.wraps(method)
    async def twin(self: _Facade[Any], /, *arguments: P.args, **named: P.kwargs) -> R:
        given = named.get("cancellation")
        cancellation = given if isinstance(given, Cancellation) else Cancellation()
        named["cancellation"] = cancellation
        if named.get("on_output") is not None:
            named["on_output"] = _in_loop(named["on_output"], cancellation)
        return await self._threads.call(
            functools.partial(method, self._inner, *arguments, **named), cancel=cancellation.cancel
        )

    return twin


def _in_loop(sink: Any, cancellation: Cancellation) -> Callable[[str, bytes], None]:
    """A sink for the command's thread that has the caller's sink called in the loop, one piece at a time.

    Waiting for each piece keeps the memory bounded when the loop is slower than the command.
    """
    loop = asyncio.get_running_loop()

    def put(stream: str, data: bytes) -> None:
        async def take() -> None:
            if not cancellation.cancelled:
                sink(stream, data)

        asyncio.run_coroutine_threadsafe(take(), loop).result()

    return put


def _making(
    method: Callable[Concatenate[Sync, P], R],
    twin_of: Callable[[R, _Threads], Twin],
    *,
    undo: Callable[[R], object] | None = None,
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, Twin]]:
    """The same for a method that answers with an object of the SDK; a cancelled call undoes what it made."""

    @functools.wraps(method)
    async def twin(self: _Facade[Any], /, *arguments: P.args, **named: P.kwargs) -> Twin:
        work = functools.partial(method, self._inner, *arguments, **named)
        return twin_of(await self._threads.call(work, undo=undo), self._threads)

    return twin


def _workspace(made: Workspace, threads: _Threads) -> AsyncWorkspace:
    return AsyncWorkspace(made, threads)


def _delete_all(workspaces: list[Workspace]) -> None:
    for workspace in workspaces:
        workspace.delete()


class AsyncSandlot(_Facade[Sandlot]):
    """One user's workspaces. Use as an async context manager, or await ``close``."""

    def __init__(self, state_dir: str | os.PathLike[str] | None = None) -> None:
        """``state_dir``: keep everything below this folder, instead of the user's state folder."""
        super().__init__(Sandlot(state_dir), _Threads())

    async def __aenter__(self) -> AsyncSandlot:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def paths(self) -> Paths:
        """Where its state is on disk."""
        return self._inner.paths

    async def close(self) -> None:
        """Wait for calls that run, close what is open; workspaces go on."""
        await self._threads.close()
        self._inner.close()

    create = _making(Sandlot.create, _workspace, undo=Workspace.delete)
    get = _making(Sandlot.get, _workspace)
    list = _awaited(Sandlot.list)
    run = _cancellable(Sandlot.run)

    @property
    def environments(self) -> AsyncEnvironments:
        """What can be inside workspaces besides their projects."""
        return AsyncEnvironments(self._inner.environments, self._threads)

    prepare = _awaited(Sandlot.prepare)
    bases = _awaited(Sandlot.bases)
    prune_bases = _awaited(Sandlot.prune_bases)
    doctor = _awaited(Sandlot.doctor)
    repair = _awaited(Sandlot.repair)


class AsyncEnvironments(_Facade[Environments]):
    """What can be inside workspaces besides their projects."""

    list = _awaited(Environments.list)
    build = _awaited(Environments.build)
    inspect = _awaited(Environments.inspect)
    prune = _awaited(Environments.prune)
    import_image = _awaited(Environments.import_image)


class AsyncFiles(_Facade[Files]):
    """The files of one workspace; paths are below /workspace or absolute inside."""

    list = _awaited(Files.list)
    read = _awaited(Files.read)
    write = _awaited(Files.write)
    search = _awaited(Files.search)
    move = _awaited(Files.move)
    delete = _awaited(Files.delete)


class AsyncShell(_Managed[Shell]):
    """One shell. In an ``async with`` statement it is closed at the end."""

    def __repr__(self) -> str:
        return f"<AsyncShell {self._inner.name}>"

    @property
    def info(self) -> ShellInfo:
        """Its facts as of the last call that answered with them."""
        return self._inner.info

    @property
    def name(self) -> str:
        """Its name."""
        return self._inner.name

    write = _awaited(Shell.write)
    read = _cancellable(Shell.read)
    resize = _awaited(Shell.resize)
    signal = _awaited(Shell.signal)
    close = _awaited(Shell.close)


class AsyncShells(_Facade[Shells]):
    """The shells of one workspace."""

    open = _making(Shells.open, AsyncShell, undo=Shell.close)
    get = _making(Shells.get, AsyncShell)
    list = _awaited(Shells.list)


class AsyncServices(_Facade[Services]):
    """The services of one workspace."""

    start = _cancellable(Services.start)
    list = _awaited(Services.list)
    status = _awaited(Services.status)
    logs = _awaited(Services.logs)
    follow = _cancellable(Services.follow)
    stop = _cancellable(Services.stop)


class AsyncSecrets(_Facade[Secrets]):
    """What one workspace can use but not read."""

    set = _awaited(Secrets.set)
    list = _awaited(Secrets.list)
    delete = _awaited(Secrets.delete)


class AsyncSnapshots(_Facade[Snapshots]):
    """The saved states of one workspace."""

    create = _awaited(Snapshots.create)
    list = _awaited(Snapshots.list)
    delete = _awaited(Snapshots.delete)


class AsyncWorkspace(_Managed[Workspace]):
    """One workspace. In an ``async with`` statement it is deleted at the end if this object made it."""

    def __repr__(self) -> str:
        return f"<AsyncWorkspace {self._inner.info.name or self._inner.id}>"

    @property
    def info(self) -> WorkspaceInfo:
        """Its facts as of the last call that answered with them; ``status`` asks anew."""
        return self._inner.info

    @property
    def id(self) -> str:
        """Its handle; unguessable, and never used again."""
        return self._inner.id

    @property
    def name(self) -> str | None:
        """Its name, if it has one."""
        return self._inner.name

    @property
    def base(self) -> str | None:
        """Id of the base it was made from, when this object made it."""
        return self._inner.base

    @property
    def files(self) -> AsyncFiles:
        """Its files."""
        return AsyncFiles(self._inner.files, self._threads)

    @property
    def services(self) -> AsyncServices:
        """Its services."""
        return AsyncServices(self._inner.services, self._threads)

    @property
    def shells(self) -> AsyncShells:
        """Its shells."""
        return AsyncShells(self._inner.shells, self._threads)

    @property
    def secrets(self) -> AsyncSecrets:
        """Its secrets."""
        return AsyncSecrets(self._inner.secrets, self._threads)

    @property
    def snapshots(self) -> AsyncSnapshots:
        """Its saved states."""
        return AsyncSnapshots(self._inner.snapshots, self._threads)

    exec = _cancellable(Workspace.exec)
    wait = _cancellable(Workspace.wait)
    kill = _awaited(Workspace.kill)
    logs = _awaited(Workspace.logs)
    patch = _awaited(Workspace.patch)
    diff = _awaited(Workspace.diff)
    apply = _awaited(Workspace.apply)
    export = _awaited(Workspace.export)
    sync_push = _awaited(Workspace.sync_push)
    summary = _awaited(Workspace.summary)
    status = _awaited(Workspace.status)
    update = _awaited(Workspace.update)
    reset = _awaited(Workspace.reset)
    start = _awaited(Workspace.start)
    stop = _awaited(Workspace.stop)
    delete = _awaited(Workspace.delete)

    async def fork(
        self, *, name: str | None = None, count: int = 1, labels: Mapping[str, str] | None = None
    ) -> list[AsyncWorkspace]:
        """New workspaces from the present state."""
        work = functools.partial(self._inner.fork, name=name, count=count, labels=labels)
        return [AsyncWorkspace(made, self._threads) for made in await self._threads.call(work, undo=_delete_all)]
